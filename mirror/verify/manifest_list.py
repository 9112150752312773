"""`manifests.txt`: the list of every dated channel manifest ever published.

Rules:
1. A line is `<host>/dist/<date>/channel-rust-<channel>.toml`, without a scheme; the host is not
   compared, so that private trees can publish their own list.
2. Lines of another form are ignored. A body without one usable line is refused: an error page
   taken for a list would turn every dated manifest into a 404.
3. `channel` is what stands between `channel-rust-` and `.toml`: "nightly", "beta", "1.95.0".

Does not: judge how old the list is (the keeper does).
Runs in: keeper. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mirror.errors import VerificationError
from mirror.verify.digests import shown

_LINE = re.compile(
    rb"^[^\s]*?/dist/(\d{4}-\d{2}-\d{2})/channel-rust-([0-9A-Za-z.-]{1,32})\.toml[ \t\r]*$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestList:
    """`names` holds "<date>/<channel>"; about five thousand in 2026."""

    names: frozenset[str]
    first_dates: Mapping[str, str]  # channel -> its first date

    def contains(self, date: str, channel: str) -> bool:
        """Whether the channel published a version-2 manifest on that date ("YYYY-MM-DD")."""
        return f"{date}/{channel}" in self.names

    def first_v2_date(self, channel: str) -> str | None:
        """Return the channel's first date; before it only version-1 names exist."""
        return self.first_dates.get(channel)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"<ManifestList {len(self.names)} manifests, {len(self.first_dates)} channels>"


def parse_manifest_list(body: bytes) -> ManifestList:
    """Return the list. Raises: VerificationError when no line names a manifest."""
    names: set[str] = set()
    first_dates: dict[str, str] = {}
    for date_raw, channel_raw in _LINE.findall(body):
        date, channel = date_raw.decode("ascii"), channel_raw.decode("ascii")
        names.add(f"{date}/{channel}")
        first_dates[channel] = min(date, first_dates.get(channel, date))
    if not names:
        raise VerificationError("manifests.txt", expected="a dated manifest", got=shown(body))
    return ManifestList(names=frozenset(names), first_dates=first_dates)

"""Exact releases of something that the mirror holds back, as an operator writes them.

Rules:
1. Two forms, words apart by one space: `crate NAME VERSION CKSUM` and `channel NAME DATE`.
2. An acceptance names one release exactly; there is no wildcard.

Units: CKSUM is 64 hexadecimal digits, DATE is YYYY-MM-DD.
Runs in: supervisor, commands and keeper. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FORM = '"crate NAME VERSION CKSUM" or "channel NAME DATE"'

_CRATE = re.compile(
    r"crate ([A-Za-z][A-Za-z0-9_-]{0,63}) ([0-9A-Za-z.+-]{1,128}) ([0-9a-fA-F]{64})"
)
_CHANNEL = re.compile(r"channel ([0-9A-Za-z.+_-]{1,64}) (\d{4}-\d\d-\d\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedCrate:
    """This version of this crate may have this `cksum`, whatever it had before."""

    name: str
    version: str
    cksum: bytes

    def __str__(self) -> str:
        return f"crate {self.name} {self.version} {self.cksum.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedChannel:
    """This channel may go (back) to the manifest of this date."""

    name: str
    date: str

    def __str__(self) -> str:
        return f"channel {self.name} {self.date}"


Acceptance = AcceptedCrate | AcceptedChannel


def parse_acceptance(text: str) -> Acceptance:
    """Raises ValueError for every other form."""
    if found := _CRATE.fullmatch(text):
        return AcceptedCrate(name=found[1], version=found[2], cksum=bytes.fromhex(found[3]))
    if found := _CHANNEL.fullmatch(text):
        return AcceptedChannel(name=found[1], date=found[2])
    raise ValueError(text)

"""What stored channel manifests state about dated archives: read once, kept in the store.

Rules:
1. A manifest is read in a thread (0.4 s per megabyte), one at a time, and its digests are vouched
   for under its key while it is stored.
2. One that was stored but not read (a lost index, an end between storing and reading) is read when
   an archive of its date is asked for: then losing the index needs no upstream.
3. One that cannot be read vouches for nothing, and is not tried again.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict

from mirror.errors import MirrorError, StoreError
from mirror.fill.desk import StoreDesk
from mirror.fill.parts import FillParts
from mirror.route.dist import dated
from mirror.route.route import Route
from mirror.store.entry import Entry, Stored
from mirror.verify.channel_manifest import parse_manifest

_UNDATED = "releases:/dist/channel-rust-"
# The date is the second line of every version 2 manifest.
_DATE = re.compile(rb'^date = "(\d{4}-\d\d-\d\d)"', re.MULTILINE)
_DATE_WITHIN_BYTES = 4096
DATES_MAX = 1024  # some 150 undated channels exist; their dates are remembered by digest


async def intact(desk: StoreDesk, key: str) -> Stored | None:
    """Return what `key` names, its file hashed anew if need be. Raises StoreError."""
    stored = desk.lookup(key)
    if stored is None or stored.entry.status != 200 or desk.is_intact(stored):
        return desk.current(key)
    return await desk.attest(stored)


async def read_manifest(parts: FillParts, entry: Entry, content: bytes) -> None:
    """Vouch for what the manifest of `entry` states; note a head's date. Raises StoreError."""
    digests: dict[str, bytes] = {}
    date = ""
    try:
        manifest = await parts.desk.compute(parse_manifest, content)
        digests, date = dict(manifest.digests), manifest.date
    except MirrorError as exc:
        parts.log.warning("manifest-not-read", key=entry.key, reason=str(exc))
    await parts.desk.vouch(entry, digests.items())
    if date and entry.key.startswith(_UNDATED):
        channel = entry.key.removeprefix(_UNDATED).removesuffix(".toml")
        await parts.desk.compute(parts.trust.note_channel, channel, date)


class StoredManifests:
    """Answers from what is vouched for, else from manifests that nobody has read yet."""

    def __init__(self, parts: FillParts) -> None:
        self._parts = parts
        self._dates: OrderedDict[bytes, str] = OrderedDict()
        self._reading = asyncio.Lock()

    async def digest_of(self, route: Route) -> bytes | None:
        """Return the digest that the manifest of the route's date states, if one is stored."""
        desk = self._parts.desk
        digest = desk.vouched(route.path)
        date = dated(route)
        if digest is not None or date is None:
            return digest
        async with self._reading:  # many archives of a date are asked for at once
            for entry in self._unread(date):
                try:
                    await self._read(entry, date)
                except StoreError as exc:
                    self._parts.log.warning("manifest-not-read", key=entry.key, reason=str(exc))
        return desk.vouched(route.path)

    def _unread(self, date: str) -> list[Entry]:
        desk = self._parts.desk
        return [
            entry
            for prefix in (f"releases:/dist/{date}/channel-rust-", _UNDATED)
            for entry in desk.entries_of_prefix(prefix)
            if entry.key.endswith(".toml")
            and self._dates.get(entry.digest, date) == date
            and desk.manifest_read(entry.key) != entry.digest
        ]

    async def _read(self, entry: Entry, date: str) -> None:
        desk = self._parts.desk
        stored = await intact(desk, entry.key)
        content = None if stored is None else await desk.read_small(stored)
        if stored is None or content is None:
            return
        if entry.key.startswith(_UNDATED):
            self._note_date(stored.entry, content)
            if self._dates[stored.entry.digest] != date:
                return
        await read_manifest(self._parts, stored.entry, content)

    def _note_date(self, entry: Entry, content: bytes) -> None:
        found = _DATE.search(content, 0, _DATE_WITHIN_BYTES)
        self._dates[entry.digest] = found[1].decode() if found else ""
        while len(self._dates) > DATES_MAX:
            self._dates.popitem(last=False)

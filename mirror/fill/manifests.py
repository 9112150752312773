"""What channel manifests state about dated archives: read once, kept in the store.

Rules:
1. A manifest is read in a thread (0.4 s per megabyte), one at a time, and its digests are vouched
   for, packed, while it is stored under any key: knowledge stays when the head moves on.
2. One that was stored but not read (a lost index, an end between storing and reading) is read when
   an archive of its date is asked for: then losing the index needs no upstream.
3. One that cannot be read vouches for nothing, and is not tried again.
4. When nothing is known about a path, the dated manifest of its channel is fetched as if a client
   asked for it, with all its checks: one megabyte per date, which vouches for some 1,100 archives
   (each would cost a `.sha256` else, which nobody signs). That upstream has no such manifest is
   remembered for `ABSENT_S`. Trouble is trouble: only a manifest that is not there, or that does
   not list the path, sends the asker to the `.sha256`.
5. While `[trust] channel_manifest` is "signature", only signed manifests vouch; of a legacy date
   (`legacy_before_date`) also one with its digest proof alone.

Units: seconds. Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from mirror.errors import MirrorError, StoreError
from mirror.fill.desk import StoreDesk
from mirror.fill.objects import Objects
from mirror.fill.parts import FillParts
from mirror.route.dist import dated
from mirror.route.proofs import dated_manifest
from mirror.route.route import Kind, Route
from mirror.store.entry import Entry, Stored
from mirror.store.knowledge import Statement
from mirror.verify.channel_manifest import parse_manifest

_UNDATED = "releases:/dist/channel-rust-"
# The date is the second line of every version 2 manifest.
_DATE = re.compile(rb'^date = "(\d{4}-\d\d-\d\d)"', re.MULTILINE)
_DATE_WITHIN_BYTES = 4096
DATES_MAX = 1024  # some 150 undated channels exist; their dates are remembered by digest
ABSENT_S = 600.0  # a manifest that is published later (a mirror that fills up) is then found
ABSENT_MAX = 1024


async def intact(desk: StoreDesk, key: str) -> Stored | None:
    """Return what `key` names, its file hashed anew if need be. Raises StoreError."""
    stored = desk.lookup(key)
    if stored is None or stored.entry.status != 200 or desk.is_intact(stored):
        return desk.current(key)
    return await desk.attest(stored)


async def read_manifest(parts: FillParts, entry: Entry, content: bytes) -> None:
    """Vouch for what the manifest of `entry` states. Raises StoreError."""
    digests: dict[str, bytes] = {}
    try:
        manifest = await parts.desk.compute(parse_manifest, content)
        digests = dict(manifest.digests)
    except MirrorError as exc:
        parts.log.warning("manifest-not-read", key=entry.key, reason=str(exc))
    await parts.desk.vouch(entry, digests.items())


class StoredManifests:
    """Answers from what is vouched for, from manifests that nobody has read yet, from upstream.

    `manifests_parsed` waits until manifests that were just fetched have been read.
    """

    def __init__(
        self,
        parts: FillParts,
        objects: Objects,
        manifests_parsed: Callable[[], Awaitable[None]],
    ) -> None:
        self._parts = parts
        self._objects = objects
        self._manifests_parsed = manifests_parsed
        self._dates: OrderedDict[bytes, str] = OrderedDict()
        self._absent: OrderedDict[str, float] = OrderedDict()  # key of a manifest -> until
        self._reading = asyncio.Lock()

    async def find(self, route: Route) -> Statement | None:
        """Return what the manifest of the route's date states. Raises UpstreamError (rule 4)."""
        if route.kind is not Kind.ARCHIVE or dated(route) is None:
            return None
        return await self.known(route) or await self._fetched(route)

    async def known(self, route: Route) -> Statement | None:
        """Return what a stored manifest states, without asking upstream."""
        date = dated(route)
        if route.kind is not Kind.ARCHIVE or date is None:
            return None
        await self._manifests_parsed()
        statement = self._vouched(route, date)
        if statement is not None:
            return statement
        async with self._reading:  # many archives of a date are asked for at once
            for entry in self._unread(date):
                try:
                    await self._read(entry, date)
                except StoreError as exc:
                    self._parts.log.warning("manifest-not-read", key=entry.key, reason=str(exc))
        return self._vouched(route, date)

    def _vouched(self, route: Route, date: str) -> Statement | None:
        statement = self._parts.desk.vouched(route.path)
        trust = self._parts.config.trust
        if statement is None or statement.is_signed or trust.channel_manifest == "digest":
            return statement
        return statement if date < trust.legacy_before_date else None

    async def _fetched(self, route: Route) -> Statement | None:
        manifest = dated_manifest(route)
        if manifest is None or self._is_absent(manifest.key):
            return None
        if await self._objects.confirmed(manifest) is None:
            self._absent[manifest.key] = self._parts.clock.monotonic() + ABSENT_S
            while len(self._absent) > ABSENT_MAX:
                self._absent.popitem(last=False)
            return None
        return await self.known(route)

    def _is_absent(self, key: str) -> bool:
        until = self._absent.get(key)
        if until is not None and until <= self._parts.clock.monotonic():
            del self._absent[key]
            return False
        return until is not None

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

"""Dated manifests that never were: answered from upstream's own list, without a request.

A nightly that lacks a component makes rustup walk back day by day; a client was seen to send 8,068
requests for dates that have no manifest.

Rules:
1. `manifests.txt` names every dated manifest. One that is at least `SETTLED_S` old and that a list
   confirmed since then does not name is absent, and its `.sha256` and `.asc` too.
2. The version-1 names follow the same list from the channel's first listed date on; before it the
   list says nothing about them.
3. Without such a list, and for newer dates, upstream is asked: the rule only saves requests.

Units: Unix seconds; dates are UTC. Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from mirror.errors import MirrorError
from mirror.fill.manifests import intact
from mirror.fill.objects import Confirmed, Objects
from mirror.fill.parts import FillParts
from mirror.route.dist import Channel, channel_of
from mirror.route.match import route_of_key
from mirror.route.route import Route
from mirror.verify.manifest_list import ManifestList, parse_manifest_list

LIST_KEY = "releases:/manifests.txt"
SETTLED_S = 2 * 86400.0  # the list is appended after the files are up, within the day
_LISTED_CHANNELS = frozenset(("stable", "beta", "nightly"))


class DatedManifests:
    """Remembers the parsed list by its digest."""

    def __init__(self, parts: FillParts, objects: Objects) -> None:
        self._parts = parts
        self._objects = objects
        self._parsed: tuple[bytes, ManifestList] | None = None
        self._parsing = asyncio.Lock()

    @staticmethod
    def is_about(route: Route) -> bool:
        """Whether the list may say something about it: only dated files of channels are listed."""
        channel = channel_of(route)
        return channel is not None and channel.date is not None

    async def is_unlisted(self, route: Route) -> bool:
        """Whether the list proves that upstream has no such file."""
        channel = channel_of(route)
        if channel is None or channel.date is None or channel.name not in _LISTED_CHANNELS:
            return False
        settled_at = _midnight(channel.date) + SETTLED_S
        if self._parts.clock.now() < settled_at:
            return False
        manifests = await self._list_since(settled_at)
        return manifests is not None and _is_unlisted(manifests, channel, channel.date)

    async def _list_since(self, since: float) -> ManifestList | None:
        route = route_of_key(LIST_KEY)
        if route is None:
            return None
        try:
            found = await self._stored(since) or await self._objects.confirmed(route, since=since)
            if found is None or found.entry.confirmed_at < since:
                return None
            return await self._parse(found)
        except MirrorError:
            return None  # rule 3: what is wrong with the list is said where it was fetched

    async def _stored(self, since: float) -> Confirmed | None:
        """A list confirmed since then is good enough, fresh or not."""
        stored = await intact(self._parts.desk, LIST_KEY)
        if stored is None or stored.entry.confirmed_at < since:
            return None
        return Confirmed(entry=stored.entry, is_stale=False, content=None, stored=stored)

    async def _parse(self, found: Confirmed) -> ManifestList:
        async with self._parsing:  # many dates are asked for at once; one parse serves them all
            if self._parsed is None or self._parsed[0] != found.entry.digest:
                content = await self._objects.content(found)
                manifests = await self._parts.desk.compute(parse_manifest_list, content)
                self._parsed = (found.entry.digest, manifests)
            return self._parsed[1]


def _is_unlisted(manifests: ManifestList, channel: Channel, date: str) -> bool:
    if manifests.contains(date, channel.name):
        return False
    if not channel.is_v1:
        return True
    first = manifests.first_v2_date(channel.name)
    return first is not None and date >= first


def _midnight(date: str) -> float:
    """The first second of a date; of a day that no calendar has, one that never settles."""
    try:
        return datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return float("inf")

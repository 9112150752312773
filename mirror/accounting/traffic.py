"""Upstream traffic, counted into the keeper's counters by content class.

Rules:
1. Pool "releases" is two classes: paths below `/rustup/` are rustup's, the others releases.
2. An unknown pool counts as releases rather than nowhere: sums must add up.

Runs in: keeper.
"""

from __future__ import annotations

from mirror.accounting.counters import Counters, fetched_row
from mirror.route.route import ContentClass, UpstreamName

_RUSTUP_PREFIX = "/rustup/"
_CLASS_OF_POOL = {
    UpstreamName.CRATES.value: ContentClass.CRATE,
    UpstreamName.INDEX.value: ContentClass.INDEX,
}


class CountedLine:
    """One class's three cells."""

    __slots__ = ("_row", "_view")

    def __init__(self, view: memoryview[int], row: int) -> None:
        self._view = view
        self._row = row

    def request(self) -> None:
        self._view[self._row] += 1

    def received(self, content_bytes: int) -> None:
        self._view[self._row + 1] += content_bytes

    def not_modified(self) -> None:
        self._view[self._row + 2] += 1


class UpstreamTraffic:
    """What `upstream` reports to; owns nothing, the counters stay their opener's."""

    def __init__(self, counters: Counters) -> None:
        self._lines = {
            content_class: CountedLine(counters.view, fetched_row(content_class))
            for content_class in ContentClass
        }

    def line(self, pool: str, path: str) -> CountedLine:
        return self._lines[class_of(pool, path)]


def class_of(pool: str, path: str) -> ContentClass:
    """Return the content class of a path of a pool."""
    if path.startswith(_RUSTUP_PREFIX) and pool == UpstreamName.RELEASES.value:
        return ContentClass.RUSTUP
    return _CLASS_OF_POOL.get(pool, ContentClass.RELEASE)

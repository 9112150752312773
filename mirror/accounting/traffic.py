"""Upstream traffic, counted into the keeper's counters by content class.

Rules:
1. Pool "releases" is two classes: paths below `/rustup/` are rustup's, the others releases.
2. An unknown pool counts as releases rather than nowhere: sums must add up.

Runs in: keeper.
"""

from __future__ import annotations

from mirror.accounting.counters import Counters
from mirror.accounting.layout import FETCHED_COLUMNS, OTHER
from mirror.route.route import ContentClass, UpstreamName

_RUSTUP_PREFIX = "/rustup/"
_CLASS_OF_POOL = {
    UpstreamName.CRATES.value: ContentClass.CRATE,
    UpstreamName.INDEX.value: ContentClass.INDEX,
}


_NOT_MODIFIED = FETCHED_COLUMNS.index("not_modified")


class CountedLine:
    """One row of the section "fetched"."""

    __slots__ = ("_row", "_view")

    def __init__(self, view: memoryview[int], row: int) -> None:
        self._view = view
        self._row = row

    def request(self) -> None:
        self._view[self._row] += 1

    def received(self, content_bytes: int) -> None:
        self._view[self._row + 1] += content_bytes

    def not_modified(self) -> None:
        self._view[self._row + _NOT_MODIFIED] += 1


class UpstreamTraffic:
    """What `upstream` reports to; owns nothing, the counters stay their opener's."""

    def __init__(self, counters: Counters) -> None:
        self._lines = {
            content_class: CountedLine(
                counters.view, counters.layout.row("fetched", OTHER, content_class.value)
            )
            for content_class in ContentClass
        }

    def line(self, pool: str, path: str) -> CountedLine:
        return self._lines[class_of(pool, path)]


def class_of(pool: str, path: str) -> ContentClass:
    """Return the content class of a path of a pool."""
    if path.startswith(_RUSTUP_PREFIX) and pool == UpstreamName.RELEASES.value:
        return ContentClass.RUSTUP
    return _CLASS_OF_POOL.get(pool, ContentClass.RELEASE)

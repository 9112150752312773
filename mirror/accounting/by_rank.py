"""Blobs in the order in which eviction looks at them, in memory.

Rules:
1. Lowest rank first; of one rank, what was put first.
2. Sorted whole at all times: looking at the coldest moves nothing.

Cost: 1 to 2 us to put or take one of some thousand blobs.

Units: ranks in Unix milliseconds.
Does not: decide (a policy does).
Runs in: keeper. Pure.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Ranked(Protocol):
    """A blob whose `rank_ms` changes only while it is out of the order; `turn` is the order's."""

    rank_ms: int
    turn: int


_R = TypeVar("_R", bound=Ranked)


class ByRank(Generic[_R]):
    """An order of blobs."""

    __slots__ = ("_blobs", "_places", "_turns")

    def __init__(self) -> None:
        self._places: list[tuple[int, int]] = []
        self._blobs: dict[int, _R] = {}  # by turn
        self._turns = 0

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[_R]:
        """Yield the coldest first."""
        return (self._blobs[turn] for _, turn in self._places)

    def put(self, blob: _R) -> None:
        self._turns += 1
        blob.turn = self._turns
        self._blobs[blob.turn] = blob
        insort(self._places, (blob.rank_ms, blob.turn))

    def take(self, blob: _R) -> None:
        """Take a blob out that is in."""
        del self._places[bisect_left(self._places, (blob.rank_ms, blob.turn))]
        del self._blobs[blob.turn]

"""A bounded map of what one worker serves most, in memory.

Rules:
1. A hit on a recent key is one dictionary look-up: no list is relinked, nothing is counted.
2. Two generations stand in for an exact LRU order: a key found in the elder moves to the younger;
   when the younger holds half of the limit and the elder is empty, it becomes the elder. What has
   to go is taken from the elder, the oldest first, and never more than has to: what fits into the
   limit is kept, in whatever order it is asked for (10,000 objects in turn, of 60 of 64 MiB: with
   the elder let go as a whole, half of them were read again in each turn).
3. Never more than `limit_bytes`, as its callers state costs.

Does not: know what it holds, expire by time, or read the index; `serve` owns the values.
Runs in: worker.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class HotMap(Generic[K, V]):
    """A map that forgets what was not used lately."""

    __slots__ = ("_costs", "_elder", "_elder_bytes", "_half_bytes", "_young", "_young_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._half_bytes = limit_bytes // 2
        self._young: OrderedDict[K, V] = OrderedDict()
        self._elder: OrderedDict[K, V] = OrderedDict()
        self._costs: dict[K, int] = {}
        self._young_bytes = 0
        self._elder_bytes = 0

    def get(self, key: K) -> V | None:
        found = self._young.get(key)
        if found is None and key in self._elder:
            found = self._elder.pop(key)
            cost = self._costs.pop(key)
            self._elder_bytes -= cost
            self.put(key, found, cost)
        return found

    def put(self, key: K, value: V, cost_bytes: int) -> None:
        """Keep `value`, unless it alone would take more than half of the limit."""
        self.discard(key)
        if not self.fits(cost_bytes):
            return
        while self.used_bytes + cost_bytes > 2 * self._half_bytes:
            self._let_age()
            gone, _ = self._elder.popitem(last=False)
            self._elder_bytes -= self._costs.pop(gone)
        if self._young_bytes + cost_bytes > self._half_bytes:
            self._let_age()
        self._young[key] = value
        self._costs[key] = cost_bytes
        self._young_bytes += cost_bytes

    def fits(self, cost_bytes: int) -> bool:
        """Whether something of that cost would be kept at all."""
        return cost_bytes <= self._half_bytes

    def _let_age(self) -> None:
        if not self._elder:
            self._elder, self._elder_bytes = self._young, self._young_bytes
            self._young, self._young_bytes = OrderedDict(), 0

    def discard(self, key: K) -> None:
        cost = self._costs.pop(key, None)
        if cost is None:
            return
        if key in self._young:
            del self._young[key]
            self._young_bytes -= cost
        else:
            del self._elder[key]
            self._elder_bytes -= cost

    def clear(self) -> None:
        self._young.clear()
        self._elder.clear()
        self._costs.clear()
        self._young_bytes = self._elder_bytes = 0

    def keys(self) -> list[K]:
        """Return a copy, so that the caller may discard while it goes through."""
        return list(self._costs)

    @property
    def used_bytes(self) -> int:
        return self._young_bytes + self._elder_bytes

    def __len__(self) -> int:
        return len(self._costs)

    def __contains__(self, key: K) -> bool:
        return key in self._costs

    def __repr__(self) -> str:
        return f"<HotMap {len(self)} entries, {self.used_bytes} bytes>"

"""A bounded map of what one worker serves most, in memory.

Rules:
1. A hit on a recent key is one dictionary look-up: no list is relinked, nothing is counted.
2. Two generations stand in for an exact LRU order: a key found in the elder moves to the younger;
   when the younger holds half of the limit, it becomes the elder and the former elder is let go.
3. Never more than `limit_bytes`, as its callers state costs.

Does not: know what it holds, expire by time, or read the index; `serve` owns the values.
Runs in: worker.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class HotMap(Generic[K, V]):
    """A map that forgets what was not used lately."""

    __slots__ = ("_costs", "_elder", "_elder_bytes", "_half_bytes", "_young", "_young_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._half_bytes = limit_bytes // 2
        self._young: dict[K, V] = {}
        self._elder: dict[K, V] = {}
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
        if cost_bytes > self._half_bytes:
            return
        if self._young_bytes + cost_bytes > self._half_bytes:
            for gone in self._elder:
                del self._costs[gone]
            self._elder, self._elder_bytes = self._young, self._young_bytes
            self._young, self._young_bytes = {}, 0
        self._young[key] = value
        self._costs[key] = cost_bytes
        self._young_bytes += cost_bytes

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

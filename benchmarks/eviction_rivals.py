"""Other policies at full size, as their papers have them, for the choice of the one in force.

    slru      two LRU lists, four fifths protected
    s3-fifo   a small and a main queue, ghosts (Yang et al., SOSP 2023); by bytes
    w-tinylfu a window of 1 %, admission by frequency against the victims' mean, SLRU (Einziger et
              al., ACM ToS 2017; size-aware as in ICDCN 2022), with an exact, ageing count
    arc       Megiddo and Modha, FAST 2003; by bytes
    lfu-da    uses on top of the rank of the last victim (Arlitt et al., 1999)
    gdsf      the same, uses divided by a tenth power of the size

Units: bytes. `ask` says whether it was a hit.
Runs in: benchmarks.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

Queue = OrderedDict[int, int]  # object -> footprint, the oldest first


class Rival(Protocol):
    def ask(self, number: int, cost: int) -> bool: ...


class Slru:
    def __init__(self, size: int) -> None:
        self._size = size
        self._tried: Queue = OrderedDict()
        self._kept: Queue = OrderedDict()
        self._kept_bytes = self._used = 0

    def ask(self, number: int, cost: int) -> bool:
        if number in self._kept:
            self._kept.move_to_end(number)
            return True
        if number in self._tried:
            self._kept[number] = self._tried.pop(number)
            self._kept_bytes += cost
            while self._kept_bytes > 0.8 * self._size and len(self._kept) > 1:
                other, its = self._kept.popitem(last=False)
                self._kept_bytes -= its
                self._tried[other] = its
            return True
        if cost > self._size:
            return False
        while self._used + cost > self._size:
            if self._tried:
                _, its = self._tried.popitem(last=False)
            else:
                _, its = self._kept.popitem(last=False)
                self._kept_bytes -= its
            self._used -= its
        self._tried[number] = cost
        self._used += cost
        return False


class S3Fifo:
    def __init__(self, size: int) -> None:
        self._size = size
        self._small: Queue = OrderedDict()
        self._main: Queue = OrderedDict()
        self._ghosts: Queue = OrderedDict()
        self._small_bytes = self._main_bytes = self._ghost_bytes = 0
        self._uses: dict[int, int] = {}

    def ask(self, number: int, cost: int) -> bool:
        if number in self._uses:
            self._uses[number] = min(3, self._uses[number] + 1)
            return True
        if cost > self._size:
            return False
        while self._small_bytes + self._main_bytes + cost > self._size:
            if self._small_bytes > 0.1 * self._size or not self._main:
                self._evict_small()
            else:
                self._evict_main()
        if number in self._ghosts:
            self._ghost_bytes -= self._ghosts.pop(number)
            self._main[number] = cost
            self._main_bytes += cost
        else:
            self._small[number] = cost
            self._small_bytes += cost
        self._uses[number] = 0
        return False

    def _evict_small(self) -> None:
        number, cost = self._small.popitem(last=False)
        self._small_bytes -= cost
        if self._uses[number]:
            self._main[number], self._uses[number] = cost, 0
            self._main_bytes += cost
            return
        del self._uses[number]
        self._ghosts[number] = cost
        self._ghost_bytes += cost
        while self._ghost_bytes > self._size:
            self._ghost_bytes -= self._ghosts.popitem(last=False)[1]

    def _evict_main(self) -> None:
        number, cost = self._main.popitem(last=False)
        if self._uses[number]:
            self._uses[number] -= 1
            self._main[number] = cost
        else:
            del self._uses[number]
            self._main_bytes -= cost


class WTinyLfu:
    def __init__(self, size: int) -> None:
        self._size = size
        self._window: Queue = OrderedDict()
        self._tried: Queue = OrderedDict()
        self._kept: Queue = OrderedDict()
        self._window_bytes = self._tried_bytes = self._kept_bytes = 0
        self._counts: dict[int, int] = {}
        self._counted = 0

    def ask(self, number: int, cost: int) -> bool:
        self._count(number)
        for queue in (self._window, self._kept):
            if number in queue:
                queue.move_to_end(number)
                return True
        if number in self._tried:
            self._promote(number, cost)
            return True
        if cost > self._size:
            return False
        self._window[number] = cost
        self._window_bytes += cost
        while self._window_bytes > 0.01 * self._size:
            other, its = self._window.popitem(last=False)
            self._window_bytes -= its
            self._admit(other, its)
        return False

    def _count(self, number: int) -> None:
        self._counts[number] = min(15, self._counts.get(number, 0) + 1)
        self._counted += 1
        held = len(self._window) + len(self._tried) + len(self._kept)
        if self._counted >= 10 * max(100, held):
            self._counted //= 2
            self._counts = {n: count // 2 for n, count in self._counts.items() if count > 1}

    def _promote(self, number: int, cost: int) -> None:
        self._kept[number] = self._tried.pop(number)
        self._tried_bytes -= cost
        self._kept_bytes += cost
        while self._kept_bytes > 0.8 * self._size and len(self._kept) > 1:
            other, its = self._kept.popitem(last=False)
            self._kept_bytes -= its
            self._tried[other] = its
            self._tried_bytes += its

    def _admit(self, number: int, cost: int) -> None:
        room = 0.99 * self._size
        if cost > room:
            return
        needed = self._tried_bytes + self._kept_bytes + cost - room
        victims: list[int] = []
        freed = 0
        for queue in (self._tried, self._kept):
            for other, its in queue.items():
                if freed >= needed:
                    break
                victims.append(other)
                freed += its
        asked = sum(self._counts.get(other, 0) for other in victims)
        if victims and self._counts.get(number, 0) <= asked / len(victims):
            return
        for other in victims:
            if other in self._tried:
                self._tried_bytes -= self._tried.pop(other)
            else:
                self._kept_bytes -= self._kept.pop(other)
        self._tried[number] = cost
        self._tried_bytes += cost


class Arc:
    def __init__(self, size: int) -> None:
        self._size = size
        self._goal = 0.5 * size
        self._once: Queue = OrderedDict()
        self._more: Queue = OrderedDict()
        self._once_gone: Queue = OrderedDict()
        self._more_gone: Queue = OrderedDict()
        self._sums = {id(q): 0 for q in self._queues()}

    def _queues(self) -> tuple[Queue, ...]:
        return self._once, self._more, self._once_gone, self._more_gone

    def ask(self, number: int, cost: int) -> bool:
        if number in self._once:
            self._take(self._once, number)
            self._put(self._more, number, cost)
            return True
        if number in self._more:
            self._more.move_to_end(number)
            return True
        if cost > self._size:
            return False
        is_back = self._learn(number, cost)
        while self._bytes(self._once) + self._bytes(self._more) + cost > self._size:
            if self._once and (self._bytes(self._once) > self._goal or not self._more):
                self._move_oldest(self._once, self._once_gone)
            else:
                self._move_oldest(self._more, self._more_gone)
        self._forget()
        self._put(self._more if is_back else self._once, number, cost)
        return False

    def _learn(self, number: int, cost: int) -> bool:
        once, more = self._bytes(self._once_gone), self._bytes(self._more_gone)
        if number in self._once_gone:
            self._goal = min(self._size, self._goal + cost * max(1.0, more / once))
            self._take(self._once_gone, number)
        elif number in self._more_gone:
            self._goal = max(0.0, self._goal - cost * max(1.0, once / more))
            self._take(self._more_gone, number)
        else:
            return False
        return True

    def _forget(self) -> None:
        while self._once_gone and (
            self._bytes(self._once_gone) + self._bytes(self._once) > self._size
        ):
            self._take(self._once_gone, next(iter(self._once_gone)))
        while self._more_gone and sum(self._sums.values()) > 2 * self._size:
            self._take(self._more_gone, next(iter(self._more_gone)))

    def _bytes(self, queue: Queue) -> int:
        return self._sums[id(queue)]

    def _put(self, queue: Queue, number: int, cost: int) -> None:
        queue[number] = cost
        self._sums[id(queue)] += cost

    def _take(self, queue: Queue, number: int) -> int:
        cost = queue.pop(number)
        self._sums[id(queue)] -= cost
        return cost

    def _move_oldest(self, source: Queue, target: Queue) -> None:
        number = next(iter(source))
        self._put(target, number, self._take(source, number))


class _Inflating:
    """Ranks on top of that of the last victim."""

    def __init__(self, size: int, credit: Callable[[int, int], float]) -> None:
        self._size = size
        self._credit = credit
        self._used = self._turn = 0
        self._level = 0.0
        self._heap: list[tuple[float, int, int]] = []
        self._held: dict[int, tuple[int, int, int]] = {}  # turn, uses, cost

    def ask(self, number: int, cost: int) -> bool:
        known = self._held.get(number)
        if known is None:
            if cost > self._size:
                return False
            while self._used + cost > self._size:
                self._evict()
            self._used += cost
        self._turn += 1
        uses = 1 if known is None else known[1] + 1
        self._held[number] = (self._turn, uses, cost)
        heapq.heappush(self._heap, (self._level + self._credit(uses, cost), self._turn, number))
        return known is not None

    def _evict(self) -> None:
        rank, turn, number = heapq.heappop(self._heap)
        if number in self._held and self._held[number][0] == turn:
            self._used -= self._held.pop(number)[2]
            self._level = max(self._level, rank)


def lfu_da(size: int) -> Rival:
    return _Inflating(size, lambda uses, cost: uses)


def gdsf(size: int) -> Rival:
    return _Inflating(size, lambda uses, cost: uses / cost**0.1)


RIVALS: dict[str, Callable[[int], Rival]] = {
    "slru": Slru,
    "s3-fifo": S3Fifo,
    "w-tinylfu": WTinyLfu,
    "arc": Arc,
    "lfu-da": lfu_da,
    "gdsf": gdsf,
}

"""A CI-shaped trace through a store of one size, by a policy: the hit ratios that it would reach.

Rules:
1. The policy is the store's own code (`store.eviction`), over `ranks_in_memory`; what the index
   does with ranks is done here alike: no re-ranking within `ONE_USE_MS`, the request that brings
   a blob is its first use.
2. Every object is simulated at its footprint; nothing is sampled.

Units: bytes.
Does not: touch disk or network.
Runs in: benchmarks and tests.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.ci_traces import CiTrace
from benchmarks.eviction_rivals import Rival
from mirror.accounting.by_rank import ByRank
from mirror.store.budget import footprint
from mirror.store.eviction import ONE_USE_MS, EvictionPolicy
from mirror.store.ranks_in_memory import RanksInMemory

_BEGIN_S = 1_700_000_000  # ranks are moments of a calendar


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """In percent."""

    byte_ratio: float
    request_ratio: float


@dataclass(slots=True, kw_only=True)
class ReplayedBlob:
    digest: bytes
    freed_bytes: int
    used_at_ms: int
    rank_ms: int
    is_on_probation: bool
    turn: int = 0


class ReplayedStore:
    """A store of `size` bytes by `policy`. `restart` does what a new keeper finds."""

    def __init__(self, size: int, policy: EvictionPolicy) -> None:
        self._size = size
        self._policy = policy
        self._ranks = RanksInMemory(policy)
        self._blobs: dict[int, ReplayedBlob] = {}
        self._order: ByRank[ReplayedBlob] = ByRank()
        self._used_bytes = 0

    def ask(self, number: int, cost: int, now_ms: int) -> bool:
        blob = self._blobs.get(number)
        if blob is not None:
            if now_ms - blob.used_at_ms >= ONE_USE_MS:
                self._order.take(blob)
                blob.rank_ms = self._ranks.rank_of_use(blob.rank_ms, now_ms)
                blob.used_at_ms, blob.is_on_probation = now_ms, False
                self._order.put(blob)
            return True
        if cost > self._size:
            return False
        self._make_room(self._used_bytes + cost - self._size)
        name = number.to_bytes(4, "big")
        rank_ms, is_new = self._ranks.place(name, cost / self._size, now_ms)
        blob = ReplayedBlob(
            digest=name, freed_bytes=cost, used_at_ms=now_ms, rank_ms=rank_ms,
            is_on_probation=is_new,
        )  # fmt: skip
        self._blobs[number] = blob
        self._order.put(blob)
        self._used_bytes += cost
        return False

    def restart(self, *, keeps_ranks: bool) -> None:
        """Go on from what the disk has; without its ranks when the index is lost: then the order
        is that of the files' ages, for which the first rank stands in."""
        state = self._ranks.state()
        self._ranks = RanksInMemory(self._policy)
        if keeps_ranks:
            self._ranks.restore(state)
            return
        blobs = list(self._order)
        for blob in blobs:
            self._order.take(blob)
            blob.rank_ms, blob.is_on_probation = blob.used_at_ms, True
            self._order.put(blob)

    def _make_room(self, needed_bytes: int) -> None:
        if needed_bytes <= 0:
            return
        victims = self._ranks.choose_victims(self._order, needed_bytes)
        for victim in victims:
            del self._blobs[int.from_bytes(victim.digest, "big")]
            self._order.take(victim)
            self._used_bytes -= victim.freed_bytes
        self._ranks.gone(victims, len(self._blobs))


def working_set_bytes(trace: CiTrace) -> int:
    return sum(map(footprint, trace.asked_lengths()))


def replay(trace: CiTrace, store: ReplayedStore | Rival, restart_at: float | None = None,
           *, keeps_ranks: bool = True) -> Hits:  # fmt: skip
    """Return the hit ratios; `restart_at`: where, as a part of the trace."""
    costs = [footprint(length) for length in trace.lengths]
    hits = hit_bytes = 0
    restarts = -1 if restart_at is None else int(restart_at * len(trace.asks))
    asks = zip(trace.asks, trace.content_bytes, trace.times_s, strict=True)
    for at, (number, content_bytes, time_s) in enumerate(asks):
        if isinstance(store, ReplayedStore):
            if at == restarts:
                store.restart(keeps_ranks=keeps_ranks)
            is_hit = store.ask(number, costs[number], int((_BEGIN_S + time_s) * 1000))
        else:
            is_hit = store.ask(number, costs[number])
        if is_hit:
            hits += 1
            hit_bytes += content_bytes
    return Hits(
        byte_ratio=100 * hit_bytes / sum(trace.content_bytes),
        request_ratio=100 * hits / len(trace.asks),
    )

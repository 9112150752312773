"""A store of one size in the small: what it would hold and how often it would have answered.

Rules:
1. It admits and evicts as the store does: a blob larger than the whole is never admitted; else the
   policy names victims for what is short, and when it names none nothing is admitted.
2. A sampled blob takes the room of all that it stands for, and counts for all of them; that leaves
   the size, the policy and the ratios those of the real store.
3. At most `capacity` blobs are held. One more raises the scale until a quarter of them is let go;
   the others then stand for more.
4. Another length under a known digest is another blob: the former goes.
5. Of several requests told at once the first may miss; the others find what it brought.
6. Requests that no sampled blob stands for are hits: what few hot objects got more or less than
   their part of the sample is not worth forgetting (SHARDS-adj, FAST 2015, section 3.3).
7. A store that holds few blobs for its capacity (`is_coarse`: after a smaller budget, or a crowd)
   halves its scale. What is sampled by that alone was perhaps there before: it is admitted, and
   takes the room that the others have given up, but counts for nothing until `count_all`.

Cost: 0.3 us for a request of a blob that was used within `ONE_USE_MS`, 5 to 9 us for another one
(its rank changes, or it comes and others go); rule 3 takes 2 ms for 4,000 blobs.

Units: bytes; requests and bytes are sums of weights, hence not whole.
Runs in: keeper. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from mirror.accounting.by_rank import ByRank
from mirror.accounting.history import CurvePoint
from mirror.accounting.sampling import EVEN_BYTES, limit_bytes, weight

# As `store.eviction.ONE_USE_MS`, which this room does not import; a test compares them.
ONE_USE_MS = 5000
_KEPT_OF_FULL = 0.75  # rule 3; less is coarser, more is looked through oftener
_COARSE_BELOW = 0.25  # rule 7; half the scale doubles what is held, at most


class Ask(NamedTuple):
    """A use as small stores are asked it: what is the same for all of them, worked out once.

    limit_bytes: the largest scale at which the object is sampled. footprint_bytes: of the store.
    requests: at least 1.
    """

    digest: bytes
    limit_bytes: int
    length_bytes: int
    footprint_bytes: int
    requests: int
    content_bytes: int


@dataclass(slots=True)  # positional: by keyword making one takes half as long again
class SampledBlob:
    """A held blob. `freed_bytes`: of all that it stands for; so `weight` for its requests, 0 while
    it does not count (rule 7). `turn` is of the order of ranks."""

    digest: bytes  # of the key: what tells blobs apart here
    length_bytes: int
    limit_bytes: int
    weight: float
    freed_bytes: int
    used_at_ms: int
    rank_ms: int
    is_on_probation: bool
    turn: int = 0


class VictimPolicy(Protocol):
    """As `store.ranks_in_memory.RanksInMemory`."""

    def place(self, digest: bytes, store_part: float, now_ms: int) -> tuple[int, bool]: ...

    def rank_of_use(self, rank_ms: int, now_ms: int) -> int: ...

    def choose_victims(
        self, coldest_first: Iterable[SampledBlob], needed_bytes: int
    ) -> list[SampledBlob]: ...

    def gone(self, victims: Sequence[SampledBlob], blobs_left: int) -> None: ...

    def state(self) -> bytes: ...

    def restore(self, state: bytes) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreModel:
    """`policy` makes one for each store; `footprint` says what a blob takes of the budget."""

    policy: Callable[[], VictimPolicy]
    footprint: Callable[[int], int]
    capacity: int


@dataclass(slots=True, kw_only=True)
class HitSums:
    """`told_*` are exact sums of all requests, the others estimates from the sample."""

    told_requests: float = 0.0
    told_bytes: float = 0.0
    requests: float = 0.0
    content_bytes: float = 0.0
    hits: float = 0.0
    hit_bytes: float = 0.0

    def add(self, hits: float, hit_bytes: float, missed: float, missed_bytes: float) -> None:
        self.hits += hits
        self.hit_bytes += hit_bytes
        self.requests += hits + missed
        self.content_bytes += hit_bytes + missed_bytes

    def scale(self, factor: float) -> None:
        self.told_requests *= factor
        self.told_bytes *= factor
        self.requests *= factor
        self.content_bytes *= factor
        self.hits *= factor
        self.hit_bytes *= factor


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBlob:
    digest: bytes
    length_bytes: int
    used_at_ms: int
    rank_ms: int
    is_on_probation: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreState:
    """All that a small store knows; `blobs` coldest first. `counted_scale_bytes` is larger than
    `scale_bytes` while rule 7 is under way, else the same. `memory` is the policy's."""

    size_bytes: int
    scale_bytes: int = 0
    counted_scale_bytes: int = 0
    sums: HitSums = field(default_factory=HitSums)
    blobs: tuple[KnownBlob, ...] = ()
    memory: bytes = b""


class SmallStore:
    """A simulated store; `state` says its size and what it goes on with."""

    __slots__ = ("_model", "_order", "_policy", "_residents", "_used_bytes",
                 "counted_scale_bytes", "scale_bytes", "size_bytes", "sums")  # fmt: skip

    def __init__(self, model: StoreModel, state: StoreState) -> None:
        self.size_bytes = state.size_bytes
        self.scale_bytes = state.scale_bytes
        self.counted_scale_bytes = max(state.scale_bytes, state.counted_scale_bytes)
        self.sums = replace(state.sums)
        self._model = model
        self._policy = model.policy()
        self._policy.restore(state.memory)
        self._residents: dict[bytes, SampledBlob] = {}
        self._order: ByRank[SampledBlob] = ByRank()
        self._used_bytes = 0
        for known in state.blobs:
            limit = limit_bytes(known.digest, known.length_bytes)
            self._keep(SampledBlob(
                known.digest, known.length_bytes, limit, 0.0, 0, known.used_at_ms, known.rank_ms,
                known.is_on_probation,
            ))  # fmt: skip
        self._reweigh()

    def __repr__(self) -> str:
        return (
            f"<SmallStore {self._used_bytes} of {self.size_bytes}: {len(self._residents)} blobs"
            f" at scale {self.scale_bytes}>"
        )

    def __len__(self) -> int:
        return len(self._residents)

    @property
    def used_bytes(self) -> int:
        return self._used_bytes

    @property
    def is_coarse(self) -> bool:
        """Whether `lower_scale` would make it better: rule 7. Not while that is under way."""
        few = len(self._residents) < _COARSE_BELOW * self._model.capacity
        return few and 0 < self.scale_bytes == self.counted_scale_bytes

    def use(self, asks: Sequence[Ask], now_ms: int) -> None:
        """Count those that are sampled at this store's scale, in order, and admit their blobs."""
        residents = self._residents
        scale, counted_scale = self.scale_bytes, self.counted_scale_bytes
        capacity = self._model.capacity
        hits = hit_bytes = missed = missed_bytes = 0.0
        for ask in asks:
            digest, limit, length, footprint_bytes, requests, content_bytes = ask
            if limit < scale:
                continue
            blob = residents.get(digest)
            if blob is not None and blob.length_bytes == length:
                if now_ms - blob.used_at_ms >= ONE_USE_MS:
                    self._rerank(blob, now_ms)
                hits += blob.weight * requests
                hit_bytes += blob.weight * content_bytes
                continue
            if blob is not None:
                self._forget(blob)
            if length + EVEN_BYTES >= counted_scale:  # stands for itself, as most do in the end
                counted, freed_bytes = 1.0, footprint_bytes
            else:
                counted = self._counted_weight(length, limit)
                freed_bytes = self._freed_bytes(length, footprint_bytes)
            missing = requests
            if self._make_room(freed_bytes):
                part = freed_bytes / self.size_bytes
                rank_ms, is_new = self._policy.place(digest, part, now_ms)
                self._keep(SampledBlob(
                    digest, length, limit, counted, freed_bytes, now_ms, rank_ms, is_new
                ))  # fmt: skip
                self._used_bytes += freed_bytes
                if requests > 1:  # rule 5
                    missing = 1
                    hits += counted * (requests - 1)
                    hit_bytes += counted * content_bytes * (requests - 1) / requests
            missed += counted * missing
            missed_bytes += counted * content_bytes * missing / requests
            if len(residents) > capacity:
                self._let_go()
                scale, counted_scale = self.scale_bytes, self.counted_scale_bytes
        self.sums.add(hits, hit_bytes, missed, missed_bytes)

    def raise_scale(self, scale_bytes: int) -> None:
        """Let go of blobs that are not sampled at `scale_bytes`; the others stand for more."""
        if scale_bytes <= self.scale_bytes:
            return
        self.scale_bytes = scale_bytes
        self.counted_scale_bytes = max(self.counted_scale_bytes, scale_bytes)
        for blob in [each for each in self._residents.values() if each.limit_bytes < scale_bytes]:
            del self._residents[blob.digest]
            self._order.take(blob)
        self._reweigh()

    def lower_scale(self) -> None:
        """Begin to sample twice as much; `count_all` says when that counts."""
        half = self.scale_bytes // 2
        self.scale_bytes = half if half > EVEN_BYTES else 0  # at that scale all are sampled
        self._reweigh()

    def count_all(self) -> None:
        """Have everything count that is sampled: the end of `lower_scale`."""
        if self.counted_scale_bytes != self.scale_bytes:
            self.counted_scale_bytes = self.scale_bytes
            self._reweigh()

    def point(self) -> CurvePoint:
        sums = self.sums
        return CurvePoint(
            store_bytes=self.size_bytes,
            byte_hit_ratio=_ratio(sums.hit_bytes, sums.content_bytes, sums.told_bytes),
            request_hit_ratio=_ratio(sums.hits, sums.requests, sums.told_requests),
        )

    def state(self) -> StoreState:
        return StoreState(
            size_bytes=self.size_bytes,
            scale_bytes=self.scale_bytes,
            counted_scale_bytes=self.counted_scale_bytes,
            sums=replace(self.sums),
            blobs=tuple(
                KnownBlob(
                    digest=blob.digest, length_bytes=blob.length_bytes, used_at_ms=blob.used_at_ms,
                    rank_ms=blob.rank_ms, is_on_probation=blob.is_on_probation,
                )
                for blob in self._order
            ),
            memory=self._policy.state(),
        )  # fmt: skip

    def _counted_weight(self, length_bytes: int, limit: int) -> float:
        scale = self.counted_scale_bytes
        return weight(length_bytes, scale) if limit >= scale else 0.0

    def _freed_bytes(self, length_bytes: int, footprint_bytes: int) -> int:
        return round(weight(length_bytes, self.scale_bytes) * footprint_bytes)

    def _make_room(self, freed_bytes: int) -> bool:
        """Rule 1: whether the blob is admitted."""
        if freed_bytes > self.size_bytes:
            return False
        shortfall = self._used_bytes + freed_bytes - self.size_bytes
        return shortfall <= 0 or self._evict(shortfall)

    def _keep(self, blob: SampledBlob) -> None:
        self._residents[blob.digest] = blob
        self._order.put(blob)

    def _rerank(self, blob: SampledBlob, now_ms: int) -> None:
        self._order.take(blob)
        blob.used_at_ms = now_ms
        blob.rank_ms = self._policy.rank_of_use(blob.rank_ms, now_ms)
        blob.is_on_probation = False
        self._order.put(blob)

    def _forget(self, blob: SampledBlob) -> None:
        del self._residents[blob.digest]
        self._order.take(blob)
        self._used_bytes -= blob.freed_bytes

    def _evict(self, needed_bytes: int) -> bool:
        victims = self._policy.choose_victims(self._order, needed_bytes)
        for victim in victims:
            self._forget(victim)
        if victims:
            self._policy.gone(victims, len(self._residents))
        return bool(victims)

    def _let_go(self) -> None:
        keep = int(self._model.capacity * _KEPT_OF_FULL)
        limits = sorted(blob.limit_bytes for blob in self._residents.values())
        self.raise_scale(limits[-keep - 1] + 1)

    def _reweigh(self) -> None:
        """Give all blobs the weight that the scales say, and come down to size and capacity."""
        used_bytes, footprint, scale = 0, self._model.footprint, self.scale_bytes
        is_even = scale == self.counted_scale_bytes
        for blob in self._residents.values():
            length = blob.length_bytes
            # As `_freed_bytes` and `sampling.weight`, without their calls: half the time.
            size = length + EVEN_BYTES
            stands_for = scale / size if size < scale else 1.0
            blob.weight = stands_for if is_even else self._counted_weight(length, blob.limit_bytes)
            blob.freed_bytes = round(stands_for * footprint(length))
            used_bytes += blob.freed_bytes
        self._used_bytes = used_bytes
        if used_bytes > self.size_bytes:
            self._evict(used_bytes - self.size_bytes)
        if len(self._residents) > self._model.capacity:
            self._let_go()


def _ratio(hits: float, sampled: float, told: float) -> float:
    """Rule 6. `told` is less than `sampled` where hot objects are over-represented."""
    return min(1.0, max(0.0, (hits + told - sampled) / told)) if told > 0 else 0.0

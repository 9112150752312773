"""The miss-ratio curve: what stores of other sizes would have answered from disk.

Rules:
1. Sampled requests (`sampling`) go through small stores of sizes from 1/16 to 16 times the budget,
   each with an eviction policy of its own, made as the real store's is: another policy gives
   another curve.
2. Each small store has a scale of its own, so that a small one is looked at as finely as a large
   one. Together they hold at most `sampled_objects`.
3. What was counted fades with a half-life of a week.
4. After a change of the budget, sizes that were there before go on. The others begin with what the
   next larger store held (the largest, where there is none) and without counts, and are no points
   before they have `POINT_REQUESTS`.
5. A store that became too coarse halves its scale (`small_store`, rule 7) after a day in which no
   worker left anything out, and counts what that adds a day later.

Bounds: memory about 0.3 KB for each sampled object and 0.3 KB for each ghost, of which there are at
most twice as many; time about 1.5 us for each use, and for each small store that samples it what
`small_store` says. Up to 80 us in all while scales rise, as in a large site's first 30,000 uses, or
where the store is so small that most of it is sampled (`python -m benchmarks.curve`).

Units: bytes, Unix milliseconds.
Runs in: keeper. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from mirror.accounting.history import CurvePoint
from mirror.accounting.sampling import CROWDED_SCALE_BYTES, digest_of, limit_bytes
from mirror.accounting.small_store import (
    Ask,
    HitSums,
    SmallStore,
    StoreModel,
    StoreState,
    VictimPolicy,
)
from mirror.accounting.uses import LeftOut, Use

SIZE_FACTORS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0, 16.0)
HALF_LIFE_S = 7 * 86400.0
REFINE_S = 86400.0  # rule 5: a day has each habit of a site once
POINT_REQUESTS = 1000.0  # fewer say nothing; a day of one busy runner has more


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveModel:
    """What small stores are made of (`small_store.StoreModel`)."""

    policy: Callable[[], VictimPolicy]
    footprint: Callable[[int], int]
    sampled_objects: int


class Curve:
    """Give it every `Uses` in the order of arrival."""

    def __init__(
        self, model: CurveModel, sizes: Iterable[int], states: Sequence[StoreState] = ()
    ) -> None:
        self._footprint = model.footprint
        self._crowded_ago_s = self._refined_ago_s = 0.0
        wanted = sorted(set(sizes))
        per_store = StoreModel(
            policy=model.policy,
            footprint=model.footprint,
            capacity=max(1, model.sampled_objects // len(wanted)),
        )
        known = sorted(states, key=lambda state: state.size_bytes)
        self._stores = [SmallStore(per_store, _state_for(size, known)) for size in wanted]

    def __repr__(self) -> str:
        return f"<Curve {self._stores}>"

    def __len__(self) -> int:
        """How many sampled objects are held, once for each small store."""
        return sum(len(store) for store in self._stores)

    @property
    def stores(self) -> Sequence[SmallStore]:
        return self._stores

    def used(self, uses: Sequence[Use], left_out: LeftOut, now_ms: int) -> None:
        if left_out.requests:
            self._crowded_ago_s = 0.0
            for store in self._stores:
                store.raise_scale(CROWDED_SCALE_BYTES)
        told = [use for use in uses if use.requests > 0 and use.length_bytes >= 0]
        requests = left_out.requests + sum(use.requests for use in told)
        content_bytes = left_out.content_bytes + sum(use.content_bytes for use in told)
        for store in self._stores:
            store.sums.told_requests += requests
            store.sums.told_bytes += content_bytes
        asks = [self._ask(use) for use in told]
        for store in self._stores:
            store.use(asks, now_ms)

    def fade(self, elapsed_s: float) -> None:
        """Let `elapsed_s` pass: old counts fade, coarse stores get finer."""
        elapsed_s = max(0.0, elapsed_s)
        factor: float = 0.5 ** (elapsed_s / HALF_LIFE_S)
        self._crowded_ago_s += elapsed_s
        self._refined_ago_s += elapsed_s
        for store in self._stores:
            store.sums.scale(factor)
        if min(self._crowded_ago_s, self._refined_ago_s) >= REFINE_S:
            self._refined_ago_s = 0.0
            self._refine()

    def _refine(self) -> None:
        for store in self._stores:
            store.count_all()
            if store.is_coarse:
                store.lower_scale()

    def _ask(self, use: Use) -> Ask:
        digest, length = digest_of(use.key), use.length_bytes
        limit = limit_bytes(digest, length)
        return Ask(digest, limit, length, self._footprint(length), use.requests, use.content_bytes)

    def points(self) -> list[CurvePoint]:
        """Return the sizes of which enough was seen, the smallest first."""
        return [s.point() for s in self._stores if s.sums.told_requests >= POINT_REQUESTS]

    def states(self) -> list[StoreState]:
        return [store.state() for store in self._stores]


def sizes_around(budget_bytes: int) -> list[int]:
    return [int(budget_bytes * factor) for factor in SIZE_FACTORS]


def _state_for(size_bytes: int, known: Sequence[StoreState]) -> StoreState:
    """Rule 4; `known` by size."""
    for state in known:
        if state.size_bytes == size_bytes:
            return state
    others = [state for state in known if state.size_bytes > size_bytes] or list(known[-1:])
    if not others:
        return StoreState(size_bytes=size_bytes)
    return replace(others[0], size_bytes=size_bytes, sums=HitSums())

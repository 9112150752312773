"""The sampled miss-ratio curve against an exact simulation of the same requests."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from typing import TypeVar

import pytest

from benchmarks.curve_trace import (
    USES_PER_MESSAGE,
    TraceShape,
    exact_curve,
    largest_difference,
    sampled_curve,
    time_ms,
    trace_of,
)
from mirror.accounting.curve import HALF_LIFE_S, REFINE_S, Curve, CurveModel, sizes_around
from mirror.accounting.sampling import CROWDED_SCALE_BYTES, is_sampled
from mirror.accounting.uses import LeftOut, Use
from mirror.config import Accounting
from mirror.store.budget import footprint
from mirror.store.eviction import LeastRecentlyUsed
from mirror.store.ranks_in_memory import RanksInMemory, Victim, ranks_in_force

_V = TypeVar("_V", bound=Victim)
SAMPLED = Accounting().sampled_objects
NOBODY = LeftOut()
BUILDS = TraceShape(name="builds", requests=20_000, crates=6_000, days=3)
SCANS = TraceShape(name="scans", requests=20_000, crates=6_000, days=3, scans=(0.5,))
SMALL_SCANS = TraceShape(name="scans", requests=7_000, crates=4_500, days=3, scans=(0.5,))
LARGE_BUILDS = TraceShape(name="builds", requests=80_000, crates=20_000)
LARGE_SCANS = TraceShape(name="scans", requests=80_000, crates=20_000, scans=(0.3, 0.7))


def model(sampled_objects: int = SAMPLED) -> CurveModel:
    return CurveModel(policy=ranks_in_force, footprint=footprint, sampled_objects=sampled_objects)


def use_of(key: str, length: int = 1000, requests: int = 1) -> Use:
    return Use(key, requests, requests * length, 0, length)


def _is_within_two_points(shape: TraceShape, seed: int) -> bool:
    uses, total_bytes = trace_of(shape, seed)
    sizes = sizes_around(total_bytes // 8)[:8]
    sampled, curve = sampled_curve(uses, sizes, SAMPLED)
    assert curve.stores[-1].scale_bytes > 0  # it is a sample
    return largest_difference(exact_curve(uses, sizes), sampled) <= 2.0


@pytest.mark.parametrize(
    ("shape", "seed"),
    [
        pytest.param(BUILDS, 1, marks=pytest.mark.full, id="builds"),
        pytest.param(SCANS, 2, marks=pytest.mark.full, id="scan"),
        pytest.param(SMALL_SCANS, 2, id="small-scan"),
    ],
)
def test_the_curve_is_within_two_points(shape: TraceShape, seed: int) -> None:
    assert _is_within_two_points(shape, seed)


@pytest.mark.full
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("shape", [LARGE_BUILDS, LARGE_SCANS], ids=lambda shape: shape.name)
def test_the_curve_of_a_large_trace_is_within_two_points(shape: TraceShape, seed: int) -> None:
    assert _is_within_two_points(shape, seed)


def test_a_curve_that_samples_everything_is_exact() -> None:
    uses, total_bytes = trace_of(TraceShape(name="small", requests=3000, crates=500), 4)
    sizes = sizes_around(total_bytes // 8)
    sampled, _ = sampled_curve(uses, sizes, 1 << 20)
    assert largest_difference(exact_curve(uses, sizes), sampled) < 1e-9


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(BUILDS, marks=pytest.mark.full, id="builds"),
        pytest.param(SMALL_SCANS, id="small-scan"),
    ],
)
def test_uses_that_workers_left_out_keep_the_curve_within_two_points(shape: TraceShape) -> None:
    """A worker without room tells what is sampled and sums up the rest."""
    uses, total_bytes = trace_of(shape, 5)
    sizes = sizes_around(total_bytes // 8)
    curve = Curve(model(), sizes)
    for now_ms, some in _batched(uses):
        told = [use for use in some if is_sampled(use.key, use.length_bytes)]
        left = [use for use in some if not is_sampled(use.key, use.length_bytes)]
        left_out = LeftOut(len(left), sum(use.content_bytes for use in left))
        curve.used(told, left_out, now_ms)
    assert all(store.scale_bytes >= CROWDED_SCALE_BYTES for store in curve.stores)
    assert largest_difference(exact_curve(uses, sizes), curve.points()) <= 2.0


def _batched(uses: list[Use]) -> Iterable[tuple[int, list[Use]]]:
    for at in range(0, len(uses), USES_PER_MESSAGE):
        yield time_ms(at), uses[at : at + USES_PER_MESSAGE]


def _lru() -> RanksInMemory:
    return RanksInMemory(LeastRecentlyUsed())


class _NeverEvicts(RanksInMemory):
    def __init__(self) -> None:
        super().__init__(LeastRecentlyUsed())

    def choose_victims(self, coldest_first: Iterable[_V], needed_bytes: int) -> list[_V]:
        return []


def test_another_policy_gives_another_curve() -> None:
    loop = [use_of(f"k{n}") for _ in range(20) for n in range(100)]
    size = 50 * footprint(1000)
    curves = [
        Curve(CurveModel(policy=policy, footprint=footprint, sampled_objects=SAMPLED), [size])
        for policy in (_lru, _NeverEvicts)
    ]
    for at, use in enumerate(loop):
        for curve in curves:
            curve.used([use], NOBODY, 10_000 * (1 + at))
    lru, without = (curve.points()[0].request_hit_ratio for curve in curves)
    assert lru == 0.0  # a loop larger than the store: each is evicted before it comes again
    assert without == pytest.approx(0.5 * 19 / 20)


def test_too_few_requests_are_no_points() -> None:
    curve = Curve(model(), sizes_around(1 << 30))
    curve.used([use_of("a", requests=999)], NOBODY, 0)
    assert curve.points() == []
    curve.used([use_of("a")], NOBODY, 0)
    assert len(curve.points()) == 9


def test_old_requests_fade() -> None:
    curve = Curve(model(), [1 << 30])
    curve.used([use_of(f"once-{n}") for n in range(4000)], NOBODY, 0)
    curve.fade(HALF_LIFE_S)
    curve.used([use_of("often", requests=2000)], NOBODY, 0)
    assert curve.points()[0].request_hit_ratio == pytest.approx(1999 / 4000)


def test_a_restored_curve_goes_on_as_if_nothing_had_been() -> None:
    uses, total_bytes = trace_of(TraceShape(name="small", requests=4000, crates=2000), 6)
    sizes = sizes_around(total_bytes // 8)
    whole, first = Curve(model(900), sizes), Curve(model(900), sizes)
    first.used(uses[:2000], NOBODY, 0)
    second = Curve(model(900), sizes, first.states())
    second.used(uses[2000:], NOBODY, 0)
    for half in (uses[:2000], uses[2000:]):
        whole.used(half, NOBODY, 0)
    assert second.states() == whole.states()


def test_a_doubled_budget_keeps_the_sizes_that_remain_and_begins_the_others_warm() -> None:
    uses = [use_of(f"k{n % 500}") for n in range(5000)]
    budget = 100 * footprint(1000)
    before = Curve(model(), sizes_around(budget))
    before.used(uses, NOBODY, 0)
    after = Curve(model(), sizes_around(2 * budget), before.states())
    assert after.points() == before.points()[1:]  # eight sizes; the ninth is not a point yet
    after.used([use_of(f"k{n % 500}") for n in range(1000)], NOBODY, 0)
    largest = after.points()[-1]
    assert largest.store_bytes == 32 * budget
    assert largest.request_hit_ratio == 1.0


@pytest.mark.parametrize("budget_part", [3, 7])
def test_a_smaller_budget_is_judged_by_what_larger_stores_held(budget_part: int) -> None:
    budget = 400 * footprint(1000)
    before = Curve(model(), sizes_around(budget))
    before.used([use_of(f"k{n}") for n in range(1000)], NOBODY, 0)
    after = Curve(model(), sizes_around(budget // budget_part), before.states())
    assert all(0 < store.used_bytes <= store.size_bytes for store in after.stores)
    assert after.points() == []


def _memory_of(keys: int) -> tuple[int, Curve]:
    curve = Curve(model(2048), sizes_around(1 << 30))
    tracemalloc.start()
    for at in range(0, keys, 1000):
        curve.used([use_of(f"crates:/{n}", n % 90_000) for n in range(at, at + 1000)], NOBODY, at)
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held_bytes, curve


@pytest.mark.parametrize("keys", [1_500, pytest.param(1_000_000, marks=pytest.mark.full)], ids=str)
def test_memory_does_not_grow_with_the_number_of_keys(keys: int) -> None:
    held_bytes, curve = _memory_of(keys)
    assert len(curve) <= 2048
    assert held_bytes < 2048 * 1000


def test_fewer_sampled_objects_after_a_restart_let_go_of_the_others() -> None:
    before = Curve(model(9000), sizes_around(1 << 30))
    before.used([use_of(f"k{n}") for n in range(900)], NOBODY, 0)
    after = Curve(model(900), sizes_around(1 << 30), before.states())
    assert all(0 < len(store) <= 100 for store in after.stores)
    assert len(after) < len(before)


def test_a_curve_gets_fine_again_when_the_crowd_is_gone() -> None:
    uses, total_bytes = trace_of(TraceShape(name="small", requests=1200, crates=300), 7)
    sizes = sizes_around(total_bytes // 8)
    curve = Curve(model(), sizes)
    curve.used(uses, LeftOut(1, 1), 0)
    assert min(store.scale_bytes for store in curve.stores) == CROWDED_SCALE_BYTES
    for _ in range(5):
        curve.fade(REFINE_S / 2)
        curve.used(uses, LeftOut(1, 1), 0)
    assert min(store.scale_bytes for store in curve.stores) == CROWDED_SCALE_BYTES  # still crowded
    for _ in range(5):
        curve.fade(REFINE_S)
        curve.used(uses, NOBODY, 0)
    assert all(store.scale_bytes == store.counted_scale_bytes == 0 for store in curve.stores)
    curve.fade(20 * HALF_LIFE_S)
    for _ in range(2):
        curve.used(uses, NOBODY, 0)
    fine = Curve(model(), sizes)
    fine.used(uses, NOBODY, 0)
    fine.fade(1000 * HALF_LIFE_S)
    for _ in range(2):
        fine.used(uses, NOBODY, 0)
    # Not the same to the last digit: what the policy learned from the crowd stays learned.
    assert largest_difference(fine.points(), curve.points()) < 0.5


@pytest.mark.full
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_curve_that_gets_finer_stays_within_two_points(seed: int) -> None:
    """A smaller budget finds the stores of a larger one: too coarse, and refined day by day."""
    uses, total_bytes = trace_of(LARGE_BUILDS, seed)
    sizes = sizes_around(total_bytes // 32)
    fine, coarse = Curve(model(), sizes), Curve(model(), sizes)
    for store in coarse.stores:
        store.raise_scale(8 * CROWDED_SCALE_BYTES)
    for curve in (fine, coarse):
        for at in range(0, 40_000, 2000):
            curve.used(uses[at : at + 2000], NOBODY, time_ms(at))
            curve.fade(REFINE_S)
        curve.fade(20 * HALF_LIFE_S)
        curve.used(uses[40_000:], NOBODY, time_ms(40_000))
    assert [store.scale_bytes for store in coarse.stores][:2] == [0, 0]
    assert largest_difference(fine.points(), coarse.points()) <= 2.0


def test_a_curve_shows_what_it_holds() -> None:
    curve = Curve(model(), [1 << 20])
    curve.used([use_of("a")], NOBODY, 0)
    assert repr(curve) == "<Curve [<SmallStore 12288 of 1048576: 1 blobs at scale 0>]>"

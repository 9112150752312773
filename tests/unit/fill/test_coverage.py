"""What is asked for next: every byte once, in order, and no request for less than it costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.fill.coverage import SKIP_BYTES, Coverage
from mirror.fill.messages import Ask, Purpose
from mirror.fill.wanted import WANTED_MAX, Wanted, WantedRanges, wanted_of
from mirror.store.extents import Run

MIB = 1 << 20
LENGTH = 100 * MIB


def ask(start: int, end: int, *, is_conditional: bool = False) -> Ask:
    return Ask(
        purpose=Purpose.FETCH,
        key="k",
        range_start=start,
        range_end=end,
        is_conditional=is_conditional,
    )


@pytest.mark.parametrize(
    ("taken", "promised", "gap"),
    [
        pytest.param([], [], (0, LENGTH), id="nothing-is-here"),
        pytest.param([(0, MIB)], [], (MIB, LENGTH), id="a-prefix-is-here"),
        pytest.param([(LENGTH - 100, LENGTH)], [], (0, LENGTH - 100), id="a-short-end-is-here"),
        pytest.param([(MIB, MIB + 500)], [], (0, LENGTH), id="a-short-run-is-fetched-over"),
        pytest.param([(MIB, MIB + SKIP_BYTES)], [], (0, MIB), id="a-long-run-is-not"),
        pytest.param([], [(MIB, 9 * MIB)], (0, MIB), id="nor-is-a-promised-one"),
        pytest.param([(0, MIB)], [(MIB, 2 * MIB)], (2 * MIB, LENGTH), id="behind-a-promise"),
        pytest.param([(0, MIB)], [(MIB, LENGTH)], None, id="all-is-here-or-promised"),
    ],
)
def test_the_next_gap(taken: list[Run], promised: list[Run], gap: Run | None) -> None:
    coverage = Coverage(LENGTH)
    for run in taken:
        coverage.take(*run)
    for run in promised:
        coverage.promise(run, *run)
    assert coverage.gap() == gap


def test_a_promise_that_was_not_kept_is_the_next_gap() -> None:
    coverage = Coverage(LENGTH)
    coverage.promise("side", 0, LENGTH)
    coverage.take(0, 10 * MIB)
    assert coverage.gap() is None
    coverage.withdraw("side")
    assert coverage.gap() == (10 * MIB, LENGTH)
    assert repr(coverage) == f"<Coverage <Extents 0-{10 * MIB}> of {LENGTH}, 0 promised>"


@given(
    runs=st.lists(
        st.tuples(st.integers(0, 100), st.integers(1, 30), st.booleans(), st.booleans()), max_size=8
    )
)
def test_whatever_others_bring_the_order_completes_the_body(
    runs: list[tuple[int, int, bool, bool]],
) -> None:
    """Each promise is kept at some time, or broken; a byte is fetched twice only in short runs."""
    coverage, fetched = Coverage(LENGTH), 0
    promises: list[tuple[int, int, bool]] = []
    for number, (start, size, is_promise, keeps) in enumerate(runs):
        missing = coverage.missing(start * MIB, min((start + size) * MIB, LENGTH))
        if missing is None:
            continue
        if is_promise:
            coverage.promise(number, *missing)
            promises.append((number, missing[1] if keeps else missing[0], keeps))
        else:
            coverage.take(*missing)
            fetched += missing[1] - missing[0]
    for _ in range(100):
        if coverage.is_complete:
            break
        gap = coverage.gap()
        if gap is not None:
            assert coverage.missing(*gap) is not None
            coverage.take(*gap)
            fetched += gap[1] - gap[0]
            continue
        number, end, keeps = promises.pop(0)
        missing = coverage._promised[number]
        coverage.withdraw(number)
        if keeps:
            coverage.take(missing[0], end)
            fetched += end - missing[0]
    assert coverage.is_complete
    assert fetched == LENGTH  # the runs here are all too long to be fetched over


@pytest.mark.parametrize(
    ("wanted", "length", "run", "field"),
    [
        pytest.param(Wanted(start=5, end=10), 100, (5, 10), "bytes=5-9", id="closed"),
        pytest.param(Wanted(start=5, end=-1), 100, (5, 100), "bytes=5-", id="open"),
        pytest.param(Wanted(start=-7, end=-1), 100, (93, 100), "bytes=-7", id="suffix"),
        pytest.param(Wanted(start=-700, end=-1), 100, (0, 100), "bytes=-700", id="long-suffix"),
        pytest.param(Wanted(start=5, end=500), 100, (5, 100), "bytes=5-499", id="clipped"),
        pytest.param(Wanted(start=200, end=300), 100, (100, 100), "bytes=200-299", id="behind"),
    ],
)
def test_a_wish_in_a_representation_and_on_the_wire(
    wanted: Wanted, length: int, run: Run, field: str
) -> None:
    assert wanted.of(length) == run
    assert wanted.field == field


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        pytest.param(0, -1, None, id="the-whole"),
        pytest.param(5, 5, None, id="nothing"),
        pytest.param(5, 3, None, id="backwards"),
        pytest.param(5, -2, None, id="nonsense"),
        pytest.param(0, 5, Wanted(start=0, end=5), id="the-beginning"),
        pytest.param(-5, 17, Wanted(start=-5, end=-1), id="a-suffix-has-no-end-of-its-own"),
    ],
)
def test_what_an_ask_wants(start: int, end: int, wanted: Wanted | None) -> None:
    assert wanted_of(ask(start, end)) == wanted


def test_wishes_are_collected_once_each_and_bounded() -> None:
    assert WantedRanges().first is None
    ranges, heard = WantedRanges(), list[int]()
    ranges.add(ask(1000, 2000))
    ranges.listen(lambda: heard.append(len(ranges.waiting)))
    ranges.add(ask(1000, 2000))
    assert heard == [1]
    assert "whole" not in repr(ranges)
    assert ranges.first == Wanted(start=1000, end=2000)
    for start in range(WANTED_MAX):
        ranges.add(ask(start, start + 1))
    assert len(ranges.waiting) == WANTED_MAX
    assert ranges.is_whole  # what is not noted comes in order
    ranges.deafen()
    ranges.add(None)
    assert len(heard) == 1 + WANTED_MAX
    assert repr(ranges) == f"<WantedRanges {WANTED_MAX} waiting, whole>"


@pytest.mark.parametrize("is_conditional", [False, True])
def test_a_range_under_if_range_may_come_to_the_whole(is_conditional: bool) -> None:
    ranges = WantedRanges()
    ranges.add(ask(5, 10, is_conditional=is_conditional))
    assert ranges.is_whole is is_conditional
    assert ranges.first == Wanted(start=5, end=10)

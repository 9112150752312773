"""`mirror.serve.paced`: the rate holds whatever the transfers do, and they share it evenly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.serve.paced import FIRST_S, Allowance, PacedOutlet

TICK_S = 0.25
PIECE = memoryview(bytes(1 << 20))


class Reader:
    """A stream, and its sender: sends all it may, up to `appetite_bytes`."""

    def __init__(self, allowance: Allowance) -> None:
        self.appetite_bytes = 1 << 40
        self.taken_bytes = 0
        self.outlet = PacedOutlet(self, allowance)
        self.outlet.go_on = self.send

    @property
    def is_paused(self) -> bool:
        return self.appetite_bytes <= 0

    @property
    def room_bytes(self) -> int:
        return 65_536

    def write_some(self, view: memoryview) -> int:
        taken = min(len(view), self.appetite_bytes)
        self.appetite_bytes -= taken
        self.taken_bytes += taken
        return taken

    def send(self) -> None:
        while not self.outlet.is_paused:
            assert self.outlet.write_some(PIECE[: self.outlet.room_bytes]) > 0


class Waits:
    def __init__(self) -> None:
        self.number = 0

    def count(self) -> None:
        self.number += 1


def allowance_of(rate: int, elsewhere: int = 0) -> Allowance:
    return Allowance(float(rate), lambda: elsewhere, Waits().count)


def test_one_transfer_gets_the_rate_from_its_first_moment() -> None:
    allowance = allowance_of(1_000_000)
    reader = Reader(allowance)
    reader.send()
    assert reader.taken_bytes == 1_000_000 * FIRST_S
    for _ in range(40):
        assert allowance.refill(TICK_S, 0)
    assert reader.taken_bytes == 1_000_000 * (FIRST_S + 10)


@pytest.mark.parametrize("elsewhere", [0, 3])
def test_transfers_share_the_rate_evenly_here_and_elsewhere(elsewhere: int) -> None:
    allowance = allowance_of(1_000_000, elsewhere)
    readers = [Reader(allowance) for _ in range(5)]
    for reader in readers:
        reader.send()
    before = [reader.taken_bytes for reader in readers]
    for _ in range(40):
        allowance.refill(TICK_S, elsewhere)
    got = [reader.taken_bytes - at for reader, at in zip(readers, before, strict=True)]
    assert sum(got) == pytest.approx(10_000_000 * 5 / (5 + elsewhere), rel=0.01)
    assert max(got) - min(got) <= 40 * 8


def test_what_a_slow_reader_does_not_take_is_its_neighbours() -> None:
    allowance = allowance_of(1_000_000)
    slow, quick = Reader(allowance), Reader(allowance)
    for _ in range(40):
        slow.appetite_bytes = 1_000
        slow.send()
        quick.send()
        allowance.refill(TICK_S, 0)
    assert slow.taken_bytes <= 41_000
    assert quick.taken_bytes > 9_000_000


def test_a_rate_below_the_number_of_transfers_reaches_each_in_turn() -> None:
    allowance = allowance_of(8)
    readers = [Reader(allowance) for _ in range(10)]
    for reader in readers:
        reader.send()
    for _ in range(400):
        allowance.refill(TICK_S, 0)
    got = [reader.taken_bytes for reader in readers]
    assert sum(got) == pytest.approx(800, abs=4)
    assert min(got) >= 70


def test_transfer_that_pauses_for_long_goes_on_and_earns_no_burst() -> None:
    begun: list[int] = []

    def begin() -> int:
        begun.append(1)
        return 0

    allowance = Allowance(1_000_000.0, begin, Waits().count)
    reader = Reader(allowance)
    reader.appetite_bytes = 10
    reader.send()
    assert [allowance.refill(TICK_S, 0) for _ in range(3)] == [True, False, False]
    reader.appetite_bytes = 1 << 40
    reader.send()
    assert reader.taken_bytes == 10 + 1_000_000 * FIRST_S
    assert len(begun) == 2
    assert allowance.refill(TICK_S, 0)
    assert reader.taken_bytes == 10 + 1_000_000 * 2 * FIRST_S


def test_each_response_that_waits_is_counted_once() -> None:
    waits = Waits()
    allowance = Allowance(1_000.0, lambda: 0, waits.count)
    readers = [Reader(allowance) for _ in range(2)]
    for _ in range(3):
        for reader in readers:
            reader.send()
        allowance.refill(TICK_S, 0)
    assert waits.number == 2


@given(
    rate=st.integers(1, 10_000_000),
    steps=st.lists(
        st.one_of(
            st.sampled_from(["enter", "tick", "late tick"]),
            st.integers(0, 50_000),  # an appetite
        ),
        max_size=120,
    ),
)
def test_no_order_of_events_brings_more_than_the_rate(rate: int, steps: list[str | int]) -> None:
    allowance = allowance_of(rate)
    readers: list[Reader] = []
    elapsed_s = 0.0
    for step in steps:
        if step == "enter":
            readers.append(Reader(allowance))
            readers[-1].send()
        elif isinstance(step, int):
            if readers:
                readers[step % len(readers)].appetite_bytes = step
                readers[step % len(readers)].send()
        else:
            tick_s = TICK_S if step == "tick" else 3 * TICK_S
            elapsed_s += tick_s
            allowance.refill(tick_s, 0)
        taken = sum(reader.taken_bytes for reader in readers)
        assert taken <= rate * (elapsed_s + FIRST_S)

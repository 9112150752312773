"""The table of flights and its hold-offs."""

from __future__ import annotations

import asyncio

import pytest

from mirror.errors import UpstreamError
from mirror.fill.flights import HELD_MAX, Flight, Flights
from mirror.fill.growing import GrowingFile
from mirror.fill.messages import Failed
from mirror.fill.replies import Growing
from tests.unit.fill.fake_keeper import entry
from tests.unit.fill.keeper_world import FakeClock, RecordingLog

GONE = Failed(status=404, reason="gone")


def table() -> tuple[Flights, FakeClock, RecordingLog]:
    clock, log = FakeClock(), RecordingLog()
    return Flights(clock=clock, log=log), clock, log


async def test_a_flight_is_in_the_table_until_it_ends_not_until_it_answers() -> None:
    flights, _, _ = table()
    gate = asyncio.Event()

    async def run(flight: Flight) -> None:
        flight.answer_all(GONE)
        await gate.wait()

    flight = flights.launch("k", ("k",), run)
    assert await flight.replies() == {"k": GONE}
    assert flights.find("k") is flight
    assert repr(flight) == "<Flight k answered>"
    gate.set()
    await flights.aclose()
    assert flights.find("k") is None


async def test_a_second_flight_for_a_key_is_misuse() -> None:
    flights, _, _ = table()

    async def run(flight: Flight) -> None:
        await asyncio.sleep(0)

    flights.launch("k", ("k",), run)
    with pytest.raises(ValueError, match="in flight"):
        flights.launch("k", ("k",), run)
    await flights.aclose()


async def test_a_flight_that_is_stopped_before_its_first_step_is_answered() -> None:
    flights, _, _ = table()

    async def run(flight: Flight) -> None:
        await asyncio.sleep(0)

    flight = flights.launch("k", ("k",), run)
    await flights.aclose()
    async with asyncio.timeout(5):
        [reply] = (await flight.replies()).values()
    assert isinstance(reply, Failed)
    assert reply.reason == "the mirror is stopping"
    assert flights.find("k") is None


async def test_a_flight_that_ends_without_a_word_answers_503() -> None:
    flights, _, _ = table()

    async def run(flight: Flight) -> None:
        await asyncio.sleep(0)

    flight = flights.launch("k", ("k", "l"), run)
    replies = await flight.replies()
    assert {type(replies[key]) for key in ("k", "l")} == {Failed}


@pytest.mark.parametrize(
    ("error", "event", "status"),
    [
        (UpstreamError("u", "no digest", status=502), "fill-failed", 502),
        (RuntimeError("defect"), "fill-crashed", 503),
    ],
)
async def test_a_flight_that_raises_answers_the_failure(
    error: Exception, event: str, status: int
) -> None:
    flights, _, log = table()

    async def run(flight: Flight) -> None:
        raise error

    reply = (await flights.launch("k", ("k",), run).replies())["k"]
    assert isinstance(reply, Failed)
    assert reply.status == status
    assert log.named(event)


async def test_only_the_first_answer_counts() -> None:
    flights, _, _ = table()

    async def run(flight: Flight) -> None:
        flight.answer_all(GONE)
        flight.answer_all(Failed(status=503, reason="later"))

    assert await flights.launch("k", ("k",), run).replies() == {"k": GONE}


async def test_a_cancelled_waiter_leaves_the_flight_alone() -> None:
    flights, _, _ = table()
    gate = asyncio.Event()

    async def run(flight: Flight) -> None:
        await gate.wait()
        flight.answer_all(GONE)

    flight = flights.launch("k", ("k",), run)
    waiter = asyncio.create_task(flight.replies())
    await asyncio.sleep(0)
    waiter.cancel()
    gate.set()
    assert await flight.replies() == {"k": GONE}


async def test_a_detached_flight_makes_room_for_another() -> None:
    flights, _, _ = table()
    gate = asyncio.Event()

    async def run(flight: Flight) -> None:
        await gate.wait()

    first = flights.launch("k", ("k",), run)
    flights.detach(first)
    second = flights.launch("k", ("k",), run)
    flights.detach(first)  # must not take the second one out
    assert flights.find("k") is second
    assert len(flights) == 2
    gate.set()
    await flights.aclose()


def test_a_hold_off_ends_by_the_clock() -> None:
    flights, clock, _ = table()
    flights.hold("k", GONE, for_s=2.0, upstream_status=503)
    held = flights.held("k")
    assert held is not None
    assert (held.failure, held.upstream_status) == (GONE, 503)
    clock.move(2.0)
    assert flights.held("k") is None


def test_a_shorter_hold_off_does_not_end_a_longer_one() -> None:
    flights, clock, _ = table()
    wrong = Failed(status=502, reason="upstream content failed verification")
    flights.hold("k", wrong, for_s=5.0)
    flights.hold("k", GONE, for_s=1.0, upstream_status=503)
    clock.move(1.0)
    held = flights.held("k")
    assert held is not None
    assert held.failure == wrong
    clock.move(3.5)
    flights.hold("k", GONE, for_s=1.0)
    clock.move(0.6)
    held = flights.held("k")
    assert held is not None
    assert held.failure == GONE


def test_hold_offs_are_bounded() -> None:
    flights, _, _ = table()
    for n in range(HELD_MAX + 10):
        flights.hold(str(n), GONE, for_s=9.0)
    assert flights.held("9") is None
    assert flights.held("10") is not None


class _Ends:
    def __init__(self) -> None:
        self.failed: list[bool] = []

    def flight_ended(self, *, is_failed: bool) -> None:
        self.failed.append(is_failed)

    def add(self, name: str, count: int = 1) -> None:
        raise AssertionError(f"a flight counts no {name}")


@pytest.mark.parametrize(
    ("reply", "is_failed"),
    [
        pytest.param(GONE, False, id="absent-upstream"),
        pytest.param(Failed(status=503, reason="upstream is away"), True, id="no-answer"),
        pytest.param(None, True, id="without-a-word"),
    ],
)
async def test_a_flight_counts_as_failed_when_nobody_could_be_answered(
    reply: Failed | None, is_failed: bool
) -> None:
    ends = _Ends()
    flights = Flights(clock=FakeClock(), log=RecordingLog(), tally=ends)

    async def run(flight: Flight) -> None:
        if reply is not None:
            flight.answer_all(reply)

    flight = flights.launch("k", ("k",), run)
    assert flight.task is not None
    await flight.task
    assert ends.failed == [is_failed]


async def test_those_under_way_are_told_with_what_has_landed() -> None:
    flights, clock, _ = table()
    go = asyncio.Event()

    async def run(flight: Flight) -> None:
        await go.wait()

    began_at_s = clock.monotonic()
    first = flights.launch("a", ("a",), run)
    clock.move(3)
    flights.launch("b", ("b",), run)
    assert [(each.key, each.began_at_s) for each in flights] == [
        ("a", began_at_s),
        ("b", began_at_s + 3),
    ]
    assert [each.file for each in flights] == [None, None]
    file = GrowingFile(number=1, path="p", entry=entry(key="a"), length=9, landed=4)
    first.answer({"a": Growing(file=file)})
    assert first.file is file
    go.set()
    await asyncio.wait([each.task for each in flights if each.task is not None])
    assert list(flights) == []

"""`mirror.upstream.racing`: one answer, and the other one is left without a trace."""

from __future__ import annotations

import asyncio

import pytest

from mirror.errors import UpstreamError
from mirror.upstream.racing import race


class Answer:
    def __init__(self, name: str) -> None:
        self.name = name
        self.releases = 0

    def release(self) -> None:
        self.releases += 1


class Runner:
    """A request that ends when it is told to."""

    def __init__(self, name: str) -> None:
        self.answer = Answer(name)
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.was_cancelled = False

    async def run(self) -> Answer:
        try:
            await self.end
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return self.answer


@pytest.fixture
async def runners() -> tuple[Runner, Runner]:
    return Runner("first"), Runner("second")


Runners = tuple[Runner, Runner]


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others, "nothing is left running"


async def test_an_answer_in_time_needs_no_second_request(runners: Runners) -> None:
    first, _ = runners
    first.end.set_result(None)
    assert await race(first.run(), 60.0, _never) == (first.answer, False)
    assert first.answer.releases == 0
    await settled()


def _never() -> None:
    raise AssertionError("no second request")


async def test_the_second_wins_and_the_first_is_left_at_its_head(runners: Runners) -> None:
    first, second = runners
    second.end.set_result(None)
    assert await race(first.run(), 0.0, second.run) == (second.answer, True)
    await settled()
    assert first.was_cancelled


async def test_the_first_may_still_win(runners: Runners) -> None:
    first, second = runners
    racing = asyncio.create_task(race(first.run(), 0.0, second.run))
    await asyncio.sleep(0.01)
    first.end.set_result(None)
    assert await racing == (first.answer, False)
    await settled()
    assert second.was_cancelled


async def test_of_two_answers_at_once_the_loser_is_released(runners: Runners) -> None:
    first, second = runners
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    racing = asyncio.create_task(race(first.run(), 0.0, second.run))
    await asyncio.sleep(0.01)
    second.end.set_result(None)
    first.end.set_result(None)
    assert await racing == (first.answer, False)
    await settled()
    assert (first.answer.releases, second.answer.releases) == (0, 1)
    assert complaints == []


async def test_an_answer_of_the_second_counts_though_the_first_fails_at_once(
    runners: Runners,
) -> None:
    first, second = runners
    racing = asyncio.create_task(race(first.run(), 0.0, second.run))
    await asyncio.sleep(0.01)
    second.end.set_result(None)
    first.end.set_exception(UpstreamError("u", "away"))
    assert await racing == (second.answer, True)
    await settled()
    assert second.answer.releases == 0


async def test_an_answer_in_the_turn_of_the_callers_end_is_released(runners: Runners) -> None:
    """The first failed, the second is waited for, and the caller is cancelled as it answers."""
    first, second = runners
    racing = asyncio.create_task(race(first.run(), 0.0, second.run))
    await asyncio.sleep(0.01)
    [hedge] = asyncio.all_tasks() - {asyncio.current_task(), racing}
    hedge.add_done_callback(lambda _: racing.cancel())  # ahead of the caller's own wake-up
    first.end.set_exception(UpstreamError("u", "away"))
    await asyncio.sleep(0.01)
    second.end.set_result(None)
    await asyncio.wait([racing])
    assert racing.cancelled()
    await settled()
    assert second.answer.releases == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_when_both_fail_the_first_ones_failure_counts(
    order: tuple[int, int], runners: Runners
) -> None:
    racing = asyncio.create_task(race(runners[0].run(), 0.0, runners[1].run))
    for number in order:
        await asyncio.sleep(0.01)
        assert not racing.done()
        runners[number].end.set_exception(UpstreamError("u", f"failure {number}"))
    with pytest.raises(UpstreamError, match="failure 0"):
        await racing
    await settled()


async def test_a_failure_before_the_other_answers_is_no_answer(runners: Runners) -> None:
    first, second = runners
    racing = asyncio.create_task(race(first.run(), 0.0, second.run))
    await asyncio.sleep(0.01)
    first.end.set_exception(UpstreamError("u", "away"))
    await asyncio.sleep(0)
    second.end.set_result(None)
    assert await racing == (second.answer, True)
    await settled()


async def test_without_a_second_request_the_first_is_waited_for(runners: Runners) -> None:
    first, _ = runners
    racing = asyncio.create_task(race(first.run(), 0.0, lambda: None))
    await asyncio.sleep(0.01)
    assert not racing.done()
    first.end.set_result(None)
    assert await racing == (first.answer, False)


@pytest.mark.parametrize("has_hedge", [False, True])
async def test_cancelling_leaves_both(has_hedge: bool, runners: Runners) -> None:
    first, second = runners
    racing = asyncio.create_task(race(first.run(), 0.0 if has_hedge else 60.0, second.run))
    await asyncio.sleep(0.01)
    racing.cancel()
    await asyncio.wait([racing])
    assert racing.cancelled()
    await settled()
    assert (first.was_cancelled, second.was_cancelled) == (True, has_hedge)

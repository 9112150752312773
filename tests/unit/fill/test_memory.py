"""The sum of contents in memory: bounded, fair, and without a standstill."""

from __future__ import annotations

import asyncio

import pytest

from mirror.fill.memory import MemoryBudget, MemoryFullError


async def test_who_finds_no_room_waits_until_there_is_some() -> None:
    budget = MemoryBudget(100)
    first, second = budget.share("a"), budget.share("b")
    await first.grow(80)
    waiting = asyncio.create_task(second.grow(30))
    await asyncio.sleep(0)
    assert (budget.used_bytes, second.held_bytes) == (80, 0)
    first.shrink_to(70)
    await waiting
    assert (budget.used_bytes, second.held_bytes) == (100, 30)


async def test_who_comes_later_does_not_overtake() -> None:
    budget = MemoryBudget(100)
    first, second, third = (budget.share(name) for name in "abc")
    await first.grow(80)
    large, small = (asyncio.create_task(s.grow(n)) for s, n in ((second, 90), (third, 1)))
    await asyncio.sleep(0)
    assert not small.done()
    first.release()
    await asyncio.gather(large, small)
    assert repr(budget) == "<MemoryBudget 91/100, 0 waiting>"


async def test_no_room_within_the_deadline_is_a_failure_to_try_again() -> None:
    budget = MemoryBudget(100, wait_s=0.01)
    holder, late = budget.share("a"), budget.share("b")
    await holder.grow(100)
    with pytest.raises(MemoryFullError) as caught:
        await late.grow(1)
    assert (caught.value.status, caught.value.retryable) == (503, True)
    assert caught.value.retry_after_s > 0
    assert repr(budget) == "<MemoryBudget 100/100, 0 waiting>"


async def test_one_body_alone_may_need_more_than_all() -> None:
    budget = MemoryBudget(100)
    share = budget.share("a")
    for _ in range(5):
        await share.grow(60)
    assert share.held_bytes == 300
    share.release()
    share.release()
    assert budget.used_bytes == 0


async def test_when_all_holders_wait_the_latest_gives_way_at_once() -> None:
    budget = MemoryBudget(100, wait_s=3600)
    first, second = budget.share("a"), budget.share("b")
    await first.grow(50)
    await second.grow(50)
    waiting = asyncio.create_task(first.grow(30))
    await asyncio.sleep(0)
    with pytest.raises(MemoryFullError):
        await second.grow(30)
    second.release()
    await waiting
    assert (first.held_bytes, budget.used_bytes) == (80, 80)


async def test_cancelling_who_waits_lets_the_next_go_on() -> None:
    budget = MemoryBudget(100)
    first, second, third = (budget.share(name) for name in "abc")
    await first.grow(80)
    cancelled, next_ = (asyncio.create_task(s.grow(n)) for s, n in ((second, 90), (third, 20)))
    await asyncio.sleep(0)
    cancelled.cancel()
    await next_
    await asyncio.gather(cancelled, return_exceptions=True)
    assert (second.held_bytes, budget.used_bytes) == (0, 100)

"""A withdrawal is acknowledged when every living worker has seen it, and not before."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.clock import SystemClock
from mirror.control.acknowledging import unaware_slots
from mirror.store.page import SharedPage


@pytest.fixture
def page(tmp_path: Path) -> Iterator[SharedPage]:
    made = SharedPage.create(str(tmp_path / "page"), 4)
    yield made
    made.close()


def work(page: SharedPage, slot: int, pid: int) -> None:
    page.set_pid(slot, pid)
    page.beat(slot, int(SystemClock().monotonic() * 1000))


async def test_worker_that_has_not_seen_it_is_named_after_the_patience(page: SharedPage) -> None:
    work(page, 0, os.getpid())
    work(page, 2, os.getpid())
    page.saw_epoch(0, page.bump_epoch())
    assert await unaware_slots(page, SystemClock(), 0.05) == [2]


async def test_it_waits_until_the_last_has_seen_it(page: SharedPage) -> None:
    work(page, 1, os.getpid())
    epoch = page.bump_epoch()
    waiting = asyncio.create_task(unaware_slots(page, SystemClock(), 30))
    await asyncio.sleep(0)
    assert not waiting.done()
    page.saw_epoch(1, epoch)
    assert await waiting == []


async def test_dead_and_silent_workers_are_not_waited_for(page: SharedPage) -> None:
    work(page, 0, 2**22 - 1)  # nobody has it
    page.set_pid(1, os.getpid())
    page.beat(1, 1)  # silent for long
    page.bump_epoch()
    assert await unaware_slots(page, SystemClock(), 0) == []

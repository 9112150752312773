"""The background repair goes on turn by turn, and over a disk that fails."""

from __future__ import annotations

import asyncio

import pytest

from mirror.errors import StoreError
from mirror.jobs import repairing
from mirror.jobs.repairing import keep_repaired
from tests.unit.store.bench import RecordingLog


class _Repair:
    """Done after `turns`; the one before the last fails."""

    def __init__(self, turns: int) -> None:
        self.left = turns
        self.failed = 0
        self.done = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def is_open(self) -> bool:
        return self.left > 0

    def run(self, for_s: float) -> bool:
        assert for_s == repairing.TURN_S
        if self.left == 2 and not self.failed:
            self.failed += 1
            raise StoreError("blobs", "Input/output error")
        self.left -= 1
        if not self.left:
            self._loop.call_soon_threadsafe(self.done.set)
        return self.is_open


async def test_a_disk_that_fails_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repairing, "RETRY_S", 0.0)
    monkeypatch.setattr(repairing, "LOOK_S", 0.0)
    log = RecordingLog()
    repair = _Repair(4)
    task = asyncio.create_task(keep_repaired(repair, log))
    async with asyncio.timeout(30):
        await repair.done.wait()
    task.cancel()
    assert (repair.left, repair.failed) == (0, 1)
    assert log.names() == ["index-not-repaired"]

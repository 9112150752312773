"""Waiting until every worker knows of a withdrawal.

Rules:
1. A slot knows when it has seen the epoch. One whose process is dead, or has been silent so long
   that the supervisor replaces it, serves nobody: its successor begins with the index as it is.
2. Nothing is sent to anybody: workers write what they have seen into the shared page by themselves,
   four times a second.

Units: seconds.
Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from typing import Final

from mirror.clock import Clock
from mirror.control.status import process_states
from mirror.store.page import KEEPER_SLOT, SharedPage

POLL_S: Final = 0.02
PATIENCE_S: Final = 10.0  # twice what a hung worker has before it counts as silent


async def unaware_slots(
    page: SharedPage, clock: Clock, patience_s: float = PATIENCE_S
) -> list[int]:
    """Wait until all know of the page's present epoch; return the slots that do not in time."""
    epoch = page.epoch
    until_s = clock.monotonic() + patience_s
    while slots := _unaware(page, clock, epoch):
        if clock.monotonic() >= until_s:
            return slots
        await asyncio.sleep(POLL_S)
    return []


def _unaware(page: SharedPage, clock: Clock, epoch: int) -> list[int]:
    alive = {state["pid"] for state in process_states(page, clock) if state["is_alive"]}
    return [
        slot
        for slot in range(page.slots)
        if slot != KEEPER_SLOT and page.pid(slot) in alive and page.seen_epoch(slot) < epoch
    ]

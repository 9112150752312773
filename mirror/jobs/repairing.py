"""Keeps the store's repair going in the background, and out of the way.

Rules:
1. It works in turns of `TURN_S` with a rest of `REST_S` in between, in which whoever waits for the
   store's lock or for this process has it to himself.
2. A disk or database that fails ends the turn, is told, and is tried again after `RETRY_S`.
3. A repair that begins while this runs (an index found damaged) is seen within `LOOK_S`.

Units: seconds. Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from mirror.errors import StoreError
from mirror.events import EventLog

TURN_S = 0.05
# A third of the time is left to others: measured, a repair of a million files takes as much longer.
REST_S = 0.025
LOOK_S = 1.0
RETRY_S = 10.0


class Repairable(Protocol):
    """`store.repair.Repair`."""

    @property
    def is_open(self) -> bool: ...

    def run(self, for_s: float) -> bool: ...


async def keep_repaired(repair: Repairable, log: EventLog) -> None:
    """Never returns; whoever cancels it closes the repair then, which ends a turn that runs."""
    while True:
        try:
            while repair.is_open:
                await asyncio.to_thread(repair.run, TURN_S)
                await asyncio.sleep(REST_S)
        except StoreError as exc:
            log.error("index-not-repaired", reason=str(exc))
            await asyncio.sleep(RETRY_S)
        await asyncio.sleep(LOOK_S)

"""The probe of a store in trouble, and its end."""

from __future__ import annotations

import asyncio
import threading

from mirror.errors import DiskTrouble, StoreError
from mirror.fill.recovering import StoreRecovery
from mirror.store.trouble import StoreTrouble
from tests.unit.fill.keeper_world import FakeClock


class SlowStore:
    """Its probe ends when `may_end` is set."""

    def __init__(self) -> None:
        self.trouble = StoreTrouble(FakeClock(), None)
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.has_ended = False

    def probe(self) -> None:
        self.begun.set()
        self.may_end.wait(10)
        self.has_ended = True


async def at_once(_seconds: float) -> None:
    """No rest."""


async def test_closing_waits_for_the_look_that_is_under_way() -> None:
    """Else a thread would write into a store that is closed, and perhaps another keeper's."""
    store = SlowStore()
    store.trouble.met(StoreError("x", "full", trouble=DiskTrouble.FULL))
    recovery = StoreRecovery(store, at_once)
    assert await asyncio.to_thread(store.begun.wait, 10)
    closing = asyncio.create_task(recovery.aclose())
    await asyncio.sleep(0.01)
    assert not closing.done()
    store.may_end.set()
    await closing
    assert store.has_ended

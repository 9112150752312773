"""Builds what takes care of the stored bytes: the scrub, and the healing of what it condemns.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from mirror.accounting.keeper_totals import KeeperTotals
from mirror.clock import Clock
from mirror.config import Config
from mirror.events import EventLog
from mirror.fill.filler import Filler
from mirror.fill.healing import Healer
from mirror.jobs.scrub import Scrub
from mirror.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class CareParts:
    """What runs in this keeper already."""

    config: Config
    store: Store
    filler: Filler
    clock: Clock
    events: EventLog
    totals: KeeperTotals


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """`scrub` None: [scrub] enabled is false."""

    scrub: Scrub | None
    healer: Healer


def open_care(parts: CareParts, stack: contextlib.AsyncExitStack) -> Care:
    """Start both inside the running loop; `stack` ends them."""
    healer = Healer(parts.filler, parts.store, parts.events, parts.totals)
    stack.push_async_callback(healer.aclose)
    parts.store.scrubber.tell_condemned(healer.tell)
    if not parts.config.scrub.enabled:
        return Care(scrub=None, healer=healer)
    scrub = Scrub(
        parts.store.scrubber,
        parts.config.scrub,
        parts.clock,
        parts.events,
        parts.totals,
        is_busy=lambda: len(parts.filler.flights) > 0,
    )
    stack.push_async_callback(asyncio.to_thread, scrub.close)
    scrub.start()
    return Care(scrub=scrub, healer=healer)

"""The parts of one open store, put together; `Store` is the door in front of them.

Does not: decide or do anything.
Runs in: keeper.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from mirror import config
from mirror.clock import Clock
from mirror.events import EventLog
from mirror.store.attesting import Attester
from mirror.store.budget import Budget
from mirror.store.capacity import Capacity, limits_of
from mirror.store.catalog import Catalog
from mirror.store.eviction import EvictionPolicy
from mirror.store.files import Files
from mirror.store.guarded_quarantine import GuardedQuarantine
from mirror.store.holds import Holds
from mirror.store.index import Index
from mirror.store.intake import Intake
from mirror.store.layout import Layout
from mirror.store.leftovers import Leftovers
from mirror.store.page import SharedPage
from mirror.store.partials import Partials
from mirror.store.probing import Probe
from mirror.store.publishing import Publisher
from mirror.store.purging import Purger
from mirror.store.quarantine import Quarantine
from mirror.store.repair import Repair
from mirror.store.room import Room
from mirror.store.scrubbing import Scrubber
from mirror.store.small_temps import SmallTemps
from mirror.store.tally import StoreTally
from mirror.store.trouble import StoreTrouble
from mirror.store.variants import Variants


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a store is made of; `boot` names this run of the kernel."""

    settings: config.Store
    files: Files
    layout: Layout
    clock: Clock
    page: SharedPage | None
    log: EventLog | None
    policy: EvictionPolicy
    index: Index
    boot: str
    tally: StoreTally


class Workings:
    """The parts. All share one lock, one budget and one catalog."""

    def __init__(self, given: Given) -> None:
        files, layout, clock, log = given.files, given.layout, given.clock, given.log
        settings = given.settings
        self.lock = threading.RLock()
        limits = limits_of(settings)
        self.budget = Budget(settings.budget, floor_bytes=limits.floors.free_bytes)
        self.trouble = StoreTrouble(clock, log)
        self._leftovers = Leftovers(files, self.trouble)
        self._leftover: set[bytes] = set()
        self.holds = Holds(clock)
        self.quarantine = Quarantine(
            files, layout, settings.quarantine_budget, settings.quarantine_keep, given.tally
        )
        self.quarantined = GuardedQuarantine(self.quarantine, lock=self.lock, clock=clock, log=log)
        given.index.policy = given.policy
        self.catalog = Catalog(
            index=given.index, files=files, layout=layout, budget=self.budget, clock=clock,
            page=given.page, log=log,
        )  # fmt: skip
        self.partials = Partials(
            files=files, layout=layout, budget=self.budget, clock=clock, boot=given.boot,
            leftovers=self._leftovers,
        )  # fmt: skip
        capacity = Capacity(catalog=self.catalog, limits=limits, files=files, path=layout.root)
        self.room = Room(
            catalog=self.catalog, partials=self.partials, holds=self.holds, policy=given.policy,
            capacity=capacity, lock=self.lock, tally=given.tally, leftover=self._leftover,
        )  # fmt: skip
        self.probe = Probe(
            files=files, layout=layout, capacity=capacity, room=self.room,
            leftovers=self._leftovers, catalog=self.catalog, lock=self.lock,
        )  # fmt: skip
        self.attester = Attester(
            catalog=self.catalog, holds=self.holds, quarantine=self.quarantine, layout=layout,
            clock=clock, lock=self.lock, log=log,
        )  # fmt: skip
        self._add_users(given)

    def _add_users(self, given: Given) -> None:
        """Add what uses the parts above."""
        small = SmallTemps(given.files, given.layout, self._leftovers)
        publisher = Publisher(self.catalog, self.lock, given.tally, self._leftover)
        self.repair = Repair(
            catalog=self.catalog, attester=self.attester, clock=given.clock, lock=self.lock,
            log=given.log, boot=given.boot,
        )  # fmt: skip
        self.intake = Intake(
            catalog=self.catalog, budget=self.budget, holds=self.holds, room=self.room,
            partials=self.partials, small=small, publisher=publisher,
            quarantined=self.quarantined, clock=given.clock, lock=self.lock, log=given.log,
            trouble=self.trouble,
        )  # fmt: skip
        self.variants = Variants(
            catalog=self.catalog, holds=self.holds, temps=small, publisher=publisher,
            attester=self.attester, reserve=self.intake.promise, is_here=self.intake.is_here,
        )  # fmt: skip
        self.purger = Purger(
            catalog=self.catalog, room=self.room, partials=self.partials, holds=self.holds,
            budget=self.budget, repair=self.repair, lock=self.lock,
        )  # fmt: skip
        self.scrubber = Scrubber(
            catalog=self.catalog, attester=self.attester, files=given.files, layout=given.layout,
            lock=self.lock,
        )  # fmt: skip

"""Roll-ups lose and invent nothing, whatever happens in which order."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mirror.accounting.history import Step
from mirror.accounting.layout import Layout
from mirror.accounting.ledger import Retention
from mirror.errors import StoreError
from tests.unit.accounting.ledger_world import LAYOUTS, KilledError, LedgerWorld, disk_error

# Memory, where there is such a file system: every roll-up is synchronised with the disk.
_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None

amounts = st.integers(1, 1 << 40)
cells = st.integers(0, 4000)
layouts = st.sampled_from(LAYOUTS)
waits = st.sampled_from((0.1, 1.0, 31.0, 60.0, 3599.0, 86400.0))


class LedgerMachine(RuleBasedStateMachine):
    """Workers, keepers and their deaths, one thing after another."""

    @initialize()
    def begin(self) -> None:
        self.path = Path(tempfile.mkdtemp(dir=_FAST, prefix="ledger-"))
        self.world = LedgerWorld(self.path)
        self.has_expired = False

    @precondition(lambda self: len(self.world.processes) < 5)
    @rule(slot=st.integers(-1, 2), layout=layouts)
    def process_begins(self, slot: int, layout: Layout) -> None:
        self.world.open(slot, layout)

    @precondition(lambda self: self.world.processes)
    @rule(at=st.integers(0, 9), counts=st.lists(st.tuples(cells, amounts), min_size=1, max_size=4))
    def process_counts(self, at: int, counts: list[tuple[int, int]]) -> None:
        process = self.world.processes[at % len(self.world.processes)]
        for cell, amount in counts:
            self.world.count(process, cell, amount)

    @precondition(lambda self: self.world.processes)
    @rule(at=st.integers(0, 9))
    def process_dies(self, at: int) -> None:
        self.world.kill(self.world.processes[at % len(self.world.processes)])

    @rule(layout=layouts)
    def configuration_changes(self, layout: Layout) -> None:
        self.world.layout = layout

    @rule(after_s=waits, removes=st.booleans())
    def keeper_rolls_up(self, after_s: float, removes: bool) -> None:
        """Without removal: it died between the transaction and its next step."""
        files = self.world.roll_up(after_s)
        if removes:
            self.world.remove(files)
        assert self.world.lifetime() == self.world.counted
        assert self.world.sums(Step.DAY) == self.world.counted

    @precondition(lambda self: self.world.processes)
    @rule(is_committed=st.booleans(), is_killed=st.booleans(), cell=cells)
    def commit_fails(self, is_committed: bool, is_killed: bool, cell: int) -> None:
        self.world.count(self.world.processes[0], cell)
        error: BaseException = KilledError() if is_killed else disk_error()
        name = "after_commit" if is_committed else "before_commit"
        setattr(self.world.database, name, error)
        with contextlib.suppress(KilledError, StoreError):
            self.world.roll_up(1.0)
        if is_killed:
            self.world.restart_keeper()

    @rule()
    def keeper_restarts(self) -> None:
        self.world.restart_keeper()

    @rule(minutes_s=st.sampled_from((60.0, 7200.0)))
    def lines_expire(self, minutes_s: float) -> None:
        retention = Retention(minutes_s=minutes_s, hours_s=86400.0, days_s=1e9)
        self.world.ledger.expire(self.world.clock.at, retention)
        self.has_expired = True

    @invariant()
    def everybody_says_what_was_counted(self) -> None:
        assert self.world.ledger.totals(self.world.files()).named == self.world.counted
        assert self.world.history().totals().named == self.world.counted

    @invariant()
    def coarser_lines_have_what_finer_ones_have(self) -> None:
        minutes, hours, days = (self.world.sums(step) for step in Step)
        assert minutes <= hours <= days
        assert days == self.world.lifetime() <= self.world.counted
        assert self.has_expired or minutes == days
        assert self.world.smallest() >= 0

    @rule()
    def lines_of_days_are_asked_for(self) -> None:
        """Also what was not rolled up yet, of groups and upstreams of every configuration."""
        counted = self.world.counted
        for section, lines in (
            ("served", self.world.history().served(0, 1e12, Step.DAY)),
            ("fetched", self.world.history().fetched(0, 1e12, Step.DAY)),
        ):
            for column in ("requests", "content_bytes", "head_bytes", "not_modified"):
                assert sum(line.columns[column] for line in lines) == sum(
                    value
                    for name, value in counted.items()
                    if (name[0], name[-1]) == (section, column)
                )

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()
            shutil.rmtree(self.path)


def _run(max_examples: int, steps: int) -> None:
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=max_examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_roll_ups_lose_and_invent_nothing() -> None:
    _run(30, 25)


@pytest.mark.full
def test_roll_ups_lose_and_invent_nothing_in_many_long_lives() -> None:
    _run(100, 60)

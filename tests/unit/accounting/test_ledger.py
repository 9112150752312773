"""`mirror.accounting.ledger`: what belongs to which minute, what goes back, what expires."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.accounting.history import Step
from mirror.accounting.ledger import EXPIRED_AT_ONCE, GONE_KEPT_S, Ledger, Retention
from mirror.accounting.ledger_books import begin_of, counted_at
from mirror.errors import StoreError
from tests.unit.accounting.ledger_world import FOR_EVER, LAYOUTS, NOW, LedgerWorld, disk_error

HITS = ("served", "other", "crate", "hit", "requests")
BYTES = ("served", "other", "crate", "hit", "content_bytes")
DAY_S = 86400.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LedgerWorld]:
    made = LedgerWorld(tmp_path)
    yield made
    made.close()


def minutes(world: LedgerWorld) -> dict[int, int]:
    """Return the requests of each minute that has some."""
    lines = world.history().served(0, 1e12, Step.MINUTE)
    return {line.at: line.columns["requests"] for line in lines}


@pytest.mark.parametrize(
    ("now", "rolled_up_at", "minute"),
    [
        pytest.param(600.05, 540.05, 540, id="right-after-the-end"),
        pytest.param(601.9, 590.0, 540, id="late"),
        pytest.param(602.0, 590.0, 600, id="too-late"),
        pytest.param(601.0, 600.5, 600, id="closed-already"),
        pytest.param(599.99, 540.0, 540, id="early-timer"),
        pytest.param(600.0, 0.0, 540, id="first-ever"),
        pytest.param(601.0, 999.0, 600, id="clock-was-put-back"),
    ],
)
def test_a_roll_up_closes_the_minute_that_has_just_ended(
    now: float, rolled_up_at: float, minute: int
) -> None:
    assert begin_of(counted_at(now, rolled_up_at), Step.MINUTE) == minute


@pytest.mark.parametrize("step", Step)
def test_a_step_begins_at_a_multiple_of_its_length(step: Step) -> None:
    for at in (NOW, NOW - 30, 0.0):
        assert begin_of(at, step) % step.value == 0
        assert 0 <= at - begin_of(at, step) < step.value


def test_each_minute_has_what_was_counted_in_it(world: LedgerWorld) -> None:
    worker = world.open(0)
    world.count_name(worker, HITS, 3)
    world.roll_up()  # at :30
    world.count_name(worker, HITS, 4)
    world.roll_up(30.1)  # closes the minute
    world.count_name(worker, HITS, 5)
    world.roll_up(30.0)
    assert minutes(world) == {NOW - 30: 7, NOW + 30: 5}


def test_the_day_that_ends_at_midnight_has_its_last_minute(world: LedgerWorld) -> None:
    world.clock.at = 86400.0 * 20_000 - 40
    worker = world.open(0)
    world.roll_up()
    world.count_name(worker, HITS, 9)
    world.roll_up(40.05)
    (line,) = world.history().served(0, 1e12, Step.DAY)
    assert line.at == 86400 * 19_999


def test_a_cell_that_went_back_in_a_power_cut_is_followed_from_there(world: LedgerWorld) -> None:
    worker = world.open(0)
    world.count_name(worker, HITS, 5)
    written_back = Path(worker.path).read_bytes()
    world.count_name(worker, HITS, 2)
    world.roll_up()
    world.kill(worker)
    Path(worker.path).write_bytes(written_back)
    assert world.history().totals().named == world.counted  # 7, not 5
    world.roll_up()
    worker = world.open(0)
    world.count_name(worker, HITS, 1)
    assert world.history().totals().named == {HITS: 8} == world.counted
    world.roll_up()
    assert world.lifetime() == world.counted
    assert world.ledger.totals(world.files()).named == world.counted


def test_a_file_that_is_made_again_counts_from_zero(world: LedgerWorld) -> None:
    for _ in range(3):
        worker = world.open(0)
        world.count_name(worker, HITS, 2)
        world.kill(worker)
        world.roll_up()
        os.unlink(worker.path)
    assert world.lifetime() == {HITS: 6}


def test_a_file_moved_away_and_back_is_not_counted_twice(
    world: LedgerWorld, tmp_path: Path
) -> None:
    worker = world.open(0)
    world.count_name(worker, HITS, 2)
    world.kill(worker)
    world.roll_up()
    away = tmp_path / "elsewhere"
    shutil.move(worker.path, away)
    world.roll_up(3600.0)
    world.ledger.expire(world.clock.at, FOR_EVER)
    shutil.move(away, worker.path)
    assert world.ledger.totals(world.files()).named == world.counted
    for after_s in (3600.0, GONE_KEPT_S + 3600.0):
        world.roll_up(after_s)
        world.ledger.expire(world.clock.at, FOR_EVER)
    world.roll_up()
    assert world.lifetime() == world.counted


def test_what_was_seen_of_a_removed_file_is_let_go_in_the_end(world: LedgerWorld) -> None:
    worker = world.open(0)
    world.count_name(worker, HITS, 2)
    world.kill(worker)
    world.roll_up()
    os.unlink(worker.path)
    world.roll_up()
    for after_s, left in ((GONE_KEPT_S - 1, 1), (2.0, 0)):
        world.clock.at += after_s
        world.ledger.expire(world.clock.at, FOR_EVER)
        assert world.database.rows("SELECT COUNT(*) FROM ledger_file") == [(left,)]
        assert world.database.rows("SELECT COUNT(*) FROM ledger_seen") == [(left,)]
    other = world.open(0)
    world.count_name(other, HITS, 1)
    world.roll_up()
    assert world.lifetime() == {HITS: 3}


def test_lines_expire_by_their_step_and_totals_never(world: LedgerWorld) -> None:
    worker = world.open(0)
    for _ in range(4):
        world.count_name(worker, HITS)
        world.roll_up(DAY_S)
    now = world.clock.at
    kept = Retention(minutes_s=DAY_S, hours_s=2 * DAY_S, days_s=1.0)
    assert world.ledger.expire(now, kept) == 2 + 1 + 3  # of four each
    assert [world.sums(step)[HITS] for step in Step] == [2, 3, 1]
    assert world.lifetime() == world.counted
    assert world.ledger.expire(now, kept) == 0


def test_a_great_many_lines_expire_in_several_transactions(world: LedgerWorld) -> None:
    count = 2 * EXPIRED_AT_ONCE + 5
    rows = [(60, 60 * at, 1, 1) for at in range(count)]
    world.database.transact([("INSERT INTO ledger_sum VALUES (?, ?, ?, ?)", rows)])
    kept = Retention(minutes_s=60.0, hours_s=60.0, days_s=60.0)
    assert world.ledger.expire(60.0 * count, kept) == count - 1


def test_an_idle_minute_writes_nothing(world: LedgerWorld) -> None:
    world.count_name(world.open(0), HITS)
    world.roll_up()
    world.database.before_commit = disk_error()
    world.roll_up(60.0)
    world.roll_up(60.0)


def test_a_full_disk_loses_nothing(world: LedgerWorld) -> None:
    worker = world.open(0)
    world.count_name(worker, HITS, 2)
    world.database.before_commit = disk_error()
    with pytest.raises(StoreError, match="the disk is full"):
        world.roll_up()
    world.count_name(worker, BYTES, 7)
    assert world.ledger.totals(world.files()).named == world.counted
    world.roll_up()
    assert world.lifetime() == world.counted


def test_a_commit_that_failed_after_all_is_not_made_twice(world: LedgerWorld) -> None:
    worker = world.open(0)
    world.count_name(worker, HITS, 4)
    world.roll_up()
    world.count_name(worker, HITS, 2)
    world.database.after_commit = disk_error()
    with pytest.raises(StoreError):
        world.roll_up()
    world.count_name(worker, HITS, 1)
    assert world.ledger.totals(world.files()).named == world.counted
    world.roll_up()
    assert world.lifetime() == world.counted


def test_totals_of_a_new_keeper_need_no_roll_up(world: LedgerWorld) -> None:
    worker = world.open(0)
    world.count_name(worker, HITS, 5)
    world.roll_up()
    world.count_name(worker, HITS, 1)
    assert Ledger(world.database).totals(world.files()).named == {HITS: 6}


def test_totals_never_go_back_while_files_are_rolled_up_and_removed(world: LedgerWorld) -> None:
    """A scrape reads the files, then the books; the keeper rolls up and removes all the while."""
    went_back: list[tuple[int, int]] = []
    is_over = threading.Event()

    def scrape() -> None:
        former = 0
        while not is_over.is_set():
            shown = world.ledger.totals(world.files()).named.get(HITS, 0)
            if shown < former:
                went_back.append((former, shown))
            former = shown

    scraping = threading.Thread(target=scrape)
    scraping.start()
    try:
        for at in range(60):
            worker = world.open(0, LAYOUTS[1 + at % 2])
            world.count_name(worker, HITS)
            world.kill(worker)
            world.remove(world.roll_up(1.0))
    finally:
        is_over.set()
        scraping.join()
    assert went_back == []
    assert world.lifetime() == {HITS: 60}

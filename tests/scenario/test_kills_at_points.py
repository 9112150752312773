"""Processes die at named crash points while clients read: nothing wrong, nothing lost, sums agree.

Every fault is counted by the one that does it; a kill that did not happen fails the test.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess
from mirror.store.points import Point
from tests.faults.board import CrashBoard, Victim
from tests.faults.books import Books
from tests.faults.deeds import deeds_for, flip_byte
from tests.faults.kill_rounds import plan_of, require_checker_convicts, run_mirrors
from tests.faults.store_kills import run_store_kills
from tests.scenario.body_checker import warmed
from tests.scenario.edge import Edge
from tests.scenario.upstream_objects import sha256_of

KILLS_EACH = 5  # 21 points: 105 kills
FORKS_EACH = 4
MIRRORS = 3
SEED = 6


@pytest.mark.full
@pytest.mark.timeout(600)
def test_kills_at_every_crash_point_cost_time_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, upstream: SimulatorProcess
) -> None:
    require_checker_convicts(upstream)
    plan = plan_of(list(Point), KILLS_EACH, SEED)
    folder = tmp_path_factory.mktemp("kills")  # short: unix sockets lie below it
    tally = run_mirrors(folder, upstream, plan, mirrors=MIRRORS, seed=SEED)
    print(tally)
    assert tally.kills_total == len(plan) >= 100
    assert min(tally.of_point(point) for point in Point) >= 2
    assert min(tally.of_victim(victim) for victim in Victim) >= 30


@pytest.mark.full
@pytest.mark.timeout(300)
def test_a_store_whose_process_dies_at_a_crash_point_is_whole_at_the_next_start(
    tmp_path: Path,
) -> None:
    count = FORKS_EACH * len(Point)
    fired = run_store_kills(tmp_path, count, programs=2, seed=SEED)
    print(f"{fired.total()} kills fired in forks, {min(fired.values())} at the fewest of a point")
    assert fired.total() == count
    assert set(fired) == {point.value for point in Point}


# The kit itself must be able to fail.


@pytest.mark.full
def test_books_tell_of_each_thing_that_does_not_agree(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    with Edge(tmp_path, upstream) as edge:
        first, second = warmed(edge, 50_000, 60_000)
        books = Books(edge)
        books.require_agreement(without_temps=True)
        blob = edge.blobs()[first.sha256]
        stray = blob.with_name(sha256_of(b""))
        stray.write_bytes(b"")
        assert any("has no row" in text for text in books.differences())
        assert any("are counted" in text for text in books.differences())
        stray.unlink()
        temp = edge.store / "partial" / ("1" * 64)
        temp.write_bytes(b"x")
        assert any("temp and its record" in text for text in books.differences())
        temp.unlink()
        assert books.differences() == []
        flip_byte(blob, 100)
        assert any(str(blob) in text for text in books.differences())
        edge.blobs()[second.sha256].unlink()
        flip_byte(blob, 100)
        assert any("has no file" in text for text in books.differences())


def test_board_kills_at_the_armed_passing_and_counts_it(tmp_path: Path) -> None:
    with CrashBoard(tmp_path / "board") as board:
        board.arm(Point.EVICT_COMMITTED, Victim.KEEPER, countdown=3)
        pid = os.fork()
        if pid == 0:
            for _ in range(5):
                board.on_passed(Point.EVICT_UNLINKED)
                board.on_passed(Point.EVICT_COMMITTED)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
        assert board.kills()[Point.EVICT_COMMITTED, Victim.KEEPER] == board.kills_total == 1
        assert board.passings()[Point.EVICT_COMMITTED] == 3
        assert board.armed is None


def test_board_refuses_a_countdown_that_is_over(tmp_path: Path) -> None:
    with CrashBoard(tmp_path / "board") as board, pytest.raises(ValueError, match="1"):
        board.arm(Point.FILL_BEGUN, Victim.ALL, countdown=0)


def test_a_plan_has_every_point_as_often_with_the_victims_in_turn() -> None:
    plan = plan_of(list(Point), 6, SEED)
    for point in Point:
        victims = [victim for at, victim in plan if at is point]
        assert {victim: victims.count(victim) for victim in Victim} == dict.fromkeys(Victim, 2)


@pytest.mark.parametrize("point", list(Point), ids=lambda point: str(point.value))
def test_every_crash_point_has_a_deed_that_leads_through_it(point: Point) -> None:
    assert deeds_for(point)

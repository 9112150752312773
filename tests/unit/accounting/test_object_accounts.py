"""Curve, top objects and downloads reach the database once, whatever fails."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.accounting.curve import CurveModel
from mirror.accounting.curve_table import STATE_EVERY_S, read_curve
from mirror.accounting.downloads import (
    DownloadCounts,
    crate_version_of,
    expire_downloads,
    read_downloads,
)
from mirror.accounting.history import DownloadLine
from mirror.accounting.object_accounts import AccountsPlan, ObjectAccounts
from mirror.accounting.objects import read_objects
from mirror.accounting.uses import LeftOut, Use
from mirror.errors import StoreError
from mirror.store.budget import footprint
from mirror.store.ranks_in_memory import ranks_in_force
from tests.unit.accounting.account_database import AccountDatabase
from tests.unit.store.bench import RecordingLog

DAY_S = 86400
NOON = 20_000.5 * DAY_S
TODAY = 20_000 * DAY_S
NOBODY = LeftOut()


class Clock:
    def __init__(self) -> None:
        self.at = NOON

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class World:
    """One state directory, its keepers one after another."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.database = AccountDatabase(path)
        self.log = RecordingLog()
        self.accounts = self.keeper()

    def keeper(self, *, top_objects: int = 5, budget_bytes: int = 1 << 30) -> ObjectAccounts:
        model = CurveModel(policy=ranks_in_force, footprint=footprint, sampled_objects=9000)
        plan = AccountsPlan(
            curve=model, budget_bytes=budget_bytes, top_objects=top_objects,
            days_kept_s=2.0 * DAY_S,
        )  # fmt: skip
        self.accounts = ObjectAccounts(self.database, plan, self.clock, self.log)
        return self.accounts

    def keep(self) -> None:
        self.accounts.keep(self.clock.now())

    def downloads(self) -> list[DownloadLine]:
        return read_downloads(self.database, 0, 1e12)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.close()


def crate(number: int, downloads: int = 0, requests: int = 1) -> Use:
    name = f"crate-{number}"
    return Use(
        key=f"crates:/crates/{name}/{name}-1.0.{number}.crate",
        requests=requests,
        content_bytes=1000 * requests,
        downloads=downloads,
        length_bytes=1000,
    )


def line(number: int, downloads: int, day: int = TODAY) -> DownloadLine:
    return DownloadLine(
        day=day, crate=f"crate-{number}", version=f"1.0.{number}", downloads=downloads
    )


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("crates:/crates/a-b/a-b-1.0.0-rc.1.crate", ("a-b", "1.0.0-rc.1")),
        ("crates:/crates/serde/serde-1.0.0+x.crate", ("serde", "1.0.0+x")),
        ("index:/se/rd/serde", None),
        ("releases:/dist/x.crate", None),
        ("crates:/crates/serde/other-1.0.0.crate", None),
    ],
)
def test_a_crates_key_names_crate_and_version(key: str, named: tuple[str, str] | None) -> None:
    assert crate_version_of(key) == named


def test_downloads_of_a_day_add_up_over_minutes_and_keepers(world: World) -> None:
    world.accounts.used([crate(1, 2), crate(2, 1), crate(3)], NOBODY)
    world.keep()
    world.accounts.used([crate(1, 3)], NOBODY)
    world.keep()
    world.keeper().used([crate(1, 5)], NOBODY)
    world.keep()
    assert world.downloads() == [line(1, 10), line(2, 1)]


def test_what_was_not_kept_is_all_that_a_killed_keeper_loses(world: World) -> None:
    world.accounts.used([crate(1, 2)], NOBODY)
    world.keep()
    world.accounts.used([crate(1, 40)], NOBODY)
    world.keeper().used([crate(1, 1)], NOBODY)
    world.keep()
    assert world.downloads() == [line(1, 3)]


@pytest.mark.parametrize("fails", ["before", "after"])
def test_a_failed_transaction_neither_loses_nor_doubles_anything(world: World, fails: str) -> None:
    """Also when it was done and only its answer was an error."""
    world.database.fails = fails
    world.accounts.used([crate(1, 2, requests=4)], NOBODY)
    with pytest.raises(StoreError):
        world.keep()
    world.accounts.used([crate(1, 3, requests=4)], NOBODY)
    world.keep()
    world.keep()
    assert world.downloads() == [line(1, 5)]
    assert [each.requests for each in read_objects(world.database, 0, 1e12, 9)] == [8]


def test_downloads_belong_to_the_day_they_were_told_on_and_expire_by_days(world: World) -> None:
    for _ in range(4):
        world.accounts.used([crate(1, 1)], NOBODY)
        world.keep()
        world.clock.at += DAY_S
    world.keep()
    kept = [line(1, 1, TODAY + 2 * DAY_S), line(1, 1, TODAY + 3 * DAY_S)]
    assert world.downloads() == kept
    assert read_downloads(world.database, TODAY + 3 * DAY_S, 1e12) == kept[1:]
    assert [each.requests for each in read_objects(world.database, 0, 1e12, 9)] == [2]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_top_objects_over_days_and_keepers_are_within_their_error(world: World, seed: int) -> None:
    rng, true = random.Random(seed), Counter[str]()
    for _ in range(3):
        for _ in range(3):
            uses = [crate(int(rng.paretovariate(0.7)) % 4000) for _ in range(1500)]
            true.update(use.key for use in uses)
            world.accounts.used(uses, LeftOut(requests=7, content_bytes=7000))
            world.keep()
            world.keeper()
        world.clock.at += DAY_S
    lines = read_objects(world.database, TODAY, TODAY + 3 * DAY_S, 5)
    assert len(lines) == 5
    assert lines[0].key == true.most_common(1)[0][0]
    for each in lines:
        assert each.requests <= true[each.key] <= each.requests + each.error
        assert each.error >= 9 * 7  # what was left out may have been theirs
        assert each.content_bytes == 1000 * each.requests


def test_without_top_objects_nothing_is_counted_by_name(world: World) -> None:
    world.keeper(top_objects=0).used([crate(1)], NOBODY)
    world.keep()
    assert read_objects(world.database, 0, 1e12, 9) == []


def test_the_curve_goes_on_after_a_restart(world: World) -> None:
    world.accounts.used([crate(n % 600) for n in range(3000)], NOBODY)
    world.keep()
    points = world.accounts.points()
    assert len(points) == 9
    assert read_curve(world.database) == points
    assert world.keeper().points() == points
    world.accounts.used([crate(n % 600) for n in range(3000)], NOBODY)
    assert world.accounts.points()[-1].request_hit_ratio == pytest.approx(0.9)


def test_the_curves_state_is_written_by_the_quarter_hour_and_at_the_end(world: World) -> None:
    """It is large; its points, which reports read, are written each minute."""

    def saved_at() -> list[float]:
        return [at for (at,) in world.database.rows("SELECT max(saved_at) FROM curve_state")]

    began = world.clock.at
    for _ in range(4):
        world.accounts.used([crate(n) for n in range(1000)], NOBODY)
        world.keep()
        assert read_curve(world.database) == world.accounts.points() != []
        expected = began if world.clock.at < began + STATE_EVERY_S else began + STATE_EVERY_S
        assert saved_at() == [expected]
        world.clock.at += STATE_EVERY_S / 3
    world.keep()
    assert saved_at() == [began + STATE_EVERY_S]
    world.accounts.keep_all(world.clock.at)
    assert saved_at() == [began + STATE_EVERY_S]  # nothing has changed since
    world.accounts.used([crate(1)], NOBODY)
    world.keep()
    world.accounts.keep_all(world.clock.at)
    assert saved_at() == [world.clock.at]
    assert world.keeper().points() == read_curve(world.database)


def test_a_state_that_was_not_written_is_due_again(world: World) -> None:
    world.accounts.used([crate(n) for n in range(1000)], NOBODY)
    world.database.fails = "before"
    with pytest.raises(StoreError):
        world.accounts.keep_all(world.clock.at)
    world.accounts.keep_all(world.clock.at)
    assert len(world.keeper().points()) == 9


def test_a_version_without_a_kept_day_is_forgotten_and_its_number_finds_no_others_days(
    world: World,
) -> None:
    world.accounts.used([crate(1, 1), crate(2, 1)], NOBODY)
    world.keep()
    world.clock.at += DAY_S
    world.accounts.used([crate(2, 1)], NOBODY)
    world.keep()
    world.clock.at += 2 * DAY_S
    world.accounts.used([crate(3, 7)], NOBODY)
    world.keep()
    names = world.database.rows("SELECT crate FROM download_version ORDER BY crate")
    assert names == [("crate-2",), ("crate-3",)]
    day = TODAY + DAY_S
    assert world.downloads() == [line(2, 1, day), line(3, 7, day + 2 * DAY_S)]


def test_versions_outlive_days_that_are_not_deleted_yet(world: World) -> None:
    """More rows than are deleted at once: the next minute goes on."""
    world.accounts.used([crate(n, 1) for n in range(5)], NOBODY)
    world.keep()
    before = TODAY + DAY_S
    for left in (3, 1, 0):
        world.database.transact(expire_downloads(before, at_once=2))
        assert world.database.rows("SELECT count(*) FROM download_day") == [(left,)]
        versions = world.database.rows("SELECT count(*) FROM download_version")[0][0]
        assert versions >= left
    for _ in range(2):
        world.database.transact(expire_downloads(before, at_once=2))
    assert world.database.rows("SELECT * FROM download_version") == []


def test_old_points_stay_until_another_budget_has_its_own(world: World) -> None:
    world.accounts.used([crate(n % 600) for n in range(3000)], NOBODY)
    world.keep()
    points = read_curve(world.database)
    world.keeper(budget_bytes=3 << 30).used([crate(1)], NOBODY)
    world.keep()
    assert read_curve(world.database) == points
    world.accounts.used([crate(n % 600) for n in range(3000)], NOBODY)
    world.keep()
    assert [point.store_bytes for point in read_curve(world.database)][4] == 3 << 30


@pytest.mark.parametrize("column", ["blobs", "memory"])
def test_a_damaged_curve_begins_anew_and_says_so(world: World, column: str) -> None:
    world.accounts.used([crate(n) for n in range(3000)], NOBODY)
    world.keep()
    world.database.transact([(f"UPDATE curve_state SET {column} = ?", [(b"odd",)])])
    assert world.keeper().points() == []
    assert world.log.names() == ["curve-begins-anew"]
    assert "hint" in world.log.events[0][1]


def test_uses_that_come_while_the_books_are_kept_are_taken_in_afterwards(world: World) -> None:
    with world.accounts._lock:  # as `keep` holds it in its thread
        world.accounts.used([crate(1, 2)], NOBODY)
    world.keep()
    assert world.downloads() == [line(1, 2)]


def test_more_versions_than_may_wait_are_refused() -> None:
    counts = DownloadCounts(0, pending_max=2)
    counts.used([crate(1, 1), crate(2, 1), crate(3, 4), crate(1, 1)], TODAY)
    assert (len(counts), counts.refused) == (2, 4)


def test_a_batch_that_is_not_settled_is_followed_by_no_other() -> None:
    counts = DownloadCounts(0)
    counts.used([crate(1, 1)], TODAY)
    assert counts.take()
    with pytest.raises(RuntimeError):
        counts.take()
    counts.settle(1)
    assert counts.take() == []


def test_a_download_of_what_is_no_crate_is_not_counted() -> None:
    counts = DownloadCounts(0)
    counts.used([Use("index:/se/rd/serde", 1, 10, 1, 10)], TODAY)
    assert len(counts) == 0


def test_accounts_show_what_waits(world: World) -> None:
    world.accounts.used([crate(1, 2)], NOBODY)
    assert "1 downloads to write" in repr(world.accounts)

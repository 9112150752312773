"""`mirror.accounting.ledger_history`: lines of a span, with what was not rolled up yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from mirror.accounting.counters import CounterFile
from mirror.accounting.days import DAY_S
from mirror.accounting.history import History, Step
from mirror.accounting.layout import FETCHED_COLUMNS, SERVED_COLUMNS
from mirror.accounting.ledger_history import LedgerHistory
from mirror.accounting.totals import Served
from mirror.errors import StoreError
from mirror.route.route import ContentClass
from tests.unit.accounting.ledger_world import LAYOUTS, NOW, LedgerWorld

HITS = ("served", "ci", "crate", "hit", "requests")
LAB = ("served", "lab", "index", "stale", "content_bytes")
MINUTE = int(NOW) - 30


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LedgerWorld]:
    made = LedgerWorld(tmp_path)
    made.layout = LAYOUTS[2]
    yield made
    made.close()


def test_lines_have_every_column_and_the_names_of_their_row(world: LedgerWorld) -> None:
    worker = world.open(0)
    world.count_name(worker, HITS, 3)
    world.count_name(worker, LAB, 70)
    world.count_name(worker, ("fetched", "https://b.example", "release", "throttled"), 2)
    for _ in ("live", "rolled up"):
        history: History = world.history()
        served, fetched = (
            history.served(0, 1e12, Step.HOUR),
            history.fetched(0, 1e12, Step.HOUR),
        )
        assert [(line.group, line.content_class, line.outcome) for line in served] == [
            ("ci", "crate", "hit"),
            ("lab", "index", "stale"),
        ]
        assert served[0].columns == {name: 3 * (name == "requests") for name in SERVED_COLUMNS}
        assert served[1].columns["content_bytes"] == 70
        (line,) = fetched
        assert (line.upstream, line.content_class) == ("https://b.example", "release")
        assert line.columns == {name: 2 * (name == "throttled") for name in FETCHED_COLUMNS}
        world.roll_up()


def test_a_span_is_half_open_and_lines_count_where_they_begin(world: LedgerWorld) -> None:
    worker = world.open(0)
    for _ in range(3):
        world.count_name(worker, HITS)
        world.roll_up(60.0)
    spans = {
        (MINUTE + 60, MINUTE + 120): [MINUTE + 60],
        (MINUTE + 61, MINUTE + 121): [MINUTE + 120],
        (MINUTE + 60.5, MINUTE + 120): [],
        (MINUTE, MINUTE + 181): [MINUTE + 60, MINUTE + 120, MINUTE + 180],
        (MINUTE + 180, MINUTE + 60): [],
    }
    for (since, until), expected in spans.items():
        lines = world.history().served(since, until, Step.MINUTE)
        assert [line.at for line in lines] == expected


def test_what_is_not_rolled_up_belongs_to_the_present_step(world: LedgerWorld) -> None:
    worker = world.open(0)
    world.count_name(worker, HITS, 2)
    world.roll_up()
    world.count_name(worker, HITS, 5)
    world.clock.at += 60
    lines = world.history().served(0, 1e12, Step.MINUTE)
    assert [(line.at, line.columns["requests"]) for line in lines] == [
        (MINUTE, 2),
        (MINUTE + 60, 5),
    ]
    (day,) = world.history().served(0, 1e12, Step.DAY)
    assert day.columns["requests"] == 7
    assert world.history().served(0, MINUTE + 60, Step.MINUTE)[-1].at == MINUTE


def test_served_by_day_has_complete_days_and_nothing_without_a_class(world: LedgerWorld) -> None:
    worker = world.open(0)
    content = ("content_bytes", 30), ("requests", 1)
    for at, group in ((0, "ci"), (0, "other"), (DAY_S, "ci"), (2 * DAY_S, "ci")):
        world.clock.at = MINUTE + at
        for column, amount in content:
            world.count_name(worker, ("served", group, "crate", "hit", column), amount)
            world.count_name(worker, ("served", group, "other", "refused", column), amount)
        world.roll_up()
    world.count_name(worker, ("served", "ci", "crate", "hit", "content_bytes"), 5)
    day = MINUTE // DAY_S * DAY_S
    history = world.history()
    assert history.served_by_day(0, 1e12) == {day: 60, day + DAY_S: 30}
    assert history.served_by_day(day + 1, 1e12) == {day + DAY_S: 30}
    assert history.served_by_day(0, day + DAY_S) == {day: 60}


def test_counting_began_when_something_was_counted(world: LedgerWorld) -> None:
    assert world.history().first_at() is None
    worker = world.open(0)
    world.roll_up()
    assert world.history().first_at() is None
    world.count_name(worker, HITS)
    world.clock.at += 60
    assert world.history().first_at() == MINUTE + 60
    world.roll_up()
    world.count_name(worker, HITS)
    world.roll_up(86400.0)
    assert world.history().first_at() == MINUTE + 60


def test_totals_are_those_of_all_groups_for_ever(world: LedgerWorld) -> None:
    worker = world.open(0)
    world.count_name(worker, HITS, 4)
    world.roll_up()
    world.count_name(worker, ("served", "other", "crate", "hit", "content_bytes"), 9)
    totals = world.history().totals()
    expected = Served(requests=4, content_bytes=9, head_bytes=0)
    assert totals.served(ContentClass.CRATE) == expected


Between = Callable[[LedgerWorld], None]


def _rolls_up(world: LedgerWorld) -> None:
    world.roll_up()


def _rolls_up_and_removes(world: LedgerWorld) -> None:
    world.layout = LAYOUTS[0]
    assert len(world.remove(world.roll_up())) == 1
    world.roll_up(1.0)  # notes that the file is gone


def _counts_on(world: LedgerWorld) -> None:
    worker = world.open(0)
    world.count_name(worker, HITS, 100)
    world.kill(worker)
    world.roll_up()


@pytest.mark.parametrize(
    ("meanwhile", "seen"),
    [
        pytest.param(_rolls_up, 7, id="roll-up"),
        pytest.param(_rolls_up_and_removes, 7, id="roll-up-and-removal"),
        pytest.param(_counts_on, 107, id="more-is-counted-and-rolled-up"),
    ],
)
def test_a_roll_up_between_files_and_database_is_counted_once(
    world: LedgerWorld, meanwhile: Between, seen: int
) -> None:
    worker = world.open(0)
    world.count_name(worker, HITS, 2)
    world.roll_up()
    world.count_name(worker, HITS, 5)
    world.kill(worker)

    def live() -> Sequence[CounterFile]:
        files = world.files()
        meanwhile(world)
        return files

    history = LedgerHistory(world.database, live, world.clock)
    assert history.totals().named == {HITS: seen}
    assert world.history().totals().named == world.counted


def test_a_database_that_cannot_be_read_is_an_error(world: LedgerWorld) -> None:
    world.state.transact([("ALTER TABLE ledger_sum RENAME TO gone", [()])])
    with pytest.raises(StoreError):
        world.history().served(0, 1e12, Step.DAY)


def test_objects_downloads_and_curve_of_an_empty_ledger_are_empty(world: LedgerWorld) -> None:
    history = world.history()
    assert list(history.objects(0, 1e12, 10)) == []
    assert list(history.downloads(0, 1e12)) == []
    assert list(history.curve()) == []

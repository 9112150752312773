"""`mirror.cli.history`: commands read the ledger without a keeper and say what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.accounting.counter_files import read_counter_files
from mirror.accounting.counters import Counters
from mirror.accounting.layout import Outcome, layout_of
from mirror.accounting.ledger import Ledger
from mirror.accounting.state_tables import STATE_TABLES
from mirror.cli.history import open_history
from mirror.cli.status import _totals
from mirror.errors import StoreError
from mirror.route.route import ContentClass
from mirror.store.state import STATE_NAME, StateDatabase
from tests.counting import count


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A mirror that is down: two requests rolled up, one not."""
    counters = Counters.open(str(tmp_path), 0, layout_of())
    count(counters, ContentClass.CRATE, Outcome.HIT, requests=2)
    database = StateDatabase.open(str(tmp_path / STATE_NAME), tables=STATE_TABLES)
    Ledger(database).roll_up(read_counter_files(str(tmp_path)).files, 1e9)
    database.close()
    count(counters, ContentClass.CRATE, Outcome.HIT)
    counters.close()
    return tmp_path


def test_history_of_a_mirror_that_is_down_has_what_was_not_rolled_up(state: Path) -> None:
    with open_history(str(state)) as history:
        assert history.totals().served(ContentClass.CRATE).requests == 3


def test_without_a_ledger_it_is_said_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="start the mirror once"), open_history(str(tmp_path)):
        pass


def test_a_damaged_counters_file_is_warned_of_once_and_the_rest_is_told(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (state / "counters.9").write_bytes(b"x" * 4096)
    with open_history(str(state)) as history:
        for _ in range(2):
            assert history.totals().served(ContentClass.CRATE).requests == 3
    warned = capsys.readouterr().err
    assert warned.count("counters.9") == 1
    assert "move it away" in warned


def test_status_tells_of_the_ledger_and_without_one_of_the_counters_files(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _totals(str(state)).served(ContentClass.CRATE).requests == 3
    assert capsys.readouterr().err == ""
    (state / "counters.0").unlink()
    assert _totals(str(state)).served(ContentClass.CRATE).requests == 2
    (state / STATE_NAME).write_bytes(b"x" * 4096)
    assert _totals(str(state)).served(ContentClass.CRATE).requests == 0
    assert "the traffic of before is missing" in capsys.readouterr().err

"""What must outlive the index: facts, and the newest date of each channel."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.errors import StoreError
from mirror.store.state import STATE_NAME, StateDatabase


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / STATE_NAME)


def test_newest_date_of_a_channel_never_goes_back(path: str) -> None:
    state = StateDatabase.open(path)
    for date in ("2026-03-05", "2026-04-16", "2026-03-05"):
        state.note_channel("stable", date)
    state.note_channel("nightly", "2026-05-20")
    assert state.channels() == {"nightly": "2026-05-20", "stable": "2026-04-16"}
    state.close()


def test_facts_survive_a_restart(path: str) -> None:
    state = StateDatabase.open(path)
    state.set_fact("other", "1")
    state.note_channel("beta", "2026-04-18")
    state.close()
    again = StateDatabase.open(path)
    assert again.fact("other") == "1"
    assert again.channels() == {"beta": "2026-04-18"}
    again.close()


def test_damaged_database_is_an_error_with_a_hint_and_is_kept(path: str) -> None:
    StateDatabase.open(path).close()
    damaged = b"x" * 4096
    Path(path).write_bytes(damaged)
    with pytest.raises(StoreError, match="restore it from a backup"):
        StateDatabase.open(path)
    assert Path(path).read_bytes() == damaged


def test_database_of_another_version_is_refused(path: str) -> None:
    import apsw

    connection = apsw.Connection(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="schema version 99"):
        StateDatabase.open(path)

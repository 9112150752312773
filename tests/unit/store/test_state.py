"""What must outlive the index: facts, and the newest date of each channel."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.errors import StoreError
from mirror.store.state import STATE_NAME, STATE_VERSION, CrateRecord, StateDatabase


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


def record(name: str, content: bytes = b"x", *, is_marked: bool = False) -> CrateRecord:
    return CrateRecord(name=name, is_marked=is_marked, record=content)


def test_crate_records_survive_a_restart_and_the_last_one_counts(path: str) -> None:
    state = StateDatabase.open(path)
    state.put_crate_records([record("serde", b"1"), record("syn", b"2", is_marked=True)])
    state.put_crate_records([record("serde", b"3", is_marked=True), record("syn", b"4")])
    state.close()
    again = StateDatabase.open(path)
    assert (again.crate_record("serde"), again.crate_record("syn")) == (b"3", b"4")
    assert again.crate_record("rand") is None
    assert again.marked_crates() == ["serde"]
    again.close()


def test_crate_records_are_kept_all_or_none(path: str) -> None:
    state = StateDatabase.open(path)
    state._connection.execute("PRAGMA max_page_count = 16").fetchall()
    with pytest.raises(StoreError, match="the disk is full"):
        state.put_crate_records([record("a"), record("b", b"x" * 100_000)])
    assert state.crate_record("a") is None
    state.close()


NOTES = "CREATE TABLE IF NOT EXISTS note (at INTEGER PRIMARY KEY, text TEXT NOT NULL);"
ADD_NOTE = "INSERT INTO note VALUES (?, ?)"
NOTE_COUNT = "SELECT COUNT(*) FROM note"


def test_tables_of_other_rooms_are_made_once_and_keep_what_they_have(path: str) -> None:
    for expected in (1, 2):
        state = StateDatabase.open(path, tables=NOTES)
        assert state.transact([(ADD_NOTE, [(expected, "x")])]) == 1
        assert state.rows(NOTE_COUNT) == [(expected,)]
        state.close()


def test_a_transaction_of_other_rooms_is_kept_whole_or_not_at_all(path: str) -> None:
    state = StateDatabase.open(path, tables=NOTES)
    forget = "DELETE FROM note WHERE at = ?"
    assert state.transact([(ADD_NOTE, [(1, "a"), (2, "b")]), (forget, [(1,)])]) == 3
    with pytest.raises(StoreError, match="UNIQUE"):
        state.transact([(ADD_NOTE, [(3, "c")]), (ADD_NOTE, [(2, "again")])])
    assert state.rows("SELECT at, text FROM note WHERE at > ?", (0,)) == [(2, "b")]
    assert state.transact([(ADD_NOTE, [])]) == 0
    state.close()


def test_a_query_that_fails_leaves_the_database_usable(path: str) -> None:
    state = StateDatabase.open(path, tables=NOTES)
    with pytest.raises(StoreError, match="no such table"):
        state.snapshot([(NOTE_COUNT, ()), ("SELECT * FROM absent", ())])
    state.transact([(ADD_NOTE, [(1, "a")])])
    assert state.snapshot([(NOTE_COUNT, ()), ("SELECT text FROM note", ())]) == [[(1,)], [("a",)]]
    state.close()


def test_a_database_of_version_2_gets_the_tables_of_other_rooms(path: str) -> None:
    import apsw

    StateDatabase.open(path).close()
    connection = apsw.Connection(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    state = StateDatabase.open(path, tables=NOTES)
    assert state.rows(NOTE_COUNT) == [(0,)]
    assert state.rows("PRAGMA user_version") == [(STATE_VERSION,)]
    state.close()


def test_a_database_of_version_1_is_brought_forward_in_place(path: str) -> None:
    import apsw

    connection = apsw.Connection(path)
    connection.execute(
        "CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE tombstone (key TEXT PRIMARY KEY, digest BLOB NOT NULL,"
        " withdrawn_at REAL NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID;"
        "INSERT INTO fact VALUES ('newest-date:stable', '2026-04-16');"
        "PRAGMA user_version = 1"
    )
    connection.close()
    for _ in range(2):
        state = StateDatabase.open(path)
        assert state.channels() == {"stable": "2026-04-16"}
        state.put_crate_records([record("serde")])
        assert state.crate_record("serde") == b"x"
        state.close()
    connection = apsw.Connection(path)
    assert connection.execute("PRAGMA user_version").fetchall() == [(STATE_VERSION,)]
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    assert sorted(tables) == [("crate",), ("fact",)]
    connection.close()


def test_a_closed_database_is_a_store_error(path: str) -> None:
    state = StateDatabase.open(path)
    state.close()
    with pytest.raises(StoreError):
        state.put_crate_records([record("serde")])
    with pytest.raises(StoreError):
        state.crate_record("serde")

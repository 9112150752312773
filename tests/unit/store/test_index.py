"""The keeper's index: its log stays short, rows come back as they went in."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.errors import StoreError
from mirror.store.budget import footprint
from mirror.store.connections import DatabaseDamagedError
from mirror.store.entry import Attestation, Entry
from mirror.store.index import Index
from mirror.store.knowledge import pack
from mirror.store.schema import INDEX_VERSION, TABLES, entry_of_row, entry_row, prefix_end
from mirror.store.state import StateDatabase
from tests.unit.store.bench import absence_of, entry_of, sha256

_times = st.floats(min_value=0, max_value=4e9)
_texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
_entries = st.builds(
    Entry, key=_texts, status=st.just(200), digest=st.just(sha256(b"body")), length=st.just(4),
    media_type=_texts, last_modified=st.integers(0, 1 << 40), upstream_etag=_texts,
    upstream_last_modified=_texts, fetched_at=_times, confirmed_at=_times,
    fresh_until=st.one_of(_times, st.just(math.inf)), proof=_texts,
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "index.db")


@given(_entries)
def test_an_entry_and_its_row_are_the_same_value(entry: Entry) -> None:
    assert entry_of_row(entry_row(entry)) == entry


def test_entries_come_back_as_they_went_in(path: str) -> None:
    index = Index.create(path)
    entry = entry_of("k", b"body", proof="parsed")
    with index.changing() as changes:
        changes.put_blob(entry.digest, Attestation(inode=7, size=4, ctime_ns=9), 1)
        changes.put_entry(entry)
        changes.put_entry(absence_of("gone"))
    found = index.lookup("k")
    assert found is not None
    assert (found.entry, found.attestation) == (entry, Attestation(inode=7, size=4, ctime_ns=9))
    gone = index.lookup("gone")
    assert gone is not None
    assert gone.entry == absence_of("gone")
    assert index.blob_bytes() == footprint(4)
    index.close()


def test_entries_of_a_proof_are_found_wherever_they_are(path: str) -> None:
    index = Index.create(path)
    with index.changing() as changes:
        for key, proof in (("b", "generation"), ("a", "generation"), ("c", "signed-generation")):
            entry = entry_of(key, b"body", proof=proof)
            changes.put_blob(entry.digest, Attestation(inode=7, size=4, ctime_ns=9), 1)
            changes.put_entry(entry)
        changes.put_entry(absence_of("gone"))
    assert [entry.key for entry in index.entries_of_proof("generation")] == ["a", "b"]
    index.close()


def test_a_transaction_that_raises_changes_nothing(path: str) -> None:
    index = Index.create(path)

    def change() -> None:
        with index.changing() as changes:
            changes.put_entry(absence_of("k"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change()
    assert index.lookup("k") is None
    with index.changing(durable=True) as changes:
        changes.put_entry(absence_of("k"))
    assert index.lookup("k") is not None
    index.close()


def test_the_log_stays_short_although_nobody_closes(path: str) -> None:
    index = Index.create(path)
    largest = 0
    for number in range(200):
        with index.changing() as changes:
            changes.vouch(entry_of(f"m{number}", b"%d" % number), {"2026-01-01": b"x" * 4800})
        largest = max(largest, os.path.getsize(path + "-wal"))
    assert largest < 12 << 20
    assert "pages in its log" in repr(index)
    index.close()


def test_a_look_up_does_not_wait_for_a_writer(path: str) -> None:
    index = Index.create(path)
    with index.changing() as changes:
        changes.put_entry(absence_of("k"))
        seen: list[object] = []
        looker = threading.Thread(target=lambda: seen.append(index.lookup("k")))
        looker.start()
        looker.join(timeout=10)
        assert seen == [None]
    assert index.lookup("k") is not None
    index.close()


def test_a_full_disk_is_a_store_error_and_rolls_back(path: str) -> None:
    index = Index.create(path)
    index._writer.execute("PRAGMA max_page_count = 20").fetchall()
    with pytest.raises(StoreError, match="the disk is full"), index.changing() as changes:
        changes.vouch(entry_of("m", b"m"), pack({f"/{i}": sha256(b"x") for i in range(5000)}, "m"))
    assert index.vouched("/1") is None
    index.close()


@pytest.mark.parametrize("content", [b"", b"x" * 8192], ids=["empty", "garbage"])
def test_a_file_that_is_no_index_is_damaged(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)
    with pytest.raises(DatabaseDamagedError):
        Index.open(path)


def test_a_closed_index_answers_nothing(path: str) -> None:
    index = Index.create(path)
    index.close()
    assert index.lookup("k") is None
    with pytest.raises(StoreError):
        index.vouched("k")


@given(st.text(st.characters(max_codepoint=127), max_size=5), st.text(max_size=5))
def test_prefix_end_is_above_every_ascii_key_with_the_prefix(prefix: str, rest: str) -> None:
    key = prefix + rest.encode("ascii", "ignore").decode()
    assert prefix <= key < prefix_end(prefix)


def test_facts_of_the_state_survive_and_schema_versions_are_checked(tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")
    state = StateDatabase.open(path)
    assert state.fact("newest") is None
    for day in range(70):
        state.set_fact("newest", f"2026-03-{day:02}")
    state.close()
    again = StateDatabase.open(path)
    assert again.fact("newest") == "2026-03-69"
    assert again._connection.execute("PRAGMA synchronous").fetchall() == [(2,)]
    again._connection.execute("PRAGMA user_version = 9").fetchall()
    again.close()
    with pytest.raises(StoreError, match="schema version 9"):
        StateDatabase.open(path)


def test_tables_change_only_together_with_their_version() -> None:
    """Under its former number a mirror would open an index that lacks what it asks for."""
    known = {8: "3038e962bdb1317a"}
    assert known.get(INDEX_VERSION) == sha256(TABLES.encode()).hex()[:16]

"""`mirror.store.state_reader`: it reads beside, after and without a writer, and never writes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from mirror.errors import StoreError
from mirror.store.state import STATE_NAME, StateDatabase
from mirror.store.state_reader import StateReader

FACTS = "SELECT name, value FROM fact ORDER BY name"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / STATE_NAME)


@pytest.fixture
def writer(path: str) -> Iterator[StateDatabase]:
    opened = StateDatabase.open(path)
    yield opened
    opened.close()


def test_it_sees_each_commit_of_a_living_writer(path: str, writer: StateDatabase) -> None:
    with StateReader.open(path) as reader:
        for value in ("1", "2"):
            writer.set_fact("a", value)
            assert reader.rows(FACTS) == [("a", value)]


@contextlib.contextmanager
def _somebody_else(*paths: Path) -> Iterator[None]:
    """Be a user who may not read `paths`: another one where this is root's process."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)
        return
    for path in paths:
        path.chmod(0)
    try:
        yield
    finally:
        for path in paths:
            path.chmod(0o700)


@pytest.mark.parametrize("denied", ["directory", "file"])
def test_who_may_not_read_it_is_told_so_and_not_that_there_is_none(denied: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, file = Path(name), Path(name) / STATE_NAME
        StateDatabase.open(str(file)).close()
        file.chmod(0o600)
        folder.chmod(0o700 if denied == "directory" else 0o755)
        with (
            _somebody_else(folder if denied == "directory" else file),
            pytest.raises(StoreError, match="state ") as caught,
        ):
            StateReader.open(str(file))
    assert "there is none" not in caught.value.message
    assert "user that the mirror runs as" in caught.value.hint


def test_queries_of_one_snapshot_see_one_moment(path: str, writer: StateDatabase) -> None:
    def commit(*_values: object) -> None:
        writer.set_fact("a", "2")

    writer.set_fact("a", "1")
    with StateReader.open(path) as reader:
        reader._connection.create_scalar_function("meanwhile", commit)
        snapshot = reader.snapshot([(FACTS, ()), ("SELECT meanwhile()", ()), (FACTS, ())])
        assert snapshot[0] == snapshot[2] == [("a", "1")]
        assert reader.rows(FACTS) == [("a", "2")]


def test_it_reads_what_a_killed_writer_left(path: str) -> None:
    code = (
        "import os, signal, sys\n"
        "from mirror.store.state import StateDatabase\n"
        "StateDatabase.open(sys.argv[1]).set_fact('a', '1')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], check=False)
    assert done.returncode == -signal.SIGKILL
    with StateReader.open(path) as reader:
        assert reader.rows(FACTS) == [("a", "1")]
    again = StateDatabase.open(path)
    assert again.fact("a") == "1"
    again.close()


def test_it_reads_while_no_writer_runs(path: str) -> None:
    made = StateDatabase.open(path)
    made.set_fact("a", "1")
    made.close()
    for _ in range(2):
        with StateReader.open(path) as reader:
            assert reader.rows(FACTS) == [("a", "1")]


def test_it_cannot_write(path: str, writer: StateDatabase) -> None:
    with StateReader.open(path) as reader, pytest.raises(StoreError, match="readonly"):
        reader.rows("INSERT INTO fact VALUES ('a', '1')")
    assert writer.fact("a") is None


def test_its_closing_leaves_the_log_to_the_writer(path: str, writer: StateDatabase) -> None:
    writer.set_fact("a", "1")
    size = os.path.getsize(f"{path}-wal")
    StateReader.open(path).close()
    assert os.path.getsize(f"{path}-wal") == size > 0


def test_an_absent_database_is_told_and_not_made(path: str) -> None:
    with pytest.raises(StoreError, match="start the mirror once") as caught:
        StateReader.open(path)
    assert caught.value.source == path
    assert not os.path.exists(path)


@pytest.mark.parametrize(
    ("version", "hint"),
    [
        pytest.param(2, "start the mirror with this version first", id="earlier"),
        pytest.param(99, "use the version that made it", id="later"),
    ],
)
def test_a_database_of_another_version_is_told_and_left_alone(
    path: str, version: int, hint: str
) -> None:
    StateDatabase.open(path).close()
    connection = apsw.Connection(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with pytest.raises(StoreError, match=hint):
        StateReader.open(path)
    connection = apsw.Connection(path)
    assert connection.execute("PRAGMA user_version").fetchall() == [(version,)]
    connection.close()


def test_a_damaged_database_is_an_error_with_a_hint(path: str) -> None:
    Path(path).write_bytes(b"x" * 4096)
    with pytest.raises(StoreError, match="restore it from a backup"):
        StateReader.open(path)

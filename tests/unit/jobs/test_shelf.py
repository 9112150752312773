"""A store that belongs to somebody else is told as that, never as damage."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.errors import StoreError
from mirror.jobs.shelf import open_shelf
from mirror.store.index import Index
from mirror.store.layout import Layout, index_path

NOBODY = 65534
REFUSED, OPENED, OTHER = 7, 0, 9


@pytest.fixture
def store_path() -> Iterator[Path]:
    """A store in a place that every user may enter, as the fixtures' own place is not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        path = Path(name) / "store"
        path.mkdir(mode=0o755)
        Path(Layout(root=str(path)).blobs).mkdir(mode=0o755)
        Index.create(index_path(str(path))).close()
        yield path


def opened_by_another_user(store_path: Path, source: Path) -> int:
    """Open the store in a process of another user, who is refused for `source` or not."""
    child = os.fork()
    if child == 0:
        code = OTHER
        try:
            if os.geteuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            with open_shelf(str(store_path)):
                code = OPENED
        except StoreError as exc:
            is_told = "may not be read by this user" in exc.message and "mirror's user" in exc.hint
            code = REFUSED if is_told and str(source) in exc.message else OTHER
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("name", ["", "index.db", "blobs"])
def test_store_of_another_user_is_refused_with_who_may(store_path: Path, name: str) -> None:
    closed = store_path / name
    assert opened_by_another_user(store_path, closed) == OPENED
    mode = closed.stat().st_mode
    closed.chmod(0)
    try:
        assert opened_by_another_user(store_path, closed) == REFUSED
    finally:
        closed.chmod(mode)


def test_damaged_index_tells_how_it_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "index.db").write_bytes(b"no database " * 1000)
    with pytest.raises(StoreError) as caught, open_shelf(str(tmp_path)):
        pass
    assert "damaged database" in caught.value.message
    assert "start the mirror once" in caught.value.hint

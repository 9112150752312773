"""What the next keeper says at once, because the one before it may have died before it could."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mirror.store import points
from mirror.store.points import Point
from tests.faults.files import DeadProcessError, FaultFiles
from tests.unit.store.bench import Bench, end_process, put


@pytest.fixture
def at_point(monkeypatch: pytest.MonkeyPatch) -> Callable[[Point], None]:
    """Let the process die when the point is passed."""

    def arm(point: Point) -> None:
        def on_passed(passed: Point) -> None:
            if passed is point:
                raise DeadProcessError

        monkeypatch.setattr(points, "on_passed", on_passed)

    return arm


def test_withdrawal_whose_epoch_was_never_moved_is_told_by_the_next_keeper(
    tmp_path: Path, at_point: Callable[[Point], None]
) -> None:
    bench = Bench(str(tmp_path))
    files = FaultFiles()
    store = bench.open(files)
    put(store, "crate", b"content")
    workers_know = bench.page.epoch
    at_point(Point.PURGE_COMMITTED)
    with pytest.raises(DeadProcessError):
        store.withdraw(["crate"])
    assert bench.page.epoch == workers_know  # they go on serving what they hold
    end_process(store, files)
    bench.open().close()
    assert bench.page.epoch > workers_know


def test_condemned_file_that_was_not_moved_away_is_removed_by_the_next_keeper(
    tmp_path: Path, at_point: Callable[[Point], None]
) -> None:
    bench = Bench(str(tmp_path))
    files = FaultFiles()
    store = bench.open(files)
    stored = put(store, "crate", b"content")
    path = Path(bench.blob(b"content"))
    path.write_bytes(b"damaged")
    at_point(Point.QUARANTINE_DROPPED)
    with pytest.raises(DeadProcessError):
        store.attest(stored)
    end_process(store, files)
    assert path.exists()
    bench.open().close()
    assert not path.exists()

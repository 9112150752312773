"""`mirror.accounting.counters`: nothing counted is lost, whatever ends the process."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from mirror.accounting.counters import (
    CELLS,
    CLASSES,
    FETCHED_AT,
    FILE_BYTES,
    FILES_PER_SLOT,
    KEEPER_SLOT,
    LAYOUT_VERSION,
    OUTCOMES,
    Counters,
    Outcome,
    fetched_row,
    served_row,
)
from mirror.accounting.totals import Fetched, Served, Totals, read_totals
from mirror.accounting.traffic import UpstreamTraffic, class_of
from mirror.errors import StoreError
from mirror.route.route import ContentClass


def test_the_layout_is_version_1() -> None:
    """A change of these numbers changes the meaning of files on disk: count the version up."""
    assert (LAYOUT_VERSION, CELLS, FETCHED_AT, FILE_BYTES) == (1, 132, 120, 1088)
    assert [each.value for each in CLASSES] == ["release", "rustup", "crate", "index"]
    assert [each.value for each in OUTCOMES] == [
        "hit",
        "miss",
        "stale",
        "revalidated",
        "collapsed",
        "negative",
        "refused",
        "failed",
    ]
    assert served_row(ContentClass.RELEASE, Outcome.HIT) == 0
    assert served_row(ContentClass.INDEX, Outcome.FAILED) == 93
    assert served_row(None, Outcome.FAILED) == 117
    assert fetched_row(ContentClass.INDEX) == 129


def test_every_row_is_its_own() -> None:
    rows = [served_row(each, outcome) for each in (*CLASSES, None) for outcome in OUTCOMES]
    rows += [fetched_row(each) for each in CLASSES]
    assert sorted(rows) == list(range(0, CELLS, 3))


def test_rows_and_add_count_the_same(tmp_path: Path) -> None:
    counters = Counters.open(str(tmp_path), 0)
    row = counters.row(ContentClass.CRATE, Outcome.HIT)
    counters.view[row] += 1
    counters.view[row + 1] += 100
    counters.add(ContentClass.CRATE, Outcome.HIT, 2, 50, 7)
    counters.add(None, Outcome.REFUSED)
    totals = read_totals(str(tmp_path))
    counters.close()
    assert totals.served(ContentClass.CRATE, Outcome.HIT) == Served(
        requests=3, content_bytes=150, head_bytes=7
    )
    assert totals.served(None).requests == 1
    assert totals.served(ContentClass.INDEX).requests == 0
    assert repr(totals) == "<Totals 4 requests>"


def test_counts_go_on_where_they_ended(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        counters = Counters.open(str(tmp_path), 5)
        counters.add(ContentClass.INDEX, Outcome.MISS)
        counters.close()
        counters.close()
        assert repr(counters).endswith("counters.5 closed>")
        assert read_totals(str(tmp_path)).served(ContentClass.INDEX).requests == expected
    assert os.listdir(tmp_path) == ["counters.5"]
    assert (tmp_path / "counters.5").stat().st_mode & 0o777 == 0o600


def test_counts_survive_sigkill(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from mirror.accounting.counters import Counters, ContentClass, Outcome\n"
        "counters = Counters.open(sys.argv[1], 1)\n"
        "counters.add(ContentClass.RUSTUP, Outcome.HIT, 9, 1 << 40)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    served = read_totals(str(tmp_path)).served(ContentClass.RUSTUP)
    assert (served.requests, served.content_bytes) == (9, 1 << 40)


def test_a_draining_worker_and_its_successor_count_into_two_files(tmp_path: Path) -> None:
    former = Counters.open(str(tmp_path), 3)
    successor = Counters.open(str(tmp_path), 3)
    assert [former.path, successor.path] == [f"{tmp_path}/counters.3", f"{tmp_path}/counters.3.1"]
    for counters in (former, successor):
        counters.add(ContentClass.CRATE, Outcome.HIT, 1, 10)
    former.close()
    third = Counters.open(str(tmp_path), 3)
    assert third.path == former.path
    successor.close()
    third.close()
    assert read_totals(str(tmp_path)).served(ContentClass.CRATE).requests == 2


def test_a_slot_has_a_bounded_number_of_files(tmp_path: Path) -> None:
    opened = [Counters.open(str(tmp_path), 0) for _ in range(FILES_PER_SLOT)]
    with pytest.raises(StoreError, match="slot 0"):
        Counters.open(str(tmp_path), 0)
    for counters in opened:
        counters.close()


def test_a_file_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    Counters.open(str(tmp_path), 0).close()
    path = tmp_path / "counters.0"
    content = bytearray(path.read_bytes())
    struct.pack_into("=Q", content, 8, 2)
    path.write_bytes(content)
    for attempt in (
        lambda: Counters.open(str(tmp_path), 0),
        lambda: read_totals(str(tmp_path)),
    ):
        with pytest.raises(StoreError, match="layout version 2, this program writes 1") as caught:
            attempt()
        assert caught.value.source == str(path)
        assert not caught.value.retryable


@pytest.mark.parametrize("content", [b"x", bytes(FILE_BYTES), b"RMCOUNTS", b"y" * 5000])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "counters.0").write_bytes(content)
    with pytest.raises(StoreError, match="is not a counters file"):
        Counters.open(str(tmp_path), 0)
    with pytest.raises(StoreError, match="is not a counters file"):
        read_totals(str(tmp_path))


def test_what_cannot_be_opened_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        Counters.open(str(tmp_path / "absent"), 0)
    (tmp_path / "counters.0").mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        Counters.open(str(tmp_path), 0)
    with pytest.raises(StoreError, match="Is a directory"):
        read_totals(str(tmp_path))


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "counters.0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        Counters.open(str(tmp_path), 0)
    assert not (tmp_path / "elsewhere").exists()


def test_without_files_everything_is_zero(tmp_path: Path) -> None:
    assert read_totals(str(tmp_path)) == Totals(cells=(0,) * CELLS)
    assert read_totals(str(tmp_path / "absent")).saved_bytes_total() == 0
    (tmp_path / "counters.7").touch()  # made this moment, without its head
    (tmp_path / "counters.8").symlink_to(tmp_path / "gone")
    assert read_totals(str(tmp_path)).saved_bytes_total() == 0


def test_saved_is_sent_minus_received_over_all_processes(tmp_path: Path) -> None:
    workers = [Counters.open(str(tmp_path), slot) for slot in (0, 1)]
    keeper = Counters.open(str(tmp_path), KEEPER_SLOT)
    assert keeper.path.endswith("counters.keeper")
    for worker in workers:
        worker.add(ContentClass.CRATE, Outcome.HIT, 1, 1000)
        worker.add(ContentClass.CRATE, Outcome.MISS, 1, 500)
    traffic = UpstreamTraffic(keeper)
    line = traffic.line("crates", "/crates/a/a-1.0.0.crate")
    line.request()
    line.received(300)
    line.received(200)
    line.not_modified()
    traffic.line("releases", "/rustup/release-stable.toml").received(40)
    totals = read_totals(str(tmp_path))
    for counters in (*workers, keeper):
        counters.close()
    assert totals.served(ContentClass.CRATE).content_bytes == 3000
    assert totals.fetched(ContentClass.CRATE) == Fetched(
        requests=1, content_bytes=500, not_modified=1
    )
    assert totals.saved_bytes(ContentClass.CRATE) == 2500
    assert totals.saved_bytes(ContentClass.RUSTUP) == -40
    assert totals.saved_bytes_total() == 2460


@pytest.mark.parametrize(
    ("pool", "path", "expected"),
    [
        ("releases", "/dist/channel-rust-stable.toml", ContentClass.RELEASE),
        ("releases", "/manifests.txt", ContentClass.RELEASE),
        ("releases", "/rustup/release-stable.toml", ContentClass.RUSTUP),
        ("crates", "/crates/rustup/rustup-1.0.0.crate", ContentClass.CRATE),
        ("index", "/ru/st/rustup", ContentClass.INDEX),
        ("index", "/rustup/x", ContentClass.INDEX),
        ("another", "/x", ContentClass.RELEASE),
    ],
)
def test_traffic_belongs_to_a_class(pool: str, path: str, expected: ContentClass) -> None:
    assert class_of(pool, path) is expected

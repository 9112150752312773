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
    FILES_PER_SLOT,
    KEEPER_SLOT,
    MAGIC,
    VERSION,
    Counters,
    counter_paths,
    read_counters,
)
from mirror.accounting.layout import Outcome, layout_of, layout_of_version_1
from mirror.accounting.totals import Fetched, Served, read_totals
from mirror.accounting.traffic import UpstreamTraffic
from mirror.clock import SystemClock
from mirror.errors import StoreError
from mirror.route.route import ContentClass
from tests.counting import count

LAYOUT = layout_of()


def test_a_row_is_requests_content_and_heads(tmp_path: Path) -> None:
    counters = Counters.open(str(tmp_path), 0, LAYOUT)
    row = counters.row(ContentClass.CRATE, Outcome.HIT)
    counters.view[row] += 1
    counters.view[row + 1] += 100
    count(counters, ContentClass.CRATE, Outcome.HIT, requests=2, content_bytes=50, head_bytes=7)
    count(counters, None, Outcome.REFUSED)
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
        counters = Counters.open(str(tmp_path), 5, LAYOUT)
        count(counters, ContentClass.INDEX, Outcome.MISS)
        counters.close()
        counters.close()
        assert repr(counters).endswith("counters.5 closed>")
        assert read_totals(str(tmp_path)).served(ContentClass.INDEX).requests == expected
    assert os.listdir(tmp_path) == ["counters.5"]
    assert (tmp_path / "counters.5").stat().st_mode & 0o777 == 0o600


def test_counts_survive_sigkill(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from mirror.accounting.counters import Counters\n"
        "from mirror.accounting.layout import Outcome, layout_of\n"
        "from mirror.route.route import ContentClass\n"
        "counters = Counters.open(sys.argv[1], 1, layout_of())\n"
        "row = counters.row(ContentClass.RUSTUP, Outcome.HIT)\n"
        "counters.view[row], counters.view[row + 1] = 9, 1 << 40\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    served = read_totals(str(tmp_path)).served(ContentClass.RUSTUP)
    assert (served.requests, served.content_bytes) == (9, 1 << 40)


def test_a_draining_worker_and_its_successor_count_into_two_files(tmp_path: Path) -> None:
    former = Counters.open(str(tmp_path), 3, LAYOUT)
    successor = Counters.open(str(tmp_path), 3, LAYOUT)
    assert [former.path, successor.path] == [f"{tmp_path}/counters.3", f"{tmp_path}/counters.3.1"]
    for counters in (former, successor):
        count(counters, ContentClass.CRATE, Outcome.HIT, content_bytes=10)
    former.close()
    third = Counters.open(str(tmp_path), 3, LAYOUT)
    assert third.path == former.path
    successor.close()
    third.close()
    assert read_totals(str(tmp_path)).served(ContentClass.CRATE).requests == 2


def test_a_slot_has_a_bounded_number_of_files(tmp_path: Path) -> None:
    opened = [Counters.open(str(tmp_path), 0, LAYOUT) for _ in range(FILES_PER_SLOT)]
    with pytest.raises(StoreError, match="slot 0"):
        Counters.open(str(tmp_path), 0, LAYOUT)
    for counters in opened:
        counters.close()


def test_a_file_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    Counters.open(str(tmp_path), 0, LAYOUT).close()
    path = tmp_path / "counters.0"
    content = bytearray(path.read_bytes())
    struct.pack_into("=Q", content, 8, VERSION + 1)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="layout version 3, this program writes 2") as caught:
        read_totals(str(tmp_path))
    assert caught.value.source == str(path)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    "content",
    [
        b"x",
        bytes(1088),
        MAGIC,
        b"y" * 5000,
        struct.pack("=8sQqQ16sQ", MAGIC, VERSION, 0, 1, bytes(16), 1 << 40),
        struct.pack("=8sQqQ16sQ", MAGIC, VERSION, 0, 1, bytes(16), 64) + b'["a"]   ' + bytes(8),
        struct.pack("=8sQqQ16sQ", MAGIC, VERSION, 0, 2, bytes(16), 64) + b"[]      " + bytes(8),
        struct.pack("=8sQqQ16sQ", MAGIC, VERSION, 0, 0, bytes(16), 64) + b"[]      " + bytes(8),
    ],
)
def test_a_file_of_something_else_is_told_and_keeps_nobody_from_counting(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "counters.0").write_bytes(content)
    with pytest.raises(StoreError, match="is not a counters file"):
        read_totals(str(tmp_path))
    counters = Counters.open(str(tmp_path), 0, LAYOUT)
    counters.close()
    assert counters.path == f"{tmp_path}/counters.0.1"
    assert (tmp_path / "counters.0").read_bytes() == content


def test_what_cannot_be_opened_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        Counters.open(str(tmp_path / "absent"), 0, LAYOUT)
    (tmp_path / "counters.0").mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        Counters.open(str(tmp_path), 0, LAYOUT)
    with pytest.raises(StoreError, match="Is a directory"):
        read_totals(str(tmp_path))


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "counters.0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        Counters.open(str(tmp_path), 0, LAYOUT)
    assert not (tmp_path / "elsewhere").exists()


def test_without_files_everything_is_zero(tmp_path: Path) -> None:
    assert read_totals(str(tmp_path)).named == {}
    assert read_totals(str(tmp_path / "absent")).saved_bytes_total() == 0
    (tmp_path / "counters.7").touch()  # made this moment, without its head
    (tmp_path / "counters.8").symlink_to(tmp_path / "gone")
    assert read_totals(str(tmp_path)).saved_bytes_total() == 0


def test_saved_is_sent_minus_received_over_all_processes(tmp_path: Path) -> None:
    workers = [Counters.open(str(tmp_path), slot, LAYOUT) for slot in (0, 1)]
    keeper = Counters.open(str(tmp_path), KEEPER_SLOT, LAYOUT)
    assert keeper.path.endswith("counters.keeper")
    for worker in workers:
        count(worker, ContentClass.CRATE, Outcome.HIT, content_bytes=1000)
        count(worker, ContentClass.CRATE, Outcome.MISS, content_bytes=500)
    traffic = UpstreamTraffic(keeper, SystemClock())
    path = "/crates/a/a-1.0.0.crate"
    exchange = traffic.exchange("crates", "https://u", path, method="GET", attempt=1)
    exchange.answered(304, 100)
    exchange.received(300)
    exchange.received(200)
    path = "/rustup/release-stable.toml"
    traffic.exchange("releases", "https://u", path, method="GET", attempt=1).received(40)
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


def test_another_layout_gets_a_file_of_its_own_and_both_count(tmp_path: Path) -> None:
    grouped = layout_of(("ci",))
    for layout in (LAYOUT, grouped, LAYOUT, grouped):
        counters = Counters.open(str(tmp_path), 0, layout)
        assert counters.layout == layout
        count(counters, ContentClass.CRATE, Outcome.HIT)
        counters.close()
    assert [Path(path).name for path in counter_paths(str(tmp_path))] == [
        "counters.0",
        "counters.0.1",
    ]
    assert read_totals(str(tmp_path)).served(ContentClass.CRATE).requests == 4


def test_a_file_of_version_1_is_read_and_left_alone(tmp_path: Path) -> None:
    layout = layout_of_version_1()
    cells = [0] * layout.cells
    row = layout.row("served", "other", "rustup", "miss")
    cells[row : row + 3] = 1, 20, 300
    path = tmp_path / "counters.0"
    path.write_bytes(struct.pack(f"=8sQqQ{layout.cells}Q", MAGIC, 1, 0, layout.cells, *cells))
    counters = Counters.open(str(tmp_path), 0, LAYOUT)
    count(counters, ContentClass.RUSTUP, Outcome.MISS)
    counters.close()
    assert counters.path == f"{path}.1"
    served = read_totals(str(tmp_path)).served(ContentClass.RUSTUP, Outcome.MISS)
    assert served == Served(requests=2, content_bytes=20, head_bytes=300)


def test_a_file_made_again_has_another_id(tmp_path: Path) -> None:
    identities = set()
    for _ in range(2):
        Counters.open(str(tmp_path), 0, LAYOUT).close()
        file = read_counters(f"{tmp_path}/counters.0")
        assert file is not None
        identities.add(file.id)
        os.unlink(file.path)
    assert len(identities) == 2


def test_a_file_that_was_removed_while_it_was_opened_is_not_counted_into(tmp_path: Path) -> None:
    counters = Counters.open(str(tmp_path), 0, LAYOUT)
    os.unlink(counters.path)
    successor = Counters.open(str(tmp_path), 0, LAYOUT)
    assert successor.path == counters.path
    counters.close()
    successor.close()

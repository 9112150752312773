"""What the benchmarks of scale, misses and memory judge by, without running one.

Runs in: pytest.
"""

from __future__ import annotations

import hashlib
import math
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.miss.cold_fill import Fill, summary
from benchmarks.miss.followers import Follower, WrongBodyError
from benchmarks.miss.machine_speed import MachineSpeed, machine_speed
from benchmarks.scale.__main__ import is_met
from benchmarks.scale.crowd import parse_report
from benchmarks.scale.growth_of import exponent, growth
from benchmarks.scale.index_rows import WITH_FILES, key_of_row, make_index
from mirror.route.match import route_of_key
from mirror.store.reader import BlobFile, StoreReader

_BODY = b"0123456789" * 100
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


@given(
    st.floats(-1.0, 3.0),
    st.floats(0.001, 1e6),
    st.sets(st.integers(1, 10**6), min_size=2, max_size=8),
)
def test_the_exponent_of_a_power_is_found(power: float, scale: float, counts: set[int]) -> None:
    points = [(float(count), scale * count**power) for count in counts]
    assert math.isclose(exponent(points), power, rel_tol=1e-6, abs_tol=1e-6)


@pytest.mark.parametrize(
    ("points", "match"),
    [
        pytest.param([(1.0, 1.0)], "two counts", id="one-point"),
        pytest.param([(5.0, 1.0), (5.0, 2.0)], "two counts", id="one-count"),
        pytest.param([(1.0, 1.0), (2.0, 0.0)], "positive", id="no-cost"),
    ],
)
def test_what_has_no_exponent_is_refused(points: list[tuple[float, float]], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        exponent(points)


def test_a_quadratic_cost_is_not_linear() -> None:
    points = [(float(n), float(n * n)) for n in (10, 100, 1000)]
    assert growth(points, 1.1) == {"exponent": 2.0, "limit": 1.1, "is_met": False}


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        pytest.param({}, True, id="all-is-met"),
        pytest.param({"is_lookup_met": False}, False, id="a-slow-look-up"),
        pytest.param({"rows": [{"errors": 0}, {"errors": 2}]}, False, id="failed-requests"),
        pytest.param({"growth": {"x": {"is_met": False}}}, False, id="a-cost-that-grows"),
    ],
)
def test_scale_is_judged_by_growth_look_ups_and_errors(
    figures: dict[str, object], expected: bool
) -> None:
    whole = {"rows": [{"objects": 1}], "growth": {"x": {"is_met": True}}}
    assert is_met({**whole, **figures}) is expected


def _follower() -> Follower:
    return Follower(socket.socket(), _BODY)


@pytest.mark.parametrize("cut", [1, 10, len(_HEAD), len(_HEAD) + 1, len(_HEAD) + 999])
def test_a_body_is_whole_when_its_last_byte_came(cut: int) -> None:
    answer, follower = _HEAD + _BODY, _follower()
    with follower.socket:
        assert not follower.take(memoryview(answer)[:cut])
        assert follower.take(memoryview(answer)[cut:])


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(_HEAD + b"0123456788", id="one-byte-differs"),
        pytest.param(_HEAD + _BODY + b"0", id="too-long"),
        pytest.param(_HEAD.replace(b"200 OK", b"503 Not"), id="a-status"),
        pytest.param(_HEAD.replace(b"1000", b"1001"), id="a-length"),
        pytest.param(b"x" * 70_000, id="no-head"),
    ],
)
def test_a_wrong_answer_ends_the_benchmark(answer: bytes) -> None:
    follower = _follower()
    with follower.socket, pytest.raises(WrongBodyError):
        follower.take(memoryview(answer))


def test_the_machines_speed_is_measured_and_nothing_is_left(tmp_path: Path) -> None:
    speed = machine_speed(tmp_path, bytes(3 << 20))
    assert speed.least_bytes_per_s > 0
    assert list(tmp_path.iterdir()) == []


def _fill(took_s: float) -> Fill:
    machine = MachineSpeed(disk_bytes_per_s=200e6, sha256_bytes_per_s=1500e6)
    return Fill(
        content_bytes=100_000_000,
        delivered_s=took_s / 2,
        published_s=took_s,
        cpu_s={"keeper": 0.3},
        machine=machine,
    )


def test_a_fill_is_judged_by_the_slower_of_disk_and_hash() -> None:
    found = summary([_fill(0.5), _fill(1.0), _fill(0.625)])
    assert (found["mb_per_s"], found["ratio"], found["is_met"]) == (160.0, 0.8, True)
    assert found["spread_ratio"] == 0.625


def test_a_report_of_wrk_is_read_with_its_errors() -> None:
    report = "  1000 requests in 2.00s, 2MB read\n  Socket errors: connect 1, read 2, write 3, "
    assert parse_report(report + "timeout 0\nRequests/sec:  500.5\n") == (1000, 500.5, 6)
    with pytest.raises(RuntimeError, match="not a report"):
        parse_report("unable to connect")
    with pytest.raises(RuntimeError, match="not every answer"):
        parse_report(report + "\nRequests/sec: 5\nNon-2xx or 3xx responses: 7")


def test_rows_without_files_have_names_of_crates() -> None:
    numbers = [WITH_FILES, 123_456, 999_999]
    assert len({key_of_row(number) for number in range(2000)}) == 2000
    for number in numbers:
        assert route_of_key(key_of_row(number)) is not None


def test_an_index_of_many_rows_is_read_by_a_workers_reader(tmp_path: Path) -> None:
    make_index(tmp_path / "mirror", WITH_FILES + 300)
    reader = StoreReader(str(tmp_path / "mirror" / "store"))
    try:
        found = reader.lookup(key_of_row(WITH_FILES + 7))
        assert found is not None
        assert found.entry.digest == hashlib.sha256(b"row %d" % (WITH_FILES + 7)).digest()
        with_file = reader.lookup("index:/be/nc/bench70")
        assert with_file is not None
        opened = reader.open_blob(with_file)
        assert isinstance(opened, BlobFile)
    finally:
        reader.close()
    os.close(opened.fd)

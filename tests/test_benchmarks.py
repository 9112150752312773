"""What the benchmarks read and judge, without running one.

Runs in: pytest.
"""

from __future__ import annotations

import socket

import pytest

from benchmarks.followers import Client
from benchmarks.load import Round, median_round, parse_round

_REPORT = """Running 2s test @ http://127.0.0.1:1/index/a
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   238.17ms  425.20ms   1.88s    82.98%
  Latency Distribution
     50%  414.00us
     75%  341.34ms
     99%    1.69s{space}
  100000 requests in 2.00s, 219.38MB read
Requests/sec:  52907.83
"""


@pytest.mark.parametrize("space", ["", " "])
def test_a_report_of_wrk_is_read(space: str) -> None:
    found = parse_round(_REPORT.format(space=space), used_s=1.5)
    assert found == Round(
        requests_per_s=52907.83,
        cpu_us_per_request=15.0,
        p50_us=414.0,
        p99_us=1_690_000.0,
    )


def test_what_is_no_report_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not a report"):
        parse_round("unable to connect", used_s=0.0)


def test_medians_are_taken_of_each_figure() -> None:
    rounds = [
        Round(requests_per_s=rate, cpu_us_per_request=cpu, p50_us=1.0, p99_us=2.0)
        for rate, cpu in ((1.0, 30.0), (3.0, 10.0), (2.0, 20.0))
    ]
    found = median_round(rounds)
    assert (found.requests_per_s, found.cpu_us_per_request) == (2.0, 20.0)


def _take(*pieces: bytes) -> tuple[Client, list[bool]]:
    with socket.socket() as unused:
        client = Client(unused)
        return client, [client.take(memoryview(piece), 5.0) for piece in pieces]


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(
            (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", b"cd"), id="with-the-head"
        ),
        pytest.param((b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r", b"\nabcd"), id="split-head"),
    ],
)
def test_a_body_is_complete_at_its_last_byte(pieces: tuple[bytes, ...]) -> None:
    client, done = _take(*pieces)
    assert done == [False, True]
    assert (client.received_bytes, client.first_byte_at) == (4, 5.0)


def test_another_status_ends_the_benchmark() -> None:
    with pytest.raises(RuntimeError, match="503"):
        _take(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")

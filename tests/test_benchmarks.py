"""What the benchmarks read and judge, without running one.

Runs in: pytest.
"""

from __future__ import annotations

import socket

import pytest

from benchmarks.followers import Client
from benchmarks.results import arguments


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


def test_a_result_does_not_name_folders_of_the_machine() -> None:
    given = ["--folder", "/a/b", "--into=/c d/e", "--root", "~/x", "--only", "h1, 2 KB", "1/2"]
    assert arguments(given) == [
        "--folder", "PATH", "--into=PATH", "--root", "PATH", "--only", "h1, 2 KB", "1/2",
    ]  # fmt: skip

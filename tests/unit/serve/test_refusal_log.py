"""Refused heads are told of, with the client that sent them, and a flood stays short."""

from __future__ import annotations

from pathlib import Path

from mirror.serve.refusal_log import EVENTS_PER_SECOND
from tests.unit.serve.fakes import Bench, config_with, running_worker

BAD_HEAD = b"GET /dist/../x HTTP/1.1\r\nHost: m\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"


def refused(bench: Bench) -> list[dict[str, object]]:
    return [fields for name, fields in bench.log.events if name == "request-refused"]


async def test_refusal_names_the_client_that_a_trusted_proxy_names(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(trusted_proxies=("127.0.0.0/8",))) as bench:
        await bench.exchange(BAD_HEAD)
        [event] = refused(bench)
        assert (event["client"], event["status"]) == ("192.0.2.7", 400)
        assert event["request_line"] == "GET /dist/../x"


async def test_refusal_names_the_socket_when_nobody_is_trusted(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        await bench.exchange(BAD_HEAD)
        assert refused(bench)[0]["client"] == "127.0.0.1"


async def test_control_characters_of_a_refused_line_are_escaped(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        await bench.exchange(b"GET /\x1b[2J\x00 HTTP/1.1\r\nHost: m\r\n\r\n")
        assert refused(bench)[0]["request_line"] == "GET /\\x1b[2J\\x00 HTTP/1.1"


async def test_flood_is_counted_not_told(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        for _ in range(EVENTS_PER_SECOND + 3):
            await bench.exchange(BAD_HEAD)
        assert len(refused(bench)) == EVENTS_PER_SECOND
        bench.clock.advance(1)
        bench.worker.tick()
        await bench.exchange(BAD_HEAD)
        assert refused(bench)[-1]["unlogged"] == 3

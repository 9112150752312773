"""Recalled requests wait for their client, and take turns with other connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mirror.http.h2_events import Event
from mirror.http.h2_session import Session
from mirror.serve.h2_connection import TURN_REQUESTS, H2Connection
from mirror.serve.h2_streams import ROUND_BYTES
from tests.http2_client import Peer, Setting
from tests.unit.serve.fakes import (
    INDEX_TARGET,
    Bench,
    running_worker,
)
from tests.unit.serve.h2_client import Client, connected, until
from tests.unit.serve.h2_recalling import (
    OTHER_TARGET,
    SEVERAL_FRAMES,
    Asked,
    Observed,
    ask_all,
    keep,
    wide,
)


async def test_client_that_does_not_read_makes_recalled_requests_wait(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench)
        async with wide(bench) as warm:
            for _ in range(3):
                await ask_all(warm, [Asked(OTHER_TARGET)])
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 1 << 20})
        async with connected(bench, peer) as client:
            peer.h2.increment_flow_control_window(1 << 30)
            await client.get("/livez")
            await ask_all(client, [Asked(OTHER_TARGET)])
            observed = Observed(bench)
            for _ in range(4):
                for _ in range(90):
                    peer.ask(OTHER_TARGET, Asked().fields)
                client.send()
                await until(lambda: "paused" in repr(bench.worker.connections))
                await client.until(lambda: peer.are_over)
            contents = {bytes(each.content) for each in peer.responses.values() if each.content}
            assert SEVERAL_FRAMES in contents
            assert observed.read == 0


class Turns:
    """What each turn of an HTTP/2 connection read, and how much it answered from memory."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[int] = []
        self.content_bytes: list[int] = []
        take, answered, observed = H2Connection._take, Session.answered, Observed(bench)

        def take_counted(connection: H2Connection, events: list[Event]) -> None:
            before = observed.read
            take(connection, events)
            self.read.append(observed.read - before)

        def answered_counted(session: Session, ids: list[int], content_bytes: int) -> None:
            self.content_bytes.append(content_bytes)
            answered(session, ids, content_bytes)

        monkeypatch.setattr(H2Connection, "_take", take_counted)
        monkeypatch.setattr(Session, "answered", answered_counted)


async def test_known_requests_that_have_to_be_read_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed window makes streams of them all: not more in a turn than of unknown requests."""
    async with running_worker(tmp_path) as bench:
        keep(bench)
        async with wide(bench) as warm:
            for _ in range(3):
                await ask_all(warm, [Asked()])
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 0})
        async with connected(bench, peer) as client:
            for _ in range(2):  # the acknowledgement, and the reduction of the table
                await client.get("/livez", method="HEAD")
            turns = Turns(bench, monkeypatch)
            asked = [peer.ask(INDEX_TARGET, Asked().fields) for _ in range(90)]
            await client.until(lambda: all(peer.responses[each].status for each in asked))
            assert sum(turns.read) == 90
            assert max(turns.read) <= 2 * TURN_REQUESTS
            assert bench.worker.connections


async def test_turn_of_known_requests_is_bounded_by_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench)
        async with wide(bench) as client:
            for _ in range(3):
                await ask_all(client, [Asked(OTHER_TARGET)])
            monkeypatch.setattr(H2Connection, "is_waiting", False)  # a socket that takes it all
            turns = Turns(bench, monkeypatch)
            answers = await ask_all(client, [Asked(OTHER_TARGET)] * 90)
            assert {bytes(each.content) for each in answers} == {SEVERAL_FRAMES}
            assert sum(turns.content_bytes) == 90 * len(SEVERAL_FRAMES)
            assert max(turns.content_bytes) < ROUND_BYTES + len(SEVERAL_FRAMES)
            assert sum(turns.read) == 0


@asynccontextmanager
async def answers_waiting(bench: Bench) -> AsyncIterator[Client]:
    """A client for which more is answered than it takes."""
    keep(bench)
    async with wide(bench) as client:
        for _ in range(3):
            await ask_all(client, [Asked(OTHER_TARGET)])
        for _ in range(90):
            client.peer.ask(OTHER_TARGET, Asked().fields)
        client.send()
        await until(lambda: "paused" in repr(bench.worker.connections))
        yield client


async def test_client_that_leaves_while_answers_wait_costs_nothing_more(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        async with answers_waiting(bench) as client:
            client.writer.transport.abort()
        await until(lambda: not bench.worker.connections)


async def test_worker_that_ends_gives_what_waits(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench, answers_waiting(bench) as client:
        bench.stop.set()
        await client.until(lambda: client.peer.are_over)
        assert all(
            each.content == SEVERAL_FRAMES
            for stream_id, each in client.peer.responses.items()
            if stream_id > 1
        )

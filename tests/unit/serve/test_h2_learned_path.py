"""Requests of HTTP/2 whose bytes are known get what they would get if they were read."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirror.accounting.layout import Outcome
from mirror.config import Limits
from mirror.http.h2_events import Event
from mirror.http.h2_frames import ACK, SETTINGS, frame_head
from mirror.http.h2_huffman import encode
from mirror.http.h2_session import Session
from mirror.route.route import ContentClass
from mirror.serve.account import Account, Answering, Books
from mirror.serve.h2_connection import TURN_REQUESTS, H2Connection
from mirror.serve.h2_streams import ROUND_BYTES
from mirror.serve.hot_entry import SMALL_BYTES
from mirror.serve.request import Request
from tests.http2_client import Peer, Received, Setting
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    INDEX_KEY,
    INDEX_TARGET,
    Bench,
    config_with,
    parse_answer,
    read_all,
    running_worker,
)
from tests.unit.serve.h2_client import Client, connected, until
from tests.unit.serve.test_channel_sequences import NEXT, OLD, TARGET, publish
from tests.unit.serve.test_request_records import GROUPS, Log

SMALL = b"small content\n" * 20
OTHER_TARGET = "/index/to/ki/tokio"
OTHER_KEY = INDEX_KEY.replace("se/rd/serde", "to/ki/tokio")
SEVERAL_FRAMES = os.urandom(40_000)
LARGE = os.urandom(SMALL_BYTES + 4_000)
WIDE = {Setting.INITIAL_WINDOW_SIZE: 1 << 20}
SETTINGS_ACK = frame_head(0, SETTINGS, ACK, 0)
PATHS = [INDEX_TARGET, OTHER_TARGET, CRATE_TARGET, "/index/no/ne/nonesuch", "/", "/../etc/passwd"]
Fields = tuple[tuple[str, str], ...]


def tag_of(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()}"'


@dataclass(frozen=True)
class Asked:
    path: str = INDEX_TARGET
    method: str = "GET"
    fields: Fields = (("user-agent", "cargo/1.95"),)


def keep(bench: Bench) -> None:
    bench.reader.keep(INDEX_KEY, SMALL)
    bench.reader.keep(OTHER_KEY, SEVERAL_FRAMES)
    bench.reader.keep(CRATE_KEY, LARGE)


class Unacknowledging(Peer):
    """A client that keeps its dynamic table: none of its blocks is recalled."""

    def take(self) -> bytes:
        return super().take().replace(SETTINGS_ACK, b"")


class Observed:
    """How many requests were read; what is recalled has no account of its own."""

    def __init__(self, bench: Bench) -> None:
        self.read = 0
        observed = self

        class Counted(Account):
            __slots__ = ()

            def __init__(
                self, books: Books, stream: Answering, request: Request | None, head: bytes, at: int
            ) -> None:
                super().__init__(books, stream, request, head, at)
                observed.read += 1

        bench.worker.accounts.account_type = Counted


async def ask_all(client: Client, asked: list[Asked]) -> list[Received]:
    """Ask for all at once."""
    ids = [client.peer.ask(each.path, each.fields, method=each.method) for each in asked]
    await client.until(lambda: client.peer.are_over)
    return [client.peer.responses[stream_id] for stream_id in ids]


@asynccontextmanager
async def wide(bench: Bench, kind: type[Peer] = Peer) -> AsyncIterator[Client]:
    peer = kind(settings=WIDE)
    async with connected(bench, peer) as client:
        peer.h2.increment_flow_control_window(1 << 24)
        await client.get("/livez")  # the acknowledgement, and the reduction of the table
        yield client


def shown(response: Received) -> tuple[int, dict[str, str], bytes, bool]:
    return response.status, response.fields, bytes(response.content), response.is_complete


# What is recalled.


async def test_second_request_is_recalled_and_gets_the_same(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench)
        async with wide(bench) as client:
            first, _ = await ask_all(client, [Asked()]), await ask_all(client, [Asked()])
            observed = Observed(bench)
            for path, content in ((INDEX_TARGET, SMALL), (OTHER_TARGET, SEVERAL_FRAMES)):
                for _ in range(3):
                    [response] = await ask_all(client, [Asked(path)])
                    assert (response.status, bytes(response.content)) == (200, content)
            assert observed.read == 1
            [again] = await ask_all(client, [Asked()])
            assert shown(again) == shown(first[0])


async def test_tag_is_answered_304_from_memory_and_another_one_is_read(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench)
        async with wide(bench) as client:
            ours = Asked(fields=(("if-none-match", tag_of(SMALL)),))
            other = Asked(fields=(("if-none-match", tag_of(LARGE)),))
            for _ in range(3):
                [response] = await ask_all(client, [ours])
                assert (response.status, bytes(response.content)) == (304, b"")
            observed = Observed(bench)
            [response] = await ask_all(client, [ours])
            assert (response.status, observed.read) == (304, 0)
            [response] = await ask_all(client, [other])
            assert (response.status, bytes(response.content)) == (200, SMALL)
            assert observed.read == 1


async def test_what_was_learned_on_one_connection_serves_another(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench)
        async with wide(bench) as client:
            for _ in range(2):
                await ask_all(client, [Asked(), Asked(OTHER_TARGET)])
        async with wide(bench) as client:
            await ask_all(client, [Asked()])  # how its blocks begin
            observed = Observed(bench)
            answers = await ask_all(client, [Asked(), Asked(OTHER_TARGET)] * 8)
            assert observed.read == 0
            assert [bytes(each.content) for each in answers] == [SMALL, SEVERAL_FRAMES] * 8


async def test_counts_of_what_is_recalled_are_those_of_what_is_read(tmp_path: Path) -> None:
    counts = []
    for kind in (Peer, Unacknowledging):
        folder = tmp_path / kind.__name__
        folder.mkdir()
        async with running_worker(folder) as bench:
            keep(bench)
            async with wide(bench, kind) as client:
                for _ in range(3):
                    await ask_all(client, [Asked(), Asked(OTHER_TARGET), Asked(CRATE_TARGET)])
            row = bench.count(ContentClass.INDEX, Outcome.HIT)
            at = bench.counters.row(ContentClass.INDEX, Outcome.HIT)
            counts.append((row, list(bench.counters.view[at : at + 6])))
            assert sum(use[1] for use in bench.keeper.uses if use[0] == INDEX_KEY) == 3
    recalled, read = counts
    assert recalled[0] == read[0]
    assert recalled[0] == (6, 3 * (len(SMALL) + len(SEVERAL_FRAMES)))


# What is not.


async def test_content_beyond_a_window_waits_for_it(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench)
        async with wide(bench) as warm:
            for _ in range(2):
                await ask_all(warm, [Asked(), Asked(OTHER_TARGET)])
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 10_000})
        async with connected(bench, peer) as client:
            await client.get("/livez")
            await ask_all(client, [Asked()])
            observed = Observed(bench)
            small, large = await ask_all(client, [Asked(), Asked(OTHER_TARGET)])
            assert (bytes(small.content), bytes(large.content)) == (SMALL, SEVERAL_FRAMES)
            assert observed.read == 1
            assert max(size for _, size in peer.arrivals) <= 10_000


async def test_window_of_the_connection_is_never_exceeded(tmp_path: Path) -> None:
    """`h2` raises when it is: 65,535 bytes, and 16 responses of 40,000 at once."""
    async with running_worker(tmp_path) as bench:
        keep(bench)
        async with wide(bench) as warm:
            for _ in range(2):
                await ask_all(warm, [Asked(), Asked(OTHER_TARGET)])
        async with connected(bench, Peer(settings=WIDE)) as client:
            await client.get("/livez")
            await ask_all(client, [Asked()])
            observed = Observed(bench)
            answers = await ask_all(client, [Asked(OTHER_TARGET)] * 16)
            assert {bytes(each.content) for each in answers} == {SEVERAL_FRAMES}
            assert 0 < observed.read < 16


async def test_moved_epoch_decides_anew(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench)
        async with wide(bench) as client:
            for _ in range(3):
                await ask_all(client, [Asked()])
            bench.reader.keep(INDEX_KEY, LARGE[:100])
            bench.page.bump_epoch()
            [response] = await ask_all(client, [Asked()])
            assert response.content == LARGE[:100]


async def test_request_that_is_reset_by_the_same_bytes_is_not_answered(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench)
        async with wide(bench) as client:
            for _ in range(3):
                await ask_all(client, [Asked()])
            observed = Observed(bench)
            reset = client.peer.ask(INDEX_TARGET, Asked().fields)
            client.peer.h2.reset_stream(reset)
            kept = client.peer.ask(INDEX_TARGET, Asked().fields)
            await client.until(lambda: client.peer.responses[kept].is_over)
            assert client.peer.responses[reset].status == 0
            assert observed.read == 0


@pytest.mark.parametrize("word", ["redirect", "refuse"])
async def test_plaintext_that_is_not_to_be_served_is_not_recalled(
    word: str, tmp_path: Path
) -> None:
    async with running_worker(tmp_path, config_with(plaintext=word)) as bench:
        keep(bench)
        async with wide(bench) as client:
            observed = Observed(bench)
            for _ in range(3):
                [response] = await ask_all(client, [Asked()])
                assert response.content != SMALL
            assert observed.read == 3


async def test_more_streams_than_are_allowed_are_refused_all_the_same(tmp_path: Path) -> None:
    """The client is `h2`, which keeps to the limit itself; so none is refused, and none lost."""
    async with running_worker(tmp_path) as bench:
        keep(bench)
        async with wide(bench) as client:
            for _ in range(2):
                await ask_all(client, [Asked()])
            answers = await ask_all(client, [Asked()] * 100)
            assert {bytes(each.content) for each in answers} == {SMALL}


# Both ways, for anything.

FIELDS: st.SearchStrategy[Fields] = st.lists(
    st.sampled_from(
        [
            ("user-agent", "cargo/1.95"),
            ("accept", "*/*"),
            ("accept-encoding", "gzip"),
            ("range", "bytes=0-9"),
            ("range", "bytes=-5"),
            ("range", "bytes=0-1,4-5"),
            ("range", "bytes=99999999-"),
            ("if-none-match", tag_of(SMALL)),
            ("if-none-match", tag_of(SEVERAL_FRAMES)),
            ("if-none-match", f"W/{tag_of(SMALL)}"),
            ("if-none-match", f"{tag_of(LARGE)}, {tag_of(SMALL)}"),
            ("if-none-match", "*"),
            ("if-match", tag_of(LARGE)),
            ("if-modified-since", "Thu, 01 Jan 2099 00:00:00 GMT"),
            ("if-range", tag_of(SMALL)),
            ("cache-control", "no-cache"),
            ("cache-control", "only-if-cached"),
            ("want-repr-digest", "sha-512=1"),
            ("te", "trailers"),
            ("x-forwarded-for", "192.0.2.1"),
        ]
    ),
    max_size=3,
    unique_by=lambda field: field[0],
).map(tuple)
REQUESTS = st.builds(
    Asked,
    path=st.sampled_from(PATHS),
    method=st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "OPTIONS"]),
    fields=FIELDS,
)


async def over_http1(bench: Bench, asked: Asked) -> tuple[int, dict[str, str], bytes, bool]:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    lines = [f"{asked.method} {asked.path} HTTP/1.1", "Host: m", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in asked.fields if name != "te"]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    raw = await read_all(reader, 5.0)
    writer.close()
    answer = parse_answer(raw, is_head=asked.method == "HEAD")
    fields = {name: value for name, value in answer.fields.items() if name != "connection"}
    return answer.status, fields, answer.content, answer.is_complete


async def compare(folder: Path, asked: list[Asked]) -> None:
    async with running_worker(folder) as bench:
        keep(bench)
        async with wide(bench) as fast, wide(bench, Unacknowledging) as slow:
            for _ in range(3):  # read, learned, recalled
                ours = await ask_all(fast, asked)
            theirs = [(await ask_all(slow, [each]))[0] for each in asked]
            for each, recalled, read in zip(asked, ours, theirs, strict=True):
                assert shown(recalled) == shown(read), each
                if each.method in ("GET", "HEAD"):
                    assert shown(recalled) == await over_http1(bench, each), each


ALIKE = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@settings(ALIKE, max_examples=12)
@given(asked=st.lists(REQUESTS, min_size=1, max_size=12))
def test_what_is_recalled_and_what_is_read_are_answered_alike(
    tmp_path_factory: pytest.TempPathFactory, asked: list[Asked]
) -> None:
    asyncio.run(compare(tmp_path_factory.mktemp("alike"), asked))


@pytest.mark.full
@settings(ALIKE, max_examples=150)
@given(asked=st.lists(REQUESTS, min_size=1, max_size=20))
def test_what_is_recalled_and_what_is_read_are_answered_alike_at_length(
    tmp_path_factory: pytest.TempPathFactory, asked: list[Asked]
) -> None:
    asyncio.run(compare(tmp_path_factory.mktemp("alike"), asked))


def test_huffman_code_shortens_a_tag() -> None:
    """What `h2_rendering` compares with is one byte of length."""
    assert len(encode(tag_of(SMALL).encode())) < 127


# Who asks, and what is written down of it.


async def test_records_of_what_is_recalled_are_those_of_what_is_read(tmp_path: Path) -> None:
    written = []
    for kind in (Peer, Unacknowledging):
        folder, log = tmp_path / kind.__name__, Log()
        folder.mkdir()
        async with running_worker(folder, groups=GROUPS, request_log=log) as bench:
            keep(bench)
            async with wide(bench, kind) as client:
                for _ in range(4):
                    tag = ("if-none-match", tag_of(SMALL))
                    answers = await ask_all(client, [Asked(), Asked(OTHER_TARGET)])
                    answers += await ask_all(client, [Asked(fields=(*Asked().fields, tag))])
                    assert [each.status for each in answers] == [200, 200, 304]
            bench.worker.accounts.settle()
        written.append([replace(each, began_at=0.0, duration_s=0.0) for each in log.records])
    recalled, read = written
    assert sorted(map(repr, recalled)) == sorted(map(repr, read))
    assert [each.target for each in recalled].count(INDEX_TARGET) == 8
    assert {each.protocol for each in recalled} == {"HTTP/2"}


async def test_limits_of_a_client_hold_for_what_is_recalled(tmp_path: Path) -> None:
    """One request per second over ten seconds: ten, whatever of them was recalled."""
    config = msgspec.structs.replace(
        config_with(proxy_protocol=True, trusted_proxies=("127.0.0.0/8",)),
        limits=Limits(client_requests=1),
    )
    proxied = b"PROXY TCP4 203.0.113.1 127.0.0.1 40000 80\r\n"
    async with running_worker(tmp_path, config) as bench:
        keep(bench)
        observed = Observed(bench)
        async with connected(bench, Peer(settings=WIDE), before=proxied) as client:
            statuses = []
            for _ in range(3):
                statuses += [each.status for each in await ask_all(client, [Asked()])]
            statuses += [each.status for each in await ask_all(client, [Asked()] * 12)]
        assert (statuses.count(200), statuses.count(429)) == (10, 5)
        assert observed.read < 10


async def test_sequence_of_a_channel_holds_for_what_is_recalled(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        publish(bench, OLD)
        async with wide(bench) as client:
            for _ in range(3):
                [response] = await ask_all(client, [Asked(TARGET + ".sha256")])
            observed = Observed(bench)
            [response] = await ask_all(client, [Asked(TARGET + ".sha256")])
            assert (bytes(response.content), observed.read) == (OLD.content(".sha256"), 0)
            publish(bench, NEXT, OLD)
            # The sequence that began with the former generation goes on with it.
            [response] = await ask_all(client, [Asked(TARGET)])
            assert response.content == OLD.manifest


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


async def test_client_that_leaves_while_answers_wait_costs_nothing_more(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench)
        async with wide(bench) as client:
            for _ in range(3):
                await ask_all(client, [Asked(OTHER_TARGET)])
            for _ in range(90):
                client.peer.ask(OTHER_TARGET, Asked().fields)
            client.send()
            await until(lambda: "paused" in repr(bench.worker.connections))
            client.writer.transport.abort()
        await until(lambda: not bench.worker.connections)


async def test_worker_that_ends_gives_what_waits(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench)
        async with wide(bench) as client:
            for _ in range(3):
                await ask_all(client, [Asked(OTHER_TARGET)])
            for _ in range(90):
                client.peer.ask(OTHER_TARGET, Asked().fields)
            client.send()
            await until(lambda: "paused" in repr(bench.worker.connections))
            bench.stop.set()
            await client.until(lambda: client.peer.are_over)
            assert all(
                each.content == SEVERAL_FRAMES
                for stream_id, each in client.peer.responses.items()
                if stream_id > 1
            )

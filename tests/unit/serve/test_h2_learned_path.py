"""Requests of HTTP/2 whose bytes are known get what they would get if they were read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from mirror.accounting.layout import Outcome
from mirror.config import Limits
from mirror.route.route import ContentClass
from tests.http2_client import Peer, Setting
from tests.unit.serve.channel_flips import NEXT, OLD, TARGET, publish
from tests.unit.serve.fakes import (
    CRATE_TARGET,
    INDEX_KEY,
    INDEX_TARGET,
    config_with,
    running_worker,
)
from tests.unit.serve.h2_client import connected
from tests.unit.serve.h2_recalling import (
    LARGE,
    OTHER_TARGET,
    SEVERAL_FRAMES,
    SMALL,
    WIDE,
    Asked,
    Observed,
    Unacknowledging,
    ask_all,
    keep,
    shown,
    tag_of,
    wide,
)
from tests.unit.serve.test_request_records import GROUPS, Log

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

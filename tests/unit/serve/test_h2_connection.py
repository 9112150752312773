"""How HTTP/2 begins, and what requests over it are answered."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mirror.config import Http2
from mirror.fill.messages import Ask, Failed
from mirror.serve.h2_connection import FIRST_TURN_BYTES
from tests.http2_client import (
    Codes,
    Peer,
    Setting,
    settings_value,
    upgrade_request,
)
from tests.unit.serve.fakes import (
    CRATE_TARGET,
    INDEX_TARGET,
    config_with,
    parse_answer,
    read_all,
    running_worker,
)
from tests.unit.serve.h2_client import (
    LARGE,
    LIBCURL_TAKES_BYTES,
    PREFACE,
    SMALL,
    WIDE,
    Client,
    assert_whole,
    connected,
    keep_both,
    until,
)

# How it begins.


async def test_prior_knowledge_is_answered_by_http2(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            response = await client.get(INDEX_TARGET)
            assert_whole(response, SMALL)
            assert response.fields["content-length"] == str(len(SMALL))
            assert response.fields["cache-status"] == "rust-mirror; hit"
            assert "connection" not in response.fields
            assert_whole(await client.get(CRATE_TARGET), LARGE)


async def test_preface_with_much_behind_it_leaves_the_connection_reading(tmp_path: Path) -> None:
    """More than a head's worth in one read: HTTP/1.1 would stop reading there."""
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        client = Client(Peer(), reader, writer)
        client.peer.begin()
        for _ in range(80):
            client.peer.ask(INDEX_TARGET, [("user-agent", "x" * 400)])
        await client.until(lambda: client.peer.are_over)
        assert_whole(await client.get(INDEX_TARGET), SMALL)
        writer.close()


async def test_preface_in_single_bytes_is_met(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        client = Client(Peer(), reader, writer)
        client.peer.begin()
        response = client.peer.responses[client.peer.ask(INDEX_TARGET)]
        for byte in client.peer.take():
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        await client.until(lambda: response.is_over)
        assert_whole(response, SMALL)
        writer.close()


@pytest.mark.parametrize("cut", range(1, 5))
async def test_http1_request_that_begins_like_the_preface_is_read_as_one(
    cut: int, tmp_path: Path
) -> None:
    async with running_worker(tmp_path) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(PREFACE[:cut])
        await asyncio.sleep(0)
        writer.write(b"X" + b" / HTTP/1.1\r\nHost: m\r\n\r\n")
        assert parse_answer(await read_all(reader, 0.1)).status in (400, 501)
        writer.close()


async def test_upgrade_is_answered_101_and_then_on_stream_1(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        client = Client(Peer(), reader, writer)
        value = client.peer.begin_upgraded()
        # Sent at once: what stands behind the request is HTTP/2 already.
        later = client.peer.ask(CRATE_TARGET)
        writer.write(upgrade_request(INDEX_TARGET, value) + client.peer.take())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head == (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        )
        await client.until(lambda: client.peer.are_over)
        assert_whole(client.peer.responses[1], SMALL)
        assert_whole(client.peer.responses[later], LARGE)
        writer.close()


async def test_settings_of_an_upgrade_hold_for_its_response(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 1000})
        peer.is_stalled = True
        client = Client(peer, reader, writer)
        value = peer.begin_upgraded()
        writer.write(upgrade_request(CRATE_TARGET, value))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        await client.until(lambda: len(peer.responses[1].content) == 1000)
        peer.grant(1, 500)
        await client.until(lambda: len(peer.responses[1].content) == 1500)
        writer.close()


async def test_upgraded_client_reads_no_more_than_libcurl_takes_before_it_speaks(
    tmp_path: Path,
) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        client = Client(Peer(settings=WIDE), reader, writer)
        value = client.peer.begin_upgraded()
        writer.write(upgrade_request(CRATE_TARGET, value))
        first = await read_all(reader, quiet_s=0.1)
        switching, _, frames = first.partition(b"\r\n\r\n")
        assert b" 101 " in switching
        assert FIRST_TURN_BYTES < len(frames) < LIBCURL_TAKES_BYTES
        client.peer.receive(frames)
        await client.until(lambda: client.peer.are_over)
        assert_whole(client.peer.responses[1], LARGE)
        writer.close()


UPGRADE = settings_value((3, 100), (4, 65_536))


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(upgrade_request(INDEX_TARGET, b"!!"), 200, id="not-base64"),
        pytest.param(upgrade_request(INDEX_TARGET, b"AAMA"), 200, id="half-a-setting"),
        pytest.param(upgrade_request(INDEX_TARGET, b"A"), 200, id="one-digit"),
        pytest.param(
            upgrade_request(INDEX_TARGET, settings_value((4, 1 << 31))), 200, id="window-too-large"
        ),
        pytest.param(
            upgrade_request(INDEX_TARGET, UPGRADE, f"HTTP2-Settings: {UPGRADE.decode()}"),
            200,
            id="two-settings-fields",
        ),
        pytest.param(
            upgrade_request(INDEX_TARGET, UPGRADE).replace(b"Upgrade, HTTP2", b"HTTP2"),
            200,
            id="connection-without-upgrade",
        ),
        pytest.param(
            upgrade_request(INDEX_TARGET, UPGRADE).replace(b", HTTP2-Settings\r", b"\r"),
            200,
            id="connection-without-settings",
        ),
        pytest.param(
            upgrade_request(INDEX_TARGET, UPGRADE).replace(b": h2c", b": websocket"),
            200,
            id="another-protocol",
        ),
        pytest.param(
            upgrade_request(INDEX_TARGET, UPGRADE).replace(b"HTTP/1.1", b"HTTP/1.0"),
            200,
            id="http-1.0",
        ),
        pytest.param(
            upgrade_request(INDEX_TARGET, UPGRADE, "Content-Length: 4") + b"abcd", 400, id="content"
        ),
        pytest.param(
            upgrade_request(INDEX_TARGET, UPGRADE).replace(b"GET", b"POST"), 405, id="post"
        ),
    ],
)
async def test_upgrade_that_is_not_right_is_answered_by_http1(
    request_bytes: bytes, status: int, tmp_path: Path
) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        assert parse_answer(await bench.exchange(request_bytes)).status == status


async def test_upgrade_is_taken_also_when_the_same_request_was_answered_before(
    tmp_path: Path,
) -> None:
    """A head that asks for an upgrade is never learned by the memo."""
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        for _ in range(3):
            received = await bench.exchange(upgrade_request(INDEX_TARGET, UPGRADE))
            assert received.startswith(b"HTTP/1.1 101 ")


async def test_http2_that_is_switched_off_is_not_spoken(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(http2=Http2(enabled=False))) as bench:
        keep_both(bench)
        request = upgrade_request(INDEX_TARGET, UPGRADE)
        for _ in range(2):
            assert parse_answer(await bench.exchange(request)).status == 200
        assert (await bench.exchange(PREFACE)).startswith(b"HTTP/1.1 ")


# Requests and responses.


async def test_streams_are_answered_each_for_itself(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            peer = client.peer
            small = [peer.ask(INDEX_TARGET) for _ in range(40)]
            absent = peer.ask("/no-such-path")
            post = peer.ask(INDEX_TARGET, method="POST")
            head = peer.ask(CRATE_TARGET, method="HEAD")
            part = peer.ask(CRATE_TARGET, [("range", "bytes=-100")])
            await client.until(lambda: peer.are_over)
            for stream_id in small:
                assert_whole(peer.responses[stream_id], SMALL)
            assert peer.responses[absent].status == 404
            assert peer.responses[absent].is_complete
            assert peer.responses[absent].content.endswith(b"\n")
            assert peer.responses[post].status == 405
            assert peer.responses[head].fields["content-length"] == str(len(LARGE))
            assert peer.responses[head].content == b""
            assert peer.responses[part].status == 206
            assert peer.responses[part].content == LARGE[-100:]


async def test_not_modified_has_no_content(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            tag = (await client.get(INDEX_TARGET)).fields["etag"]
            response = await client.get(INDEX_TARGET, ("if-none-match", tag))
            assert (response.status, bytes(response.content)) == (304, b"")


async def test_misses_are_asked_of_the_keeper_at_the_same_time(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        go_on = asyncio.Event()

        async def script(_: Ask) -> Failed:
            await go_on.wait()
            return Failed(status=404, reason="no")

        bench.keeper.script = script
        async with connected(bench) as client:
            for number in range(30):
                client.peer.ask(f"/index/to/ki/tokio{number}")
            client.send()
            await until(lambda: len(bench.keeper.asked) == 30)
            go_on.set()
            await client.until(lambda: client.peer.are_over)
            assert {response.status for response in client.peer.responses.values()} == {404}


async def test_large_field_list_is_answered_431(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            response = await client.get(INDEX_TARGET, ("x-a", "a" * 17_000))
            assert (response.status, response.is_complete) == (431, True)
            assert_whole(await client.get(INDEX_TARGET), SMALL)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([("connection", "close")], id="connection-field"),
        pytest.param([("X-Upper", "1")], id="upper-case-name"),
        pytest.param([("te", "gzip")], id="te"),
        pytest.param([("content-length", "5")], id="content-that-does-not-come"),
    ],
)
async def test_malformed_request_is_reset_and_not_answered(
    fields: list[tuple[str, str]], tmp_path: Path
) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            client.peer.h2.config.validate_outbound_headers = False
            client.peer.h2.config.normalize_outbound_headers = False
            response = await client.get(INDEX_TARGET, *fields)
            assert (response.status, response.reset_code) == (0, Codes.PROTOCOL_ERROR)
            assert_whole(await client.get(INDEX_TARGET), SMALL)


async def test_authority_that_is_no_host_name_is_refused(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench, Peer(authority="a..b")) as client:
            assert (await client.get(INDEX_TARGET)).status == 400


async def test_request_content_is_refused_and_the_rest_not_wanted(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep_both(bench)
        async with connected(bench) as client:
            peer = client.peer
            sending = peer.ask(INDEX_TARGET, ends=False)
            peer.h2.send_data(sending, b"content")
            announced = peer.ask(INDEX_TARGET, [("content-length", "5")], ends=False)
            empty = peer.ask(INDEX_TARGET, ends=False)
            peer.h2.end_stream(empty)
            await client.until(
                lambda: (
                    {peer.responses[number].reset_code for number in (sending, announced)}
                    == {Codes.NO_ERROR}
                )
            )
            for stream_id in (sending, announced):
                response = peer.responses[stream_id]
                assert (response.status, response.is_complete) == (400, True)
            await client.until(lambda: peer.responses[empty].is_over)
            assert_whole(peer.responses[empty], SMALL)

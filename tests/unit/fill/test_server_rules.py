"""The socket: the rules of the protocol are kept, and enforced on whoever breaks them."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mirror.accounting.uses import LeftOut, Use
from mirror.fill.frames import (
    INITIAL_CREDIT_BYTES,
    MAX_PAYLOAD_BYTES,
    FrameType,
    encode_frame,
)
from mirror.fill.messages import (
    Answer,
    Ask,
    Check,
    Code,
    FlightState,
    GrowingAnswer,
    InlineAnswer,
    Progress,
    Purpose,
    Uses,
    decode,
    decode_answer,
    encode,
)
from tests.unit.fill.keeper_socket import (
    BIG,
    KEY,
    LINES,
    LIST,
    PATH,
    Keeper,
    publish,
    running_keeper,
)
from tests.unit.fill.scripted_pool import Step

USE = Use(KEY, 2, 300, 1, 150)


@pytest.fixture
async def keeper(tmp_path: Path) -> AsyncIterator[Keeper]:
    async with running_keeper(tmp_path) as running:
        yield running


async def test_content_waits_for_credit(keeper: Keeper) -> None:
    content = LINES + LINES * (3 * INITIAL_CREDIT_BYTES // len(LINES))
    keeper.world.releases.put("/manifests.txt", content)
    peer = await keeper.peer()
    peer.send(FrameType.ASK, 1, Ask(purpose=Purpose.FETCH, key=LIST))
    answer = await peer.receive()
    assert isinstance(decode_answer(answer.payload), InlineAnswer)
    received = b""
    while len(received) < INITIAL_CREDIT_BYTES:
        frame = await peer.receive()
        assert (frame.type, frame.stream) == (FrameType.DATA, 1)
        received += frame.payload
    assert len(received) == INITIAL_CREDIT_BYTES
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await peer.receive()
    peer.send(FrameType.CREDIT, 1, struct.pack("!I", 10))
    assert len((await peer.receive()).payload) == 10
    peer.send(FrameType.CANCEL, 1)
    peer.send(FrameType.ASK, 2, Ask(purpose=Purpose.FETCH, key="x"))
    frame = await peer.receive()
    assert (frame.type, frame.stream) == (FrameType.ANSWER, 2)


async def test_a_flight_is_announced_once_per_turn_whatever_its_followers(
    keeper: Keeper,
) -> None:
    publish(keeper.world)
    gate = asyncio.Event()
    keeper.world.releases.resources[PATH].steps = [Step(body_gate=gate, gate_at=100_000)]
    peer = await keeper.peer()
    for stream in range(1, 21):
        peer.send(FrameType.ASK, stream, Ask(purpose=Purpose.FETCH, key=KEY))
    answers: list[Answer] = []
    while len(answers) < 20:
        frame = await peer.receive()
        if frame.type is FrameType.ANSWER:
            answers.append(decode_answer(frame.payload))
    assert {a.flight for a in answers if isinstance(a, GrowingAnswer)} == {1}
    gate.set()
    landed = []
    while True:
        frame = await peer.receive()
        assert (frame.type, frame.stream) == (FrameType.PROGRESS, 0)
        progress = decode(Progress, frame.payload)
        landed.append((progress.landed, progress.state, progress.stored is not None))
        if progress.stored is not None:
            break
    assert len(landed) == len(set(landed))
    assert landed[-1] == (len(BIG), FlightState.VERIFIED, True)


async def test_a_follower_that_cancels_hears_no_more(keeper: Keeper) -> None:
    publish(keeper.world)
    gate = asyncio.Event()
    keeper.world.releases.resources[PATH].steps = [Step(body_gate=gate, gate_at=100_000)]
    peer = await keeper.peer()
    peer.send(FrameType.ASK, 1, Ask(purpose=Purpose.FETCH, key=KEY))
    while (await peer.receive()).type is not FrameType.ANSWER:
        pass
    peer.send(FrameType.CANCEL, 1)
    peer.send(FrameType.ASK, 2, Ask(purpose=Purpose.FETCH, key="x"))
    while (await peer.receive()).type is not FrameType.ANSWER:
        pass
    gate.set()
    await keeper.world.settled()
    assert keeper.world.stored_content(KEY) == BIG
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await peer.receive()


async def test_a_cancelled_ask_leaves_its_flight_alone(keeper: Keeper) -> None:
    publish(keeper.world)
    gate = asyncio.Event()
    keeper.world.releases.resources[PATH].steps = [Step(gate=gate)]
    peer = await keeper.peer()
    peer.send(FrameType.ASK, 1, Ask(purpose=Purpose.FETCH, key=KEY))
    async with asyncio.timeout(10):
        while not keeper.world.releases.open:
            await asyncio.sleep(0.001)
    await peer.close()
    gate.set()
    await keeper.world.settled()
    assert keeper.world.stored_content(KEY) == BIG


async def test_content_of_requests_is_accepted_and_credited(keeper: Keeper) -> None:
    publish(keeper.world)
    gate = asyncio.Event()
    keeper.world.releases.resources[PATH].steps = [Step(gate=gate)]
    peer = await keeper.peer()
    peer.send(FrameType.ASK, 1, Ask(purpose=Purpose.FETCH, key=KEY))
    peer.send(FrameType.DATA, 1, b"x" * 1000)
    frame = await peer.receive()
    assert (frame.type, frame.stream, frame.payload) == (
        FrameType.CREDIT,
        1,
        struct.pack("!I", 1000),
    )
    peer.send(FrameType.END, 1)
    gate.set()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another-protocol"),
        pytest.param(encode_frame(FrameType.ASK, 1, b""), id="an-ask-before-hello"),
        pytest.param(encode_frame(FrameType.HELLO, 0, b"\xc1"), id="a-hello-of-nonsense"),
        pytest.param(encode_frame(FrameType.HELLO, 3, b""), id="a-hello-on-a-stream"),
    ],
)
async def test_a_peer_without_a_greeting_is_cut_off(keeper: Keeper, raw: bytes) -> None:
    peer = await keeper.peer(is_greeted=False)
    peer.send_raw(raw)
    assert await peer.is_cut()
    assert keeper.world.log.named("worker-cut-off")


_ASK = encode(Ask(purpose=Purpose.FETCH, key="x"))


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([(FrameType.ASK, 1, b"\x93nonsense")], id="an-ask-of-nonsense"),
        pytest.param([(FrameType.ASK, 2, _ASK), (FrameType.ASK, 2, _ASK)], id="a-stream-again"),
        pytest.param([(FrameType.ASK, 2, _ASK), (FrameType.ASK, 1, _ASK)], id="a-lower-stream"),
        pytest.param([(FrameType.ASK, 0, _ASK)], id="stream-zero"),
        pytest.param([(FrameType.ANSWER, 1, b"")], id="an-answer"),
        pytest.param([(FrameType.HELLO, 0, b"")], id="a-second-hello"),
        pytest.param([(FrameType.USED, 0, encode(Uses(uses=(USE,) * 513)))], id="too-many-keys"),
        pytest.param(
            [(FrameType.CHECK, 0, encode(Check(keys=("k",) * 513)))], id="too-many-checks"
        ),
        pytest.param([(FrameType.CODE, 0, encode(Code(keys=("k",) * 513)))], id="too-many-wishes"),
    ],
)
async def test_a_worker_that_breaks_a_rule_is_cut_off(
    keeper: Keeper, frames: list[tuple[FrameType, int, bytes]]
) -> None:
    peer = await keeper.peer()
    for frame in frames:
        peer.send(*frame)
    assert await peer.is_cut()
    assert keeper.world.log.named("worker-cut-off")[0]["slot"] == 7


@pytest.mark.parametrize("payload", [b"", b"\xff\xff\xff\xff"], ids=["short", "absurd"])
async def test_nonsense_credit_is_cut_off(keeper: Keeper, payload: bytes) -> None:
    keeper.world.releases.put("/manifests.txt", LINES * 40)
    peer = await keeper.peer()
    peer.send(FrameType.ASK, 1, Ask(purpose=Purpose.FETCH, key=LIST))
    await peer.receive()
    peer.send(FrameType.CREDIT, 1, payload)
    assert await peer.is_cut()


async def test_credit_for_an_ended_stream_is_ignored(keeper: Keeper) -> None:
    peer = await keeper.peer()
    peer.send(FrameType.CREDIT, 9, struct.pack("!I", 1))
    peer.send(FrameType.CANCEL, 9)
    peer.send(FrameType.DATA, 9, b"x" * MAX_PAYLOAD_BYTES)
    peer.send(FrameType.ASK, 10, Ask(purpose=Purpose.FETCH, key="x"))
    assert (await peer.receive()).type is FrameType.ANSWER


async def test_recency_reaches_the_filler(keeper: Keeper) -> None:
    peer = await keeper.peer()
    peer.send(FrameType.USED, 0, Uses(uses=(USE,), left_out=LeftOut(2, 3)))
    peer.send(FrameType.ASK, 1, Ask(purpose=Purpose.FETCH, key="x"))
    assert (await peer.receive()).type is FrameType.ANSWER
    assert keeper.uses.seen == [((USE,), LeftOut(2, 3))]


async def test_checks_reach_the_filler(keeper: Keeper) -> None:
    peer = await keeper.peer()
    peer.send(FrameType.CHECK, 0, Check(keys=("crates:/crates/serde/serde-1.0.0.crate",)))
    async with asyncio.timeout(10):
        while "/se/rd/serde" not in keeper.world.index.paths():
            await asyncio.sleep(0.01)


async def test_wishes_for_variants_reach_the_filler(keeper: Keeper) -> None:
    peer = await keeper.peer()
    peer.send(FrameType.CODE, 0, Code(keys=("index:/se/rd/serde",)))
    async with asyncio.timeout(10):
        while not len(keeper.world.filler._variants):
            await asyncio.sleep(0)


@pytest.mark.full
async def test_a_worker_that_reads_nothing_is_cut_off(keeper: Keeper) -> None:
    peer = await keeper.peer()
    keeper_side = next(iter(keeper.server._connections))
    keeper.world.releases.put("/manifests.txt", LINES)
    await keeper.world.ask(LIST)
    await keeper.world.settled()
    ask = Ask(purpose=Purpose.FETCH, key=LIST)
    with contextlib.suppress(ConnectionError):
        for stream in range(1, 60_000):
            peer.send(FrameType.ASK, stream, ask)
            if stream % 1000 == 0:
                await asyncio.sleep(0)
            if not keeper.server.connections:
                break
    assert keeper.world.log.named("worker-cut-off"), repr(keeper_side)


async def test_a_herd_that_wants_one_object_cuts_nobody_off(keeper: Keeper) -> None:
    """300 answers of 250 KB wait for one worker; when it reads again, all are woken at once."""
    content = (LINES * 20)[:250_000].rpartition(b"\n")[0] + b"\n"
    gate = asyncio.Event()
    keeper.world.releases.put("/manifests.txt", content).steps = [Step(gate=gate)]
    peer = await keeper.peer()
    for stream in range(1, 301):
        peer.send(FrameType.ASK, stream, Ask(purpose=Purpose.FETCH, key=LIST))
    async with asyncio.timeout(10):
        while not keeper.world.releases.open:
            await asyncio.sleep(0.001)
    gate.set()
    await keeper.world.settled()
    ended, received = 0, 0
    while ended < 300:
        frame = await peer.receive()
        ended += frame.type is FrameType.END
        received += len(frame.payload) if frame.type is FrameType.DATA else 0
    assert received == 300 * len(content)
    assert not keeper.world.log.named("worker-cut-off")


async def test_closing_the_server_ends_its_connections(keeper: Keeper) -> None:
    publish(keeper.world)
    gate = asyncio.Event()
    keeper.world.releases.resources[PATH].steps = [Step(gate=gate)]
    peer = await keeper.peer()
    peer.send(FrameType.ASK, 1, Ask(purpose=Purpose.FETCH, key=KEY))
    async with asyncio.timeout(10):
        while not keeper.world.releases.open:
            await asyncio.sleep(0.001)
    await keeper.server.aclose()
    assert await peer.is_cut()
    assert keeper.server.connections == 0
    gate.set()

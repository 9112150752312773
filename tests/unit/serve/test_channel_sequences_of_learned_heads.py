"""Learned heads of a channel are answered from their client's sequence."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from mirror.config import Config, Trust
from mirror.fill.messages import Failed
from mirror.store.entry import DIGEST_GENERATION, SIGNED_GENERATION
from tests.unit.serve.channel_flips import (
    KEY,
    NEXT,
    OLD,
    STALE,
    TARGET,
    Generation,
    get,
    publish,
    two_workers,
)
from tests.unit.serve.fakes import (
    WAITING,
    Answer,
    Bench,
    running_worker,
)


async def test_learned_head_does_not_pass_by_the_table(tmp_path: Path) -> None:
    """The very bytes of a request on one connection after another, through a flip."""
    raw = f"GET {TARGET}.sha256 HTTP/1.1\r\nHost: m\r\n\r\n".encode()
    async with running_worker(tmp_path) as bench:
        publish(bench, OLD)
        for _ in range(3):
            assert (await bench.exchange(raw)).endswith(OLD.content(".sha256"))
        assert await get(bench, "") == OLD.content("")
        publish(bench, NEXT, OLD)
        assert (await bench.exchange(raw)).endswith(NEXT.content(".sha256"))
        assert await get(bench, "") == NEXT.content("")


@pytest.mark.parametrize(
    ("required", "proof", "marked"),
    [
        ("signature", DIGEST_GENERATION, True),
        ("signature", SIGNED_GENERATION, False),
        ("digest", DIGEST_GENERATION, False),
    ],
)
async def test_what_no_signature_vouches_for_says_so(
    tmp_path: Path, required: str, proof: str, marked: bool
) -> None:
    async with running_worker(tmp_path, Config(trust=Trust(channel_manifest=required))) as bench:
        publish(bench, OLD)
        for key, stored in bench.reader.entries.items():
            entry = replace(stored.entry, proof=proof)
            bench.reader.entries[key] = replace(stored, entry=entry)
        mark = "; detail=digest-only" if marked else ""
        answers: list[Answer] = [await bench.get(TARGET), await bench.get(TARGET, method="HEAD")]
        for answer in answers:
            assert answer.fields["cache-status"] == f"rust-mirror; hit; ttl=60{mark}"


async def test_the_mark_stands_beside_another_detail(tmp_path: Path) -> None:
    config = Config(trust=Trust(channel_manifest="signature"), freshness=WAITING)
    async with running_worker(tmp_path, config) as bench:
        publish(bench, OLD, fresh_until=STALE)
        stored = bench.reader.entries[KEY]
        entry = replace(stored.entry, proof=DIGEST_GENERATION)
        bench.reader.entries[KEY] = replace(stored, entry=entry)
        bench.keeper.answer(Failed(status=504, reason="slow"))
        answer = await bench.get(TARGET)
        details = '"stale-if-error, upstream-timeout, digest-only"'
        expected = f"rust-mirror; fwd=stale; ttl=-1; detail={details}"
        assert answer.fields["cache-status"] == expected


def raw(suffix: str, *lines: str) -> bytes:
    """A head that the memo learns: the client keeps its connection."""
    head = [f"GET {TARGET}{suffix} HTTP/1.1", "Host: m", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n"


async def test_learned_conditional_is_of_the_sequence(tmp_path: Path) -> None:
    """The client has the former's .toml; its tag answers 304 within the sequence only."""
    async with running_worker(tmp_path) as bench:
        publish(bench, OLD)
        conditional = raw("", f'if-none-match: "{hashlib.sha256(OLD.manifest).hexdigest()}"')
        for _ in range(2):
            assert (await bench.exchange(conditional)).startswith(b"HTTP/1.1 304 ")
        await bench.exchange(raw(".sha256"))
        publish(bench, NEXT, OLD)
        await bench.exchange(raw(".sha256"))  # repeated: the next generation
        assert (await bench.exchange(conditional)).endswith(NEXT.content(""))
        assert (await bench.exchange(raw(".asc"))).endswith(NEXT.content(".asc"))


async def test_learned_head_of_another_client_is_not_answered_for_this_one(
    tmp_path: Path,
) -> None:
    """What is hot and learned is of the next generation; this client's sequence is not."""
    async with running_worker(tmp_path) as bench:
        publish(bench, OLD)
        assert await get(bench, ".sha256", client="127.0.0.2") == OLD.content(".sha256")
        publish(bench, NEXT, OLD)
        for _ in range(2):
            assert (await bench.exchange(raw(""))).endswith(NEXT.content(""))
        assert (await bench.exchange(raw(""), "127.0.0.2")).endswith(OLD.content(""))
        assert (await bench.exchange(raw(""))).endswith(NEXT.content(""))


async def test_learned_head_of_a_large_manifest_is_of_the_sequence(tmp_path: Path) -> None:
    old = Generation("old", size_bytes=200_000)
    async with two_workers(tmp_path) as (first, second):
        publish(first, old)
        for bench in (first, second, first, second):
            assert (await bench.exchange(raw(""))).endswith(old.content(""))
        await first.exchange(raw(".sha256"))
        publish(first, Generation("next", size_bytes=200_000), old)
        await first.exchange(raw(".asc"))
        assert (await second.exchange(raw(".sha256"))).endswith(b"next.sha256")
        assert b"\r\n\r\nnext..." in await second.exchange(raw(""))


async def test_learned_hit_says_that_no_signature_vouches(tmp_path: Path) -> None:
    async with running_worker(tmp_path, Config(trust=Trust(channel_manifest="signature"))) as bench:
        publish(bench, OLD)
        stored = bench.reader.entries[KEY]
        entry = replace(stored.entry, proof=DIGEST_GENERATION)
        bench.reader.entries[KEY] = replace(stored, entry=entry)
        for _ in range(3):
            received = await bench.exchange(raw(""))
            assert b"rust-mirror; hit; ttl=60; detail=digest-only\r\n" in received


async def test_learned_hits_are_rendered_for_their_second(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        publish(bench, OLD)
        for seconds in (0, 3, 4):
            bench.clock.advance(seconds)
            bench.worker.tick()
            for _ in range(2):
                age = 10 + round(bench.clock.now_s - 1_800_000_000)
                assert f"\r\nAge: {age}\r\n".encode() in await bench.exchange(raw(".sha256"))


async def test_random_flips_mix_no_pair_over_two_workers(tmp_path: Path) -> None:
    """400 pairs in either order by learned and parsed heads, from 40 addresses; the keeper's
    commit comes before, between or after the two requests of a pair."""
    rng = random.Random(7)
    flips_inside = 0
    async with two_workers(tmp_path) as workers:
        current = Generation("g0")
        publish(workers[0], current, fresh_until=math.inf)
        for number in range(1, 401):
            client = f"127.0.1.{rng.randrange(1, 41)}"
            order = rng.sample(("", ".sha256"), 2)
            flip_at = rng.randrange(4)
            names = []
            for step, suffix in enumerate(order):
                if flip_at == step:
                    flips_inside += step
                    former, current = current, Generation(f"g{number}")
                    publish(workers[0], current, former, fresh_until=math.inf)
                more = ("X-Forwarded-For: 192.0.2.1",) * rng.randrange(2)
                received = await exchange_one(rng.choice(workers), raw(suffix, *more), client)
                names.append(received.partition(b".")[0])
            assert names[0] == names[1], (number, order, flip_at)
            if rng.randrange(3) == 0:
                workers[0].clock.advance(rng.randrange(12))
                for bench in workers:
                    bench.worker.tick()
    assert flips_inside > 50


async def exchange_one(bench: Bench, head: bytes, client: str) -> bytes:
    """The content of one response on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port, local_addr=(client, 0))
    try:
        writer.write(head)
        fields = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        length = int(fields.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return await asyncio.wait_for(reader.readexactly(length), 5)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

"""Content of middle size: in memory when it is asked for again, bounded, and never a wrong byte."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mirror.accounting.layout import Outcome
from mirror.config import Config, Serve
from mirror.fill.plan import Serve as Served
from mirror.route.match import Site, match
from mirror.route.route import ContentClass, Route
from mirror.serve.file_pages import FilePages
from mirror.serve.hot_contents import LARGEST_BYTES, HotContents, KeptSource
from mirror.serve.hot_entry import SMALL_BYTES, HitRows, HotEntry
from mirror.serve.sources import FileSource, Source
from mirror.serve.variants import SETTLED, Form
from mirror.store.reader import BlobChanged, BlobMissing
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    Bench,
    FakeReader,
    _identify,
    running_worker,
)
from tests.unit.serve.h2_client import connected
from tests.unit.serve.slow_client import SlowClient

LIMIT_BYTES = 4_000_000
CONTENT = os.urandom(200_000)
GET = f"GET {CRATE_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n".encode()


class Kitchen:
    """Hot contents over a fake store."""

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.reader = FakeReader(path)
        self.pages = FilePages()
        self.contents = HotContents(limit_bytes, self.reader, self.pages)
        matched = match(CRATE_TARGET.encode(), Site.ANY)
        assert isinstance(matched, Route)
        self.route = matched

    def entry(self, content: bytes) -> HotEntry:
        stored = self.reader.keep(f"{CRATE_KEY}/{hashlib.sha256(content).hexdigest()}", content)
        rows = HitRows(0, 0, 0)
        form = Form(name="n", coded=None, looked_second=SETTLED)
        decision = Served(stored=stored, ttl_s=None)
        return HotEntry(self.route, decision, None, rows=rows, epoch=1, form=form)

    async def ask(self, hot: HotEntry) -> Source:
        """Open, and wait for what is loaded because of it."""
        source = self.contents.open(hot)
        assert not isinstance(source, (BlobMissing, BlobChanged))
        await self.settle()
        return source

    async def settle(self) -> None:
        async with asyncio.timeout(10):
            while self.contents.is_loading:
                await asyncio.sleep(0.001)


def read(source: Source, length: int) -> bytes:
    content = b""
    while len(content) < length:
        window = source.read(len(content), length)
        assert window
        content += bytes(window)
    source.close()
    return content


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path)


@pytest.mark.parametrize("length", [SMALL_BYTES + 1, 300_000, LARGEST_BYTES])
async def test_second_request_loads_and_the_third_is_from_memory(
    kitchen: Kitchen, length: int
) -> None:
    content = os.urandom(length)
    hot = kitchen.entry(content)
    kinds = []
    for _ in range(4):
        source = await kitchen.ask(hot)
        kinds.append(type(source))
        assert read(source, length) == content
    assert kinds == [FileSource, FileSource, KeptSource, KeptSource]
    assert kitchen.contents.used_bytes == pytest.approx(length, abs=1024)


async def test_scan_of_files_loads_nothing(kitchen: Kitchen) -> None:
    for number in range(20):
        (await kitchen.ask(kitchen.entry(number.to_bytes(2, "big") * 50_000))).close()
    assert kitchen.contents.used_bytes == 0


async def test_larger_content_is_never_loaded(kitchen: Kitchen) -> None:
    hot = kitchen.entry(bytes(LARGEST_BYTES + 1))
    for _ in range(3):
        (await kitchen.ask(hot)).close()
    assert kitchen.contents.used_bytes == 0


async def test_content_that_would_fill_half_of_the_memory_is_not_loaded(tmp_path: Path) -> None:
    kitchen = Kitchen(tmp_path, limit_bytes=300_000)
    hot = kitchen.entry(CONTENT)
    for _ in range(3):
        (await kitchen.ask(hot)).close()
    assert kitchen.contents.used_bytes == 0


async def test_memory_is_bounded_whatever_readers_hold(kitchen: Kitchen) -> None:
    """Readers that never end hold what the map let go of; then nothing more is loaded."""
    held = []
    for number in range(60):
        hot = kitchen.entry(number.to_bytes(2, "big") * 150_000)
        for _ in range(3):
            held.append(await kitchen.ask(hot))
        assert kitchen.contents.used_bytes <= LIMIT_BYTES
    kept = [source for source in held if isinstance(source, KeptSource)]
    assert 0 < len(kept) < 20
    for source in held:
        source.close()
    assert kitchen.contents.used_bytes <= LIMIT_BYTES * 2 / 3
    again = kitchen.entry(b"ag" * 150_000)
    for _ in range(3):
        (await kitchen.ask(again)).close()
    assert kitchen.contents.find(again) is not None


async def test_rotten_file_is_never_served_from_memory_and_counts_as_changed(
    kitchen: Kitchen,
) -> None:
    hot = kitchen.entry(CONTENT)
    (await kitchen.ask(hot)).close()
    path = kitchen.reader._blob(hot.file.entry.digest)
    path.write_bytes(b"rot" + CONTENT[3:])
    # Rot leaves no mark on the inode: the entry is made to attest this file.
    hot.stored = replace(hot.stored, attestation=_identify(path.stat()))
    (await kitchen.ask(hot)).close()
    assert isinstance(kitchen.contents.open(hot), BlobChanged)
    assert kitchen.contents.used_bytes == 0


async def test_missing_file_is_told(kitchen: Kitchen) -> None:
    hot = kitchen.entry(CONTENT)
    kitchen.reader.evict(hot.stored)
    assert isinstance(kitchen.contents.open(hot), BlobMissing)


async def test_file_that_vanishes_while_it_is_loaded_leaves_nothing(kitchen: Kitchen) -> None:
    hot = kitchen.entry(CONTENT)
    (await kitchen.ask(hot)).close()
    loading = kitchen.contents.open(hot)
    kitchen.reader.evict(hot.stored)
    await kitchen.settle()
    assert isinstance(loading, FileSource)
    loading.close()


async def test_loads_at_once_are_few(kitchen: Kitchen) -> None:
    hots = [kitchen.entry(number.to_bytes(2, "big") * 50_000) for number in range(10)]
    for _ in range(2):
        for hot in hots:
            source = kitchen.contents.open(hot)
            assert isinstance(source, FileSource)
            source.close()
    assert len(kitchen.contents._loading) <= 4
    await kitchen.settle()
    assert len(kitchen.contents._kept) <= 4


# In a worker.


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not claim():
            await asyncio.sleep(0.001)


async def loaded(bench: Bench, content: bytes = CONTENT) -> None:
    """Ask until the content is in memory."""
    bench.reader.keep(CRATE_KEY, content)
    for _ in range(2):
        await bench.exchange(GET)
    await until(lambda: len(bench.worker._shared.contents._kept) == 1)


async def test_answers_from_memory_equal_those_from_the_file(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, CONTENT)
        first = await bench.exchange(GET)
        await loaded(bench)
        assert await bench.exchange(GET) == first
        assert first.endswith(CONTENT)
        assert bench.count(ContentClass.CRATE, Outcome.HIT) == (4, 4 * len(CONTENT))


async def test_ranges_come_from_memory(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        await loaded(bench)
        part = await bench.get(CRATE_TARGET, "Range: bytes=10-150009")
        assert (part.status, part.content) == (206, CONTENT[10:150_010])
        parts = await bench.get(CRATE_TARGET, "Range: bytes=0-9, -5")
        assert parts.status == 206
        assert CONTENT[:10] in parts.content
        assert CONTENT[-5:] in parts.content


async def test_slow_reader_from_memory_gets_all_and_is_counted_as_the_kernel_takes(
    tmp_path: Path,
) -> None:
    async with running_worker(tmp_path) as bench:
        await loaded(bench)
        client = SlowClient(bench)
        client.connection.data_received(GET)
        assert client.is_waited_for
        assert bench.count(ContentClass.CRATE, Outcome.HIT)[1] < 3 * len(CONTENT)
        answer = await client.answer()
        assert (answer.status, answer.content) == (200, CONTENT)
        assert client.most_held_bytes == 0
        assert bench.count(ContentClass.CRATE, Outcome.HIT) == (3, 3 * len(CONTENT))
        client.leave()


async def test_client_that_leaves_is_counted_with_what_the_kernel_took(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        await loaded(bench)
        client = SlowClient(bench)
        client.connection.data_received(GET)
        received = client.take()
        client.leave()
        content = received.partition(b"\r\n\r\n")[2]
        assert 0 < len(content) < len(CONTENT)
        counted = bench.count(ContentClass.CRATE, Outcome.HIT)
        assert counted == (3, 2 * len(CONTENT) + len(content))
        assert bench.count_of("crate", "hit", "cut") == 1


async def test_withdrawn_object_is_not_answered_from_memory(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        await loaded(bench)
        del bench.reader.entries[CRATE_KEY]
        bench.page.bump_epoch()
        assert (await bench.get(CRATE_TARGET)).status == 404


async def test_other_content_of_the_key_is_not_answered_with_the_former(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        await loaded(bench)
        other = os.urandom(150_000)
        bench.reader.keep(CRATE_KEY, other)
        bench.page.bump_epoch()
        assert (await bench.exchange(GET)).endswith(other)


async def test_hot_memory_holds_both_tiers(tmp_path: Path) -> None:
    config = Config(serve=Serve(hot_memory=2 << 20))  # type: ignore[arg-type]  # as read
    async with running_worker(tmp_path, config) as bench:
        for number in range(30):
            target = f"/crates/serde/serde-1.0.{number}.crate"
            bench.reader.keep(f"crates:{target}", number.to_bytes(1, "big") * 100_000)
            for _ in range(3):
                assert (await bench.get(target)).status == 200
        await until(lambda: not bench.worker._shared.contents.is_loading)
        assert 100_000 < bench.worker.hot_bytes <= 2 << 20


async def test_http2_is_answered_from_memory(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        await loaded(bench)
        async with connected(bench) as client:
            assert (await client.get(CRATE_TARGET)).content == CONTENT

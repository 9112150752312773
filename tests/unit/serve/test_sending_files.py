"""Files that the kernel sends: only what is in the page cache, every byte once, counted exactly."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest

from mirror.accounting.layout import Outcome
from mirror.route.route import ContentClass
from mirror.serve.file_pages import SENDING_BYTES, FilePages
from tests.unit.serve.fakes import CRATE_KEY, CRATE_TARGET, Bench, running_worker
from tests.unit.serve.slow_client import SlowClient

CONTENT = os.urandom(2 * SENDING_BYTES + 300_007)
GET = f"GET {CRATE_TARGET} HTTP/1.1"
Sent = list[tuple[int, int]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """What the kernel was asked to send: offsets and sizes."""
    asked: Sent = []
    plain = os.sendfile

    def sendfile(out: int, fd: int, offset: int, size_bytes: int) -> int:
        asked.append((offset, size_bytes))
        return plain(out, fd, offset, size_bytes)

    monkeypatch.setattr(os, "sendfile", sendfile)
    return asked


class Holes(FilePages):
    """Every other window is said to be cold."""

    def is_resident(self, fd: int, offset: int, size_bytes: int) -> bool:
        is_even = offset // SENDING_BYTES % 2 == 0
        return is_even and super().is_resident(fd, offset, size_bytes)


async def ask(bench: Bench, *lines: str) -> tuple[int, bytes]:
    answer = await bench.get(CRATE_TARGET, *lines)
    return answer.status, answer.content


async def test_resident_file_is_sent_by_the_kernel(tmp_path: Path, sent: Sent) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, CONTENT)
        for number in range(3):  # parsed, learned, learned
            assert await ask(bench) == (200, CONTENT)
            assert sent, number
            sent.clear()
        assert bench.count(ContentClass.CRATE, Outcome.HIT) == (3, 3 * len(CONTENT))


@pytest.mark.parametrize(
    ("first", "end"), [(0, 1), (1, 70_000), (SENDING_BYTES - 1, 2 * SENDING_BYTES + 1)]
)
async def test_range_is_sent_by_the_kernel(
    tmp_path: Path, sent: Sent, first: int, end: int
) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, CONTENT)
        assert await ask(bench, f"Range: bytes={first}-{end - 1}") == (206, CONTENT[first:end])
        assert sent[0][0] == first
        assert max(at + size for at, size in sent) == end


async def test_what_is_cold_is_read_instead(tmp_path: Path, sent: Sent) -> None:
    async with running_worker(tmp_path) as bench:
        bench.worker._shared.pages.close()
        bench.worker._shared.pages = pages = Holes()
        bench.worker._shared.contents._pages = pages
        bench.reader.keep(CRATE_KEY, CONTENT)
        assert await ask(bench) == (200, CONTENT)
        assert sent
        assert {at // SENDING_BYTES % 2 for at, _ in sent} == {0}


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What may wait for the disk: the names of the threads that read, and "sendfile" for a window
    of which a page was not there."""
    names: list[str] = []
    read, send = os.pread, os.sendfile

    def pread(fd: int, size_bytes: int, offset: int) -> bytes:
        names.append(threading.current_thread().name)
        return read(fd, size_bytes, offset)

    def sendfile(out: int, fd: int, offset: int, size_bytes: int) -> int:
        pages = range(offset, offset + size_bytes, 4096)
        if not all(is_there(fd, at) for at in pages):
            names.append("sendfile")
        return send(out, fd, offset, size_bytes)

    monkeypatch.setattr(os, "pread", pread)
    monkeypatch.setattr(os, "sendfile", sendfile)
    return names


def is_there(fd: int, at: int) -> bool:
    try:
        return os.preadv(fd, [bytearray(1)], at, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False


def forget(path: Path) -> bool:
    """Drop the file from the page cache; False where the kernel keeps it, or cannot say."""
    with path.open("rb") as file:
        fd = file.fileno()
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # to ask brings in nothing more
        try:
            return not is_there(fd, 40_000)
        except OSError:
            return False


@pytest.mark.parametrize("first", [0, 100_000, SENDING_BYTES])
async def test_file_that_left_the_cache_is_whole_and_never_waited_for_on_the_loop(
    tmp_path: Path, waiting: list[str], first: int
) -> None:
    """All of it but 1 MiB behind `first`, where that is not 0."""
    async with running_worker(tmp_path) as bench:
        path = bench.reader._blob(bench.reader.keep(CRATE_KEY, CONTENT).entry.digest)
        waiting.clear()
        if not forget(path):
            pytest.skip("this file is kept in memory")
        if first:
            with path.open("rb", buffering=0) as file:
                file.seek(first)
                file.readinto(bytearray(1 << 20))
        assert await ask(bench) == (200, CONTENT)
        assert bench.count(ContentClass.CRATE, Outcome.HIT) == (1, len(CONTENT))
        assert {name.partition("_")[0] for name in waiting} <= {"cold-pages"}


async def test_slow_reader_holds_nothing_and_counts_what_the_kernel_took(
    tmp_path: Path, sent: Sent
) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, CONTENT)
        client = SlowClient(bench)
        client.ask(GET)
        assert sent
        assert client.is_waited_for
        counted = bench.count(ContentClass.CRATE, Outcome.HIT)[1]
        answer = await client.answer()
        assert (answer.status, answer.content) == (200, CONTENT)
        assert 0 < counted < 300_000
        assert client.most_held_bytes == 0
        assert bench.count(ContentClass.CRATE, Outcome.HIT) == (1, len(CONTENT))
        client.leave()


async def test_file_that_was_cut_short_ends_the_response(tmp_path: Path, sent: Sent) -> None:
    """Never waited for as if its client were slow, never complete."""
    async with running_worker(tmp_path) as bench:
        stored = bench.reader.keep(CRATE_KEY, CONTENT)
        client = SlowClient(bench)
        client.ask(GET)
        os.truncate(bench.reader._blob(stored.entry.digest), 1_000_000)
        received = b""
        async with asyncio.timeout(10):
            while not client.is_aborted:
                received += client.take()
                await asyncio.sleep(0)
        received += client.take()
        assert received.partition(b"\r\n\r\n")[2] == CONTENT[:1_000_000]
        client.leave()
        assert bench.count_of("crate", "hit", "cut") == 1


async def test_client_that_leaves_meanwhile_is_cut(tmp_path: Path, sent: Sent) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, CONTENT)
        _, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(f"{GET}\r\nHost: m\r\n\r\n".encode())
        async with asyncio.timeout(10):
            while not sent:
                await asyncio.sleep(0.001)
            writer.transport.abort()
            while bench.count_of("crate", "hit", "cut") == 0:
                await asyncio.sleep(0.001)
        assert bench.count(ContentClass.CRATE, Outcome.HIT)[1] < len(CONTENT)


async def test_fast_clients_at_once_get_every_byte(tmp_path: Path) -> None:
    """They wait for room in turns; those without a large queue too."""
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, CONTENT)
        answers = await asyncio.gather(*(ask(bench) for _ in range(34)))
        assert all(answer == (200, CONTENT) for answer in answers)
        assert bench.count(ContentClass.CRATE, Outcome.HIT) == (34, 34 * len(CONTENT))


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
async def test_file_system_that_cannot_send_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    asked = []

    def sendfile(*arguments: int) -> int:
        asked.append(arguments)
        raise OSError(number, "cannot")

    monkeypatch.setattr(os, "sendfile", sendfile)
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, CONTENT)
        for _ in range(2):
            assert await ask(bench) == (200, CONTENT)
        assert len(asked) == 1

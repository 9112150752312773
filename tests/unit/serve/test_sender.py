"""File segments: every byte once, in order, whatever the socket and the page cache do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mirror.serve.file_pages import WINDOW_BYTES, FilePages
from mirror.serve.sender import Sender, ShortSourceError
from mirror.serve.sources import ContentSource, FileSource

CONTENT = os.urandom(1_000_003)
REMAINDER_BYTES = 16_384  # what an outlet may keep beyond what it could send


class FakeOutlet:
    """Takes what `takes` says; a paused one resumes when the test says so."""

    room_bytes = WINDOW_BYTES

    def __init__(self, takes: Callable[[int], int] = lambda size: size) -> None:
        self._takes = takes
        self.received = bytearray()
        self.is_paused = False
        self.pauses_on_push = False
        self.is_gone = False

    def write_some(self, view: memoryview) -> int:
        if self.is_gone:
            raise ConnectionResetError
        taken = min(len(view), self._takes(len(view)))
        if taken < len(view):
            taken = min(len(view), taken + REMAINDER_BYTES)
            self.is_paused = self.pauses_on_push
        self.received += view[:taken]
        return taken


class ColdPages(FilePages):
    """Every other window is cold; warming takes a turn of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.warmed: set[int] = set()

    def read(self, fd: int, offset: int, size_bytes: int) -> memoryview | None:
        if (offset // WINDOW_BYTES) % 2 and offset not in self.warmed:
            return None
        return super().read(fd, offset, size_bytes)

    def warm(self, fd: int, offset: int) -> asyncio.Future[None]:
        self.warmed.add(offset)
        return super().warm(fd, offset)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "takes",
    [
        pytest.param(lambda size: size, id="all"),
        pytest.param(lambda size: size // 3, id="a-third"),
        pytest.param(lambda size: 0, id="nothing"),
        pytest.param(lambda size: 1, id="one-byte"),
    ],
)
@pytest.mark.parametrize("segment", [(0, len(CONTENT)), (1, 2), (300_000, 900_001)])
async def test_segment_arrives_whole(
    file: Path, takes: Callable[[int], int], segment: tuple[int, int]
) -> None:
    outlet = FakeOutlet(takes)
    counted: list[int] = []
    sources = (FileSource(FilePages(), os.open(file, os.O_RDONLY)), ContentSource(CONTENT))
    for source in sources:
        outlet.received.clear()
        counted.clear()
        sender = Sender(outlet, source, segment[0], counted.append)
        await sender.send(segment[1])
        sender.close()
        assert outlet.received == CONTENT[slice(*segment)]
        assert sum(counted) == segment[1] - segment[0]


def test_window_of_content_is_a_view() -> None:
    source = ContentSource(CONTENT)
    window = source.read(10, len(CONTENT))
    assert window is not None
    assert window.obj is CONTENT
    assert len(window) == len(CONTENT) - 10
    assert not source.read(len(CONTENT), 1)
    source.close()


async def test_sender_goes_on_in_another_source_of_the_same_bytes(file: Path) -> None:
    outlet = FakeOutlet()
    sender = Sender(outlet, ContentSource(CONTENT), 0, lambda _: None)
    await sender.send(500_000)
    sender.replace(FileSource(FilePages(), os.open(file, os.O_RDONLY)))
    await sender.send(len(CONTENT))
    sender.close()
    assert outlet.received == CONTENT


async def test_remainder_that_left_at_once_does_not_hang(file: Path) -> None:
    """The transport may send what it is handed without ever pausing; then nobody calls back."""
    outlet = FakeOutlet(lambda size: size - 1)
    sender = Sender(outlet, FileSource(FilePages(), os.open(file, os.O_RDONLY)), 0, lambda _: None)
    await asyncio.wait_for(sender.send(len(CONTENT)), 2)
    sender.close()


async def test_paused_outlet_is_left_alone_until_it_resumes(file: Path) -> None:
    outlet = FakeOutlet(lambda _: 100)
    outlet.pauses_on_push = True
    sender = Sender(outlet, FileSource(FilePages(), os.open(file, os.O_RDONLY)), 0, lambda _: None)
    sending = asyncio.create_task(sender.send(len(CONTENT)))
    while not sending.done():
        await asyncio.sleep(0)
        before = len(outlet.received)
        sender.resume()
        assert len(outlet.received) == before or sending.done()
        outlet.is_paused = False
        sender.resume()
        await asyncio.sleep(0)
    sender.close()
    assert outlet.received == CONTENT


async def test_cold_windows_are_warmed_by_a_thread(file: Path) -> None:
    outlet, pages = FakeOutlet(), ColdPages()
    sender = Sender(outlet, FileSource(pages, os.open(file, os.O_RDONLY)), 0, lambda _: None)
    await asyncio.wait_for(sender.send(len(CONTENT)), 5)
    sender.close()
    pages.close()
    assert outlet.received == CONTENT
    assert pages.warmed == {WINDOW_BYTES, 3 * WINDOW_BYTES}


async def test_descriptor_outlives_a_thread_that_reads_it(file: Path) -> None:
    outlet, pages = FakeOutlet(), ColdPages()
    fd = os.open(file, os.O_RDONLY)
    sender = Sender(outlet, FileSource(pages, fd), WINDOW_BYTES, lambda _: None)
    sender.send_until(len(CONTENT), lambda _: None)
    assert "warming" in repr(sender)
    sender.close()
    assert is_open(fd)
    while is_open(fd):
        await asyncio.sleep(0.001)
    pages.close()
    assert outlet.received == b""


async def test_short_file_is_an_error(file: Path) -> None:
    sender = Sender(
        FakeOutlet(), FileSource(FilePages(), os.open(file, os.O_RDONLY)), 0, lambda _: None
    )
    with pytest.raises(ShortSourceError):
        await sender.send(len(CONTENT) + 1)
    sender.close()


async def test_lost_connection_ends_the_sending(file: Path) -> None:
    outlet = FakeOutlet()
    outlet.is_gone = True
    sender = Sender(outlet, FileSource(FilePages(), os.open(file, os.O_RDONLY)), 0, lambda _: None)
    with pytest.raises(ConnectionResetError):
        await sender.send(10)
    sender.close()


async def test_cancelled_send_leaves_the_descriptor_to_close(file: Path) -> None:
    outlet = FakeOutlet(lambda _: 0)
    outlet.pauses_on_push = True
    fd = os.open(file, os.O_RDONLY)
    sender = Sender(outlet, FileSource(FilePages(), fd), 0, lambda _: None)
    sending = asyncio.create_task(sender.send(len(CONTENT)))
    await asyncio.sleep(0)
    sending.cancel()
    await asyncio.wait([sending])
    assert is_open(fd)
    sender.close()
    sender.close()
    assert not is_open(fd)


def test_file_system_without_nowait_is_read_plainly(file: Path) -> None:
    class OldFilePages(FilePages):
        refusals = 0

        def _preadv(self, fd: int, window: memoryview, offset: int, flags: int) -> int:
            if flags:
                self.refusals += 1
                raise OSError(95, "Operation not supported")
            return super()._preadv(fd, window, offset, flags)

    pages = OldFilePages()
    fd = os.open(file, os.O_RDONLY)
    for offset in (0, 100):
        window = pages.read(fd, offset, 10)
        assert window is not None
        assert bytes(window) == CONTENT[offset : offset + 10]
    os.close(fd)
    pages.close()
    assert pages.refusals == 1

"""What the worker's tests stand on: a store in memory and files, a scripted keeper, a log."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import math
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from mirror.accounting.counters import Counters
from mirror.accounting.layout import OTHER, SERVED_COLUMNS, Outcome, layout_of
from mirror.accounting.uses import Use
from mirror.config import Config, DurationOrZero, Freshness, Serve
from mirror.fill.bodies import InlineBody, Reply
from mirror.fill.messages import Ask, Failed
from mirror.route.route import ContentClass
from mirror.serve.ports import GroupTable, RequestLog
from mirror.serve.tls_listening import TlsListening
from mirror.serve.worker import Worker
from mirror.store.entry import Attestation, Entry, NoVariant, Stored
from mirror.store.page import SharedPage
from mirror.store.reader import BlobChanged, BlobFile, BlobMissing

INDEX_KEY = "index:/se/rd/serde"
INDEX_TARGET = "/index/se/rd/serde"
CRATE_KEY = "crates:/crates/serde/serde-1.0.0.crate"
CRATE_TARGET = "/crates/serde/serde-1.0.0.crate"
LAST_MODIFIED = 1_700_000_000
# Whoever asks for what is stale waits for the keeper: most tests are about what it says then.
WAITING = Freshness(stale_while_revalidate=DurationOrZero(0))


class FakeClock:
    """Both clocks, moved by hand; begins at the real time."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0
        self.monotonic_s = 1000.0

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.monotonic_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self.monotonic_s += seconds


@dataclass
class RecordingLog:
    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def info(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    warning = info
    error = info

    def names(self) -> list[str]:
        return [name for name, _ in self.events]


def make_entry(key: str, content: bytes, **changes: object) -> Entry:
    entry = Entry(
        key=key,
        status=200,
        digest=hashlib.sha256(content).digest(),
        length=len(content),
        media_type="text/plain",
        last_modified=LAST_MODIFIED,
        upstream_etag="",
        upstream_last_modified="",
        fetched_at=1_799_999_990.0,
        confirmed_at=1_799_999_990.0,
        fresh_until=math.inf,
        proof="index",
    )
    return replace(entry, **changes)  # type: ignore[arg-type]  # names are checked by replace


class FakeReader:
    """A store that the test fills: entries in memory, blobs in a directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: dict[str, Stored] = {}
        self.variants: dict[bytes, Stored | NoVariant] = {}
        self.is_readable = True
        self.lookups = 0
        self.open_fds: set[int] = set()

    def keep(self, key: str, content: bytes, **changes: object) -> Stored:
        entry = make_entry(key, content, **changes)
        attestation = None
        if entry.status == 200:
            path = self._blob(entry.digest)
            path.write_bytes(content)
            attestation = _identify(path.stat())
        stored = Stored(entry=entry, attestation=attestation)
        self.entries[key] = stored
        return stored

    def code(self, stored: Stored) -> Stored:
        """Store the gzip variant of `stored`, as the keeper makes it."""
        form = gzip.compress(self._blob(stored.entry.digest).read_bytes(), mtime=0)
        digest = hashlib.sha256(form).digest()
        path = self._blob(digest)
        path.write_bytes(form)
        entry = replace(stored.entry, digest=digest, length=len(form))
        variant = Stored(entry=entry, attestation=_identify(path.stat()))
        self.variants[stored.entry.digest] = variant
        return variant

    def damage(self, stored: Stored, content: bytes) -> None:
        path = self._blob(stored.entry.digest)
        other = path.with_suffix(".damaged")
        other.write_bytes(content)  # beside the former: it may not get the same inode number
        other.replace(path)

    def evict(self, stored: Stored) -> None:
        self._blob(stored.entry.digest).unlink()

    def lookup(self, key: str) -> Stored | None:
        self.lookups += 1
        return self.entries.get(key)

    def variant(self, stored: Stored) -> Stored | NoVariant:
        return self.variants.get(stored.entry.digest, NoVariant.UNKNOWN)

    def open_blob(self, stored: Stored) -> BlobFile | BlobMissing | BlobChanged:
        try:
            fd = os.open(self._blob(stored.entry.digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return BlobMissing()
        if _identify(os.fstat(fd)) != stored.attestation:
            os.close(fd)
            return BlobChanged()
        return BlobFile(fd)

    def load_small(self, stored: Stored) -> bytes | BlobMissing | BlobChanged:
        opened = self.open_blob(stored)
        if not isinstance(opened, BlobFile):
            return opened
        with os.fdopen(opened.fd, "rb") as file:
            content = file.read()
        if hashlib.sha256(content).digest() != stored.entry.digest:
            return BlobChanged()
        return content

    def refresh(self) -> bool:
        return self.is_readable

    def _blob(self, digest: bytes) -> Path:
        return self._path / digest.hex()


def _identify(stat: os.stat_result) -> Attestation:
    return Attestation(inode=stat.st_ino, size=stat.st_size, ctime_ns=stat.st_ctime_ns)


Script = Callable[[Ask], Awaitable[Reply]]


async def _absent(_: Ask) -> Reply:
    return Failed(status=404, reason="upstream says so")


class FakeKeeper:
    """Answers as the test says; remembers what it was asked."""

    def __init__(self) -> None:
        self.script: Script = _absent
        self.asked: list[Ask] = []
        self.used_keys: list[str] = []
        self.uses: list[Use] = []
        self.checked_keys: list[str] = []
        self.revalidated_keys: list[str] = []
        self.coded_keys: list[str] = []
        self.is_connected = True

    async def ask(self, ask: Ask) -> Reply:
        self.asked.append(ask)
        return await self.script(ask)

    def used(
        self, key: str, requests: int, content_bytes: int, downloads: int, length_bytes: int, /
    ) -> None:
        self.used_keys += [key] * requests
        self.uses.append(Use(key, requests, content_bytes, downloads, length_bytes))

    def check(self, key: str) -> None:
        self.checked_keys.append(key)

    def revalidate(self, key: str) -> None:
        self.revalidated_keys.append(key)

    def code(self, key: str) -> None:
        self.coded_keys.append(key)

    def answer(self, reply: Reply) -> None:
        async def script(_: Ask) -> Reply:
            return reply

        self.script = script

    def answer_inline(self, key: str, content: bytes, outcome: str) -> None:
        self.answer(InlineBody(entry=make_entry(key, content), outcome=outcome, content=content))


QUIET_S = 0.5  # nothing more is coming
PATIENCE_S = 10.0  # for an answer that must come, on a machine that is busy


@dataclass
class Bench:
    """A running worker and everything around it."""

    worker: Worker
    reader: FakeReader
    keeper: FakeKeeper
    page: SharedPage
    counters: Counters
    clock: FakeClock
    log: RecordingLog
    port: int
    tls_port: int  # 0: it has none
    stop: asyncio.Event
    running: asyncio.Task[None]

    def count(self, content_class: ContentClass | None, outcome: Outcome) -> tuple[int, int]:
        """Requests and content bytes of one row, up to date."""
        self.worker.accounts.settle()
        row = self.counters.row(content_class, outcome)
        return self.counters.view[row], self.counters.view[row + 1]

    def count_of(self, *names: str) -> int:
        """One column of one row, of clients of no group, up to date."""
        *row, name = names
        self.worker.accounts.settle()
        at = self.counters.layout.row("served", OTHER, *row)
        return self.counters.view[at + SERVED_COLUMNS.index(name)]

    async def exchange(self, raw: bytes, client: str = "127.0.0.1") -> bytes:
        """Send bytes on a connection of their own; what comes back until the server closes, one
        request has its whole answer, or `QUIET_S` of silence."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=(client, 0)
        )
        try:
            writer.write(raw)
            # An upgraded connection stays open, and what comes is of HTTP/2.
            is_plain = raw.startswith(b"GET ") and raw.count(b"\r\n\r\n") == 1
            is_plain = is_plain and b"\r\nUpgrade: h2c\r\n" not in raw
            quiet_s = PATIENCE_S if is_plain else QUIET_S
            return await read_all(reader, quiet_s, until_whole=is_plain)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def get(
        self, target: str, *lines: str, method: str = "GET", client: str = "127.0.0.1"
    ) -> Answer:
        """One request on a connection of its own, closed after it."""
        head = [f"{method} {target} HTTP/1.1", "Host: mirror.test", "Connection: close", *lines]
        raw = "\r\n".join(head).encode() + b"\r\n\r\n"
        return parse_answer(await self.exchange(raw, client), is_head=method == "HEAD")


def is_whole(received: bytes) -> bool:
    """Whether the answer to one GET has all the content that its head announces."""
    head, found, content = received.partition(b"\r\n\r\n")
    if not found:
        return False
    length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
    if head.startswith(b"HTTP/1.1 304"):
        return True
    if length is None:
        return (b"\r\n" + content).endswith(b"\r\n0\r\n\r\n")
    return len(content) >= int(length[1])


async def read_all(
    reader: asyncio.StreamReader, quiet_s: float = QUIET_S, *, until_whole: bool = False
) -> bytes:
    received = bytearray()
    while not (until_whole and is_whole(bytes(received))):
        try:
            piece = await asyncio.wait_for(reader.read(1 << 20), quiet_s)
        except TimeoutError:
            return bytes(received)
        except ConnectionError:
            return bytes(received)
        if not piece:
            return bytes(received)
        received += piece
    return bytes(received)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One response; `is_complete`: its framing says that all of it came."""

    status: int
    fields: dict[str, str]
    content: bytes
    is_complete: bool
    rest: bytes


def parse_answer(raw: bytes, *, is_head: bool = False) -> Answer:
    """Read the first response by its framing (a checker of its own, apart from the product)."""
    head, _, rest = raw.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        assert name.lower() not in fields, f"{name} twice"
        fields[name.lower()] = value
    status = int(status_line.split(" ")[1])
    if is_head or status in (304, 101):
        return Answer(status=status, fields=fields, content=b"", is_complete=True, rest=rest)
    if fields.get("transfer-encoding") == "chunked":
        content, is_complete, rest = _unchunk(rest)
    else:
        length = int(fields["content-length"])
        content, is_complete, rest = rest[:length], len(rest) >= length, rest[length:]
    return Answer(status=status, fields=fields, content=content, is_complete=is_complete, rest=rest)


def _unchunk(raw: bytes) -> tuple[bytes, bool, bytes]:
    content = b""
    while True:
        line, crlf, rest = raw.partition(b"\r\n")
        if not crlf:
            return content, False, b""
        size = int(line, 16)
        if len(rest) < size + 2:
            return content + rest[:size], False, b""
        assert rest[size : size + 2] == b"\r\n"
        content, raw = content + rest[:size], rest[size + 2 :]
        if size == 0:
            return content, True, raw


def listening_socket() -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.bind(("127.0.0.1", 0))
    return listening


@asynccontextmanager
async def running_worker(
    path: Path,
    config: Config | None = None,
    *,
    beside: Bench | None = None,
    tls: ssl.SSLContext | None = None,
    groups: GroupTable | None = None,
    request_log: RequestLog | None = None,
) -> AsyncIterator[Bench]:
    """Start a worker on 127.0.0.1, port chosen by the kernel; ended on the way out.

    `beside`: it shares the store, the keeper, the clock and (by a mapping of its own) the page.
    `tls`: it has a second port that speaks TLS.
    """
    blobs = path / "blobs"
    blobs.mkdir(exist_ok=True)
    clock = FakeClock() if beside is None else beside.clock
    log = RecordingLog()
    reader = FakeReader(blobs) if beside is None else beside.reader
    keeper = FakeKeeper() if beside is None else beside.keeper
    page_path, slot = str(path / "shared.page"), 1 if beside is None else 2
    page = SharedPage.create(page_path, 4) if beside is None else SharedPage.attach(page_path)
    counters = Counters.open(str(path), slot, layout_of(() if groups is None else groups.names))
    listening = listening_socket()
    port = listening.getsockname()[1]
    tls_listening = None if tls is None else listening_socket()
    worker = Worker(
        config or Config(freshness=WAITING),
        slot,
        [listening],
        reader,
        keeper,
        counters,
        page,
        log,
        loop_token="rust-mirror",
        clock=clock,
        tls=(
            TlsListening(context=tls, sockets=(tls_listening,))
            if tls is not None and tls_listening is not None
            else None
        ),
        groups=groups,
        request_log=request_log,
    )
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    try:
        while "worker-ready" not in log.names():
            await asyncio.sleep(0)
            if running.done():
                running.result()
        yield Bench(
            worker=worker,
            reader=reader,
            keeper=keeper,
            page=page,
            counters=counters,
            clock=clock,
            log=log,
            port=port,
            tls_port=0 if tls_listening is None else tls_listening.getsockname()[1],
            stop=stop,
            running=running,
        )
    finally:
        running.cancel()
        await asyncio.wait([running])
        # What both sides closed last is closed in the turns that follow; a loop that ends before
        # them leaves open transports to the collector, which warns inside some other test.
        for _ in range(5):
            await asyncio.sleep(0)
        listening.close()
        if tls_listening is not None:
            tls_listening.close()
        page.close()
        counters.close()


def config_with(**serve: object) -> Config:
    return Config(serve=msgspec.structs.replace(Serve(), **serve), freshness=WAITING)

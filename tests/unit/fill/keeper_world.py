"""A keeper's filler over a real store, with an upstream that plays a script.

Rules:
1. An upstream object is served with validators, ranges and 304s unless a step of its script says
   otherwise; every step that was played is counted, so that a test can say that its fault fired.
2. Time moves only by `FakeClock`; pauses between tries take no time and are counted.

Runs in: tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import hashlib
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mirror.clock import Clock
from mirror.config import ByteSize, Config, State, Upstream
from mirror.config import Store as StoreConfig
from mirror.errors import UpstreamError
from mirror.fill.filler import Filler
from mirror.fill.messages import Ask, Purpose
from mirror.fill.replies import Growing, Inline, Reply
from mirror.route.route import UpstreamName
from mirror.store.entry import Entry, Stored
from mirror.store.files import RealFiles
from mirror.store.page import SharedPage
from mirror.store.reader import StoreReader
from mirror.store.store import Store

START = 1_800_000_000.0  # 2027-01-15
RELEASES, CRATES, INDEX = UpstreamName.RELEASES, UpstreamName.CRATES, UpstreamName.INDEX


class FakeClock:
    def __init__(self) -> None:
        self.moved_s = 0.0

    def now(self) -> float:
        return START + self.moved_s

    def monotonic(self) -> float:
        return 1000.0 + self.moved_s

    def move(self, seconds: float) -> None:
        self.moved_s += seconds


class RecordingLog:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []
        self.errors: list[str] = []

    def info(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    warning = info

    def error(self, event: str, /, **fields: object) -> None:
        self.errors.append(event)
        self.info(event, **fields)

    def named(self, event: str) -> list[dict[str, object]]:
        return [fields for name, fields in self.events if name == event]


@dataclass(kw_only=True)
class Step:
    """What happens to one request instead of a good answer; fields left empty change nothing."""

    status: int = 0  # answered with this status and no content
    error: str = ""  # no answer: the pool gives up
    cut_at: int = -1  # the body breaks after so many of its bytes
    content: bytes | None = None  # other content, with its own length
    fields: dict[str, str] = field(default_factory=dict)
    ignores_range: bool = False
    gate: asyncio.Event | None = None  # the head waits for it
    body_gate: asyncio.Event | None = None  # the rest behind `gate_at` waits for it
    gate_at: int = 0


@dataclass(kw_only=True)
class Resource:
    content: bytes
    etag: str = ""
    last_modified: str = ""
    has_length: bool = True
    has_gzip: bool = True
    chunk: int = 65536
    steps: list[Step] = field(default_factory=list)


@dataclass(kw_only=True)
class Request:
    path: str
    fields: dict[str, str]
    sent: int = 0
    status: int = 0


class Response:
    def __init__(
        self, request: Request, status: int, fields: Mapping[str, str], body: AsyncIterator[bytes]
    ) -> None:
        request.status = status
        self.status = status
        self.fields = fields
        self._body = body

    def chunks(self) -> AsyncIterator[bytes]:
        return self._body


class ScriptedPool:
    """An upstream; what is not in `resources` is answered with `absent_status`."""

    def __init__(self) -> None:
        self.resources: dict[str, Resource] = {}
        self.requests: list[Request] = []
        self.played: list[Step] = []
        self.absent_status = 404
        self.outage = ""
        self.open = 0

    def put(self, path: str, content: bytes, *, etag: str = "auto", **more: object) -> Resource:
        tag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
        resource = Resource(content=content, etag=tag if etag == "auto" else etag)
        for name, value in more.items():
            setattr(resource, name, value)
        self.resources[path] = resource
        return resource

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def sent(self, path: str) -> int:
        return sum(request.sent for request in self.requests if request.path == path)

    @contextlib.asynccontextmanager
    async def get(self, path: str, *, fields: Mapping[str, str]) -> AsyncIterator[Response]:
        request = Request(path=path, fields=dict(fields))
        self.requests.append(request)
        if self.outage:
            raise UpstreamError("upstream", self.outage, upstream_status=503)
        resource = self.resources.get(path)
        step = Step()
        if resource is not None and resource.steps:
            step = resource.steps.pop(0)
            self.played.append(step)
        self.open += 1
        try:
            if step.gate is not None:
                await step.gate.wait()
            if step.error:
                raise UpstreamError("upstream", step.error)
            yield self._response(request, resource, step)
        finally:
            self.open -= 1

    def _response(self, request: Request, resource: Resource | None, step: Step) -> Response:
        if step.status or resource is None:
            return Response(request, step.status or self.absent_status, {}, _no_body())
        fields = {"etag": resource.etag, "last-modified": resource.last_modified}
        fields = {name: value for name, value in fields.items() if value}
        if resource.etag and request.fields.get("If-None-Match") == resource.etag:
            return Response(request, 304, fields, _no_body())
        content = resource.content if step.content is None else step.content
        status, start = 200, 0
        range_ = request.fields.get("Range", "")
        if range_ and not step.ignores_range and request.fields.get("If-Range") == resource.etag:
            status, start = 206, int(range_.removeprefix("bytes=").removesuffix("-"))
            fields["content-range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        if resource.has_gzip and request.fields.get("Accept-Encoding") == "gzip":
            body = gzip.compress(body)
            fields["content-encoding"] = "gzip"
        if resource.has_length:
            fields["content-length"] = str(len(body))
        fields.update(step.fields)
        return Response(request, status, fields, _body(request, resource, step, body))


async def _no_body() -> AsyncGenerator[bytes, None]:
    nothing: tuple[bytes, ...] = ()
    for chunk in nothing:
        yield chunk


async def _body(
    request: Request, resource: Resource, step: Step, body: bytes
) -> AsyncGenerator[bytes, None]:
    at = 0
    while at < len(body):
        end = min(at + resource.chunk, len(body))
        if step.body_gate is not None:
            if at >= step.gate_at:
                await step.body_gate.wait()
            else:
                end = min(end, step.gate_at)
        if 0 <= step.cut_at < end:
            end = step.cut_at
        request.sent += end - at
        if end > at:
            yield body[at:end]
        if end == step.cut_at:
            raise UpstreamError("upstream", "the content broke off", upstream_status=200)
        at = end
        await asyncio.sleep(0)


class FailingFiles(RealFiles):
    """A disk that is full, or does not sync, from when it is told so."""

    def __init__(self) -> None:
        self.is_full = False
        self.refused = 0
        self.may_sync = threading.Event()
        self.may_sync.set()
        self.waiting_syncs = 0

    def sync(self, fd: int) -> None:
        self.waiting_syncs += 1
        try:
            self.may_sync.wait(10)
        finally:
            self.waiting_syncs -= 1
        super().sync(fd)

    def pwrite(self, fd: int, content: bytes | memoryview, offset: int) -> int:
        if self.is_full:
            self.refused += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().pwrite(fd, content, offset)


class World:
    """One keeper. Use as `async with`; `restart` is a crash and a start."""

    def __init__(
        self, path: Path, *, budget: int = 1 << 30, max_object: int = 1 << 30, **upstream: object
    ) -> None:
        self.path = path
        self.clock = FakeClock()
        self.log = RecordingLog()
        self.channel_dates: dict[str, str] = {}
        self.files = FailingFiles()
        self.pools = {name: ScriptedPool() for name in UpstreamName}
        self.releases, self.crates = self.pools[RELEASES], self.pools[CRATES]
        self.index = self.pools[INDEX]
        self.config = msgspec.structs.replace(
            Config(),
            store=StoreConfig(
                path=str(path / "store"),
                budget=ByteSize(budget),
                max_object=ByteSize(max_object),
            ),
            state=State(path=str(path / "state")),
            upstream=msgspec.structs.replace(Upstream(), **upstream),
        )
        self.pauses: list[float] = []
        self._vouched: dict[str, bytes] = {}
        self.stale_patience_s = 60.0
        (path / "store").mkdir(parents=True)
        (path / "state").mkdir()
        self.page = SharedPage.create(str(path / "state" / "page"), 2)
        self.pause_gate: asyncio.Event | None = None
        self._open()

    def _open(self) -> None:
        clock: Clock = self.clock
        self.store = Store.open(
            self.config.store, self.config.state, self.files, clock, self.page, log=self.log
        )
        self.reader = StoreReader(self.config.store.path)

    def start(self) -> None:
        self.filler = Filler(
            self.store,
            self.pools,
            self.config,
            self.clock,
            self.log,
            reader=self.reader,
            note_channel=self.channel_dates.__setitem__,
            sleep=self.sleep,
            jitter=lambda: 0.0,
            stale_patience_s=self.stale_patience_s,
        )

    async def __aenter__(self) -> World:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.filler.aclose()
        self.store.close()
        self.reader.close()
        open_responses = sum(pool.open for pool in self.pools.values())
        assert open_responses == 0, "an upstream connection leaked"

    async def lose_index(self) -> None:
        """Restart without `index.db`: blobs and heads are all that is left."""
        await self.filler.aclose()
        self.store.close()
        self.reader.close()
        (self.path / "store" / "index.db").unlink()
        self._open()
        self.start()

    async def restart(self) -> None:
        await self.filler.aclose()
        self.store.close()
        self._open()
        self.start()

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.move(seconds)
        if self.pause_gate is not None:
            await self.pause_gate.wait()
        await asyncio.sleep(0)

    async def ask(self, key: str, purpose: Purpose = Purpose.FETCH, claim: bytes = b"") -> Reply:
        return await self.filler.ask(Ask(purpose=purpose, key=key, claim=claim))

    async def settled(self) -> None:
        """Wait until no flight runs."""
        async with asyncio.timeout(10):
            while self.filler.flights:
                await asyncio.sleep(0.001)

    def vouch(self, path: str, digest: bytes) -> None:
        """Let a manifest that is not stored state `digest`."""
        self._vouched[path] = digest
        content = repr(sorted(self._vouched.items())).encode()
        manifest = Entry(
            key="releases:/dist/channel-rust-vouching.toml",
            status=200,
            digest=sha256(content),
            length=len(content),
            media_type="",
            last_modified=0,
            upstream_etag="",
            upstream_last_modified="",
            fetched_at=START,
            confirmed_at=START,
            fresh_until=START,
            proof="generation",
        )
        self.store.vouch(manifest, self._vouched.items())

    def stored(self, key: str) -> Stored | None:
        return self.store.index.lookup(key)

    def stored_content(self, key: str) -> bytes:
        stored = self.stored(key)
        assert stored is not None
        return Path(self.store.blob_path(stored.entry.digest)).read_bytes()

    def partials(self) -> list[str]:
        return sorted(path.name for path in (self.path / "store" / "partial").iterdir())

    def quarantined(self) -> list[Path]:
        return [p for p in (self.path / "store" / "quarantine").iterdir() if not p.suffix]


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def sha256_file(content: bytes, name: str = "file") -> bytes:
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()


def noise(size: int, seed: int = 1) -> bytes:
    """Deterministic bytes without a period."""
    block = b"".join(hashlib.sha256(b"%d.%d" % (seed, n)).digest() for n in range(4096))
    copies = [block[n % 997 :] + block[: n % 997] for n in range(size // len(block) + 1)]
    return b"".join(copies)[:size]


def index_lines(name: str, versions: Mapping[str, bytes]) -> bytes:
    lines = [
        json.dumps({"name": name, "vers": version, "deps": [], "cksum": sha256(body).hex()})
        for version, body in versions.items()
    ]
    return "\n".join(lines).encode() + b"\n"


async def ended(reply: Reply) -> Growing:
    """Wait until a growing file is over."""
    assert isinstance(reply, Growing), reply
    async with asyncio.timeout(10):
        while not reply.file.is_over:
            await asyncio.sleep(0.001)
    return reply


def inline(reply: Reply) -> Inline:
    assert isinstance(reply, Inline), reply
    return reply

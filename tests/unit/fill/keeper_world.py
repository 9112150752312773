"""A keeper's filler over a real store, with scripted upstreams.

Rules:
1. Time moves only by `FakeClock`; pauses between tries take no time and are counted.

Runs in: tests.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mirror.clock import Clock
from mirror.config import ByteSize, Config, State, Trust, Upstream
from mirror.config import Store as StoreConfig
from mirror.fill.disowned import withdraw_disowned
from mirror.fill.filler import Filler
from mirror.fill.messages import Ask, Purpose
from mirror.fill.replies import Growing, Inline, Reply
from mirror.route.route import UpstreamName
from mirror.store.entry import Entry, Stored
from mirror.store.files import RealFiles
from mirror.store.page import SharedPage
from mirror.store.reader import StoreReader
from mirror.store.state import StateDatabase
from mirror.store.store import Store
from tests.unit.fill.scripted_pool import ScriptedPool

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


class FailingFiles(RealFiles):
    """A disk that is full, or does not sync or write, from when it is told so."""

    def __init__(self) -> None:
        self.is_full = False
        self.refused = 0
        self.may_sync = threading.Event()
        self.may_sync.set()
        self.waiting_syncs = 0
        self.may_write = threading.Event()
        self.may_write.set()
        self.writes = 0

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
        self.writes += 1
        self.may_write.wait(10)
        return super().pwrite(fd, content, offset)


class World:
    """One keeper. Use as `async with`; `restart` is a crash and a start."""

    def __init__(
        self,
        path: Path,
        *,
        budget: int = 1 << 30,
        max_object: int = 1 << 30,
        trust: Mapping[str, object] | None = None,
        **upstream: object,
    ) -> None:
        self.path = path
        self.clock = FakeClock()
        self.log = RecordingLog()
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
            # Most tests are not about signatures; those that are say so.
            trust=msgspec.structs.replace(
                Trust(), **{"channel_manifest": "digest", **(trust or {})}
            ),
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
        self.state = StateDatabase.open(str(self.path / "state" / "state.db"))
        withdraw_disowned(self.store, self.state, self.log)

    def start(self) -> None:
        self.filler = Filler(
            self.store,
            self.pools,
            self.config,
            self.clock,
            self.log,
            reader=self.reader,
            trust=self.state,
            sleep=self.sleep,
            jitter=lambda: 0.0,
            stale_patience_s=self.stale_patience_s,
        )

    async def __aenter__(self) -> World:
        self.start()
        await self.filler.reprove()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.filler.aclose()
        self.store.close()
        self.reader.close()
        self.state.close()
        open_responses = sum(pool.open for pool in self.pools.values())
        assert open_responses == 0, "an upstream connection leaked"

    async def lose_index(self) -> None:
        """Restart without `index.db`: blobs and heads are all that is left."""
        await self.filler.aclose()
        self.store.close()
        self.reader.close()
        self.state.close()
        (self.path / "store" / "index.db").unlink()
        self._open()
        self.start()
        await self.filler.reprove()

    async def lose_state(self) -> None:
        """Restart without `state.db`."""
        await self.filler.aclose()
        self.store.close()
        self.reader.close()
        self.state.close()
        for path in (self.path / "state").glob("state.db*"):
            path.unlink()
        self._open()
        self.start()
        await self.filler.reprove()

    async def restart(self) -> None:
        await self.filler.aclose()
        self.store.close()
        self.reader.close()
        self.state.close()
        self._open()
        self.start()
        await self.filler.reprove()

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

    async def storing(self) -> None:
        """Wait until the store takes content again."""
        async with asyncio.timeout(10):
            while not self.store.trouble.is_storing:
                await asyncio.sleep(0.01)

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
            proof="signed-generation",
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

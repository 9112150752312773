"""An origin that plays scripted answers, byte by byte, and keeps what it was asked.

Runs in: pytest.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mirror.accounting.layout import TOTALS
from mirror.clock import Clock, SystemClock
from mirror.config import Crates, Duration, Index, Releases, Upstream
from mirror.upstream.pools import Pools, open_pools

Answer = bytes | Callable[[asyncio.StreamWriter], None]


class ScriptedOrigin:
    """Answers the n-th request with the n-th answer, the last one for ever."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = list(answers)
        self.heads: list[str] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[str]:
        return [head.split("\r\n")[0] for head in self.heads]

    def fields(self, number: int = 0) -> dict[str, str]:
        lines = self.heads[number].split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        self._writers.add(writer)
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head.decode("latin-1").rstrip())
                answer = self.answers[min(len(self.heads), len(self.answers)) - 1]
                if isinstance(answer, bytes):
                    writer.write(answer)
                else:
                    answer(writer)
        self._writers.discard(writer)
        writer.close()


@dataclass(slots=True, kw_only=True)
class RecordedExchange:
    """What was reported of one request."""

    pool: str
    url: str
    path: str
    method: str
    attempt: int
    has_begun: bool = False
    status: int = 0
    head_bytes: int = 0
    received_bytes: int = 0
    ends: list[tuple[bool, str]] = field(default_factory=list)

    def begin(self) -> None:
        self.has_begun = True

    def answered(self, status: int, head_bytes: int) -> None:
        self.status, self.head_bytes = status, head_bytes

    def received(self, content_bytes: int) -> None:
        assert content_bytes >= 0
        self.received_bytes += content_bytes

    def finish(self, *, is_complete: bool, error: str = "") -> None:
        self.ends.append((is_complete, error))

    @property
    def end(self) -> tuple[bool, str]:
        """The first one counts; without any the account was left open."""
        assert self.ends, f"nobody finished {self}"
        return self.ends[0]


class RecordingMeter:
    """Keeps every exchange, in order."""

    def __init__(self) -> None:
        self.exchanges: list[RecordedExchange] = []

    def exchange(
        self, pool: str, url: str, path: str, *, method: str, attempt: int
    ) -> RecordedExchange:
        made = RecordedExchange(pool=pool, url=url, path=path, method=method, attempt=attempt)
        self.exchanges.append(made)
        return made

    @property
    def begun(self) -> list[RecordedExchange]:
        return [each for each in self.exchanges if each.has_begun]

    @property
    def statuses(self) -> list[int]:
        return [each.status for each in self.begun]

    @property
    def errors(self) -> list[str]:
        return [each.end[1] for each in self.begun]

    @property
    def received_bytes(self) -> int:
        return sum(each.received_bytes for each in self.exchanges)


class RecordingTally:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, name: str, count: int = 1) -> None:
        assert name in TOTALS
        self.counts[name] += count


class RecordingLog:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, /, **fields: object) -> None:
        self.events.append((event, fields))

    warning = error = info


class FakeClock:
    """Moves only when told."""

    def __init__(self) -> None:
        self.at = 1_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def reply(
    status: int = 200, content: bytes = b"content", *fields: str, length: int | None = None
) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *fields]
    if status != 304:
        lines.append(f"Content-Length: {len(content) if length is None else length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content


def cut(answer: bytes) -> Answer:
    """Send the answer, then reset the connection."""

    def play(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        if answer:
            # Closing with the answer in the socket; the peer sees it, then the end.
            writer.close()
        else:
            writer.transport.abort()

    return play


@contextlib.asynccontextmanager
async def origins(*scripts: Sequence[Answer]) -> AsyncIterator[list[ScriptedOrigin]]:
    started = [ScriptedOrigin(script) for script in scripts]
    for origin in started:
        await origin.start()
    try:
        yield started
    finally:
        for origin in started:
            await origin.aclose()


@contextlib.asynccontextmanager
async def pools_of(
    *urls: str,
    attempts: int = 3,
    read_timeout: float = 5.0,
    connect_timeout: float = 2.0,
    connect_to: str = "",
    contact: str = "",
    max_connections: int = 32,
    clock: Clock | None = None,
    meter: RecordingMeter | None = None,
    log: RecordingLog | None = None,
    tally: RecordingTally | None = None,
    queue_wait_s: float = 20.0,
    limits: Mapping[str, Any] | None = None,
) -> AsyncIterator[Pools]:
    """`limits`: further keys of `[upstream]`."""
    config = Upstream(
        **(limits or {}),
        attempts=attempts,
        contact=contact,
        max_connections=max_connections,
        read_timeout=Duration(read_timeout),
        connect_timeout=Duration(connect_timeout),
        releases=Releases(urls=urls, connect_to=connect_to),
        crates=Crates(urls=urls[:1]),
        index=Index(urls=urls[:1]),
    )
    pools = open_pools(
        config,
        own_token="rust-mirror-1234",
        meter=meter or RecordingMeter(),
        clock=clock or SystemClock(),
        log=log or RecordingLog(),
        backoff_first_s=0.001,
        queue_wait_s=queue_wait_s,
        tally=tally,
    )
    try:
        yield pools
    finally:
        await pools.aclose()

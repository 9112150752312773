"""An upstream that can be attacked, in two forms: simulated hosts over HTTP, or buckets in S3.

Rules:
1. Paths are those that the mirror's clients ask for: `/dist/…`, `/rustup/…`, `/crates/…` and
   `/index/…`.
2. The simulator is the truth in both forms: it makes, signs and publishes. `bring` lets what it has
   published be upstream's, which costs nothing over HTTP and an upload in S3.
3. `replace` serves an object that is consistent in itself (entity tag, checksum, length). What S3
   refuses to hold, other bytes than its checksum says, is done on the wire (`spoil_on_the_wire`),
   as is everything else about messages.
4. Over HTTP every rule of `faults.py` can be played. Through the proxy in front of S3 these can be
   played: a changed byte, a connection cut in a body, a wrong Content-Range. A body without an end
   cannot: S3 announces every length.
5. `restore_all` undoes everything; `fired` says how often what was planned has happened.

Runs in: tests.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import unquote

from mirror.simulator.process import SimulatorProcess
from mirror.simulator.tcp_proxy import ProxyCounts, TcpFaults, TcpProxy
from tests.s3_server import S3Server
from tests.scenario.upstream_objects import count_of, reference, sha256_of

BUCKET = "rust"
_SITES = ("releases", "crates", "index")
_MARKER_BYTES = 20


def site_of(path: str) -> tuple[str, str]:
    """Return the upstream host and the path there of a client's path."""
    if path.startswith("/crates/"):
        return "crates", path
    if path.startswith("/index/"):
        return "index", path.removeprefix("/index")
    return "releases", path


def key_of(path: str) -> str:
    """Return the mirror's key of a client's path."""
    return ":".join(site_of(path))


class AttackedUpstream(Protocol):
    """What a scenario may do to an upstream, whichever form it has."""

    name: str
    simulator: SimulatorProcess

    def settings(self) -> dict[str, str]:
        """Return what makes an Edge read from here."""

    def bring(self, paths: Iterable[str]) -> None:
        """Let what the simulator has at `paths` be upstream's; what it has not is absent."""

    def replace(self, path: str, content: bytes) -> None: ...

    def remove(self, path: str) -> None: ...

    def restore_all(self) -> None:
        """Undo every replacement and removal, and everything planned for the wire."""

    def cut_and_answer_wrongly(self, path: str, at: int) -> None:
        """Break the body off after `at` bytes, once, and shift the Content-Range of every resume.

        In S3 one such plan at a time.
        """

    def spoil_on_the_wire(self, path: str, at: int) -> None:
        """Change one byte of the content under the true validators and checksums."""

    def fired(self) -> int:
        """Return how often a plan for the wire has happened."""

    def requests(self, path: str) -> int:
        """Return how often the mirror has asked for `path`."""

    def stop(self) -> None: ...

    def resume(self) -> None: ...


class _Remembering:
    """What both forms share: the true content, and the digests of every false one."""

    def __init__(self, simulator: SimulatorProcess) -> None:
        self.simulator = simulator
        self.spoiled: set[str] = set()  # paths, also those that have been restored
        self.false_digests: dict[str, set[str]] = {}

    def content(self, path: str) -> bytes:
        """Return the true content; never what an attack has put there.

        Raises: urllib.error.HTTPError where there is none.
        """
        site, there = site_of(path)
        return reference(getattr(self.simulator, f"{site}_url") + there)

    def _note(self, path: str, content: bytes | None) -> None:
        self.spoiled.add(path)
        if content is None:
            return
        self.false_digests.setdefault(path, set()).add(sha256_of(content))


class HttpUpstream(_Remembering):
    """The simulator's own three hosts."""

    name = "http"

    def __init__(self, simulator: SimulatorProcess) -> None:
        super().__init__(simulator)
        self._true: dict[str, bytes] = {}
        self._own_reads: Counter[str] = Counter()

    def settings(self) -> dict[str, str]:
        return {}

    def bring(self, paths: Iterable[str]) -> None:
        """Everything is here already."""

    def content(self, path: str) -> bytes:
        # What is replaced is not to be had from the hosts until it is restored.
        if path in self._true:
            return self._true[path]
        self._own_reads[path] += 1
        return super().content(path)

    def replace(self, path: str, content: bytes) -> None:
        self._true.setdefault(path, self.content(path))
        self._note(path, content)
        site, there = site_of(path)
        self.simulator.control.replace(there, content, site=site)

    def remove(self, path: str) -> None:
        self._true.setdefault(path, self.content(path))
        self._note(path, None)
        site, there = site_of(path)
        self.simulator.control.remove(there, site=site)

    def restore_all(self) -> None:
        self._true.clear()
        self.simulator.control.restore_all()
        self.simulator.control.clear_faults()

    def cut_and_answer_wrongly(self, path: str, at: int) -> None:
        site, there = site_of(path)
        rule = {"path": there, "site": site}
        self.simulator.control.faults(
            {**rule, "kind": "cut", "at": at, "count": 1},
            {**rule, "kind": "content_range", "delta": 7, "name": "wire/content-range"},
        )

    def endless(self, path: str) -> None:
        """Send the content over and over; S3 cannot (rule 4)."""
        self._note(path, None)
        site, there = site_of(path)
        self.simulator.control.faults({"kind": "endless", "path": there, "site": site})

    def spoil_on_the_wire(self, path: str, at: int) -> None:
        site, there = site_of(path)
        rule = {"kind": "corrupt", "path": there, "site": site, "at": at}
        self.simulator.control.faults({**rule, "name": f"wire/{path}"})

    def fired(self) -> int:
        fired = self.simulator.control.faults_fired()
        return sum(count for name, count in fired.items() if name.startswith("wire/"))

    def requests(self, path: str) -> int:
        return count_of(self.simulator, key_of(path))["requests"] - self._own_reads[path]

    def stop(self) -> None:
        self.simulator.control.stop_serving()

    def resume(self) -> None:
        self.simulator.control.resume_serving()


class S3Upstream(_Remembering):
    """One bucket with a prefix per host, a proxy that spoils connections in front of it."""

    name = "s3"

    def __init__(self, simulator: SimulatorProcess, server: S3Server, secret: Path) -> None:
        super().__init__(simulator)
        self._server = server
        self._secret = secret
        self._changed: dict[str, None] = {}
        self._asked: Counter[str] = Counter()
        self._proxy = ProxyThread("127.0.0.1", server.port, self._asked)
        # Without versions: ministack answers a range of a named version with the whole object, and
        # then no Content-Range could be attacked.
        server.create_bucket(BUCKET)

    def __enter__(self) -> Self:
        self._proxy.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._proxy.stop()

    def settings(self) -> dict[str, str]:
        chosen: dict[str, str] = {}
        endpoint = f"http://127.0.0.1:{self._proxy.port}"
        for site in _SITES:
            chosen[f"upstream.{site}.urls"] = f"s3://{BUCKET}/{site}"
            chosen |= self._server.settings(site, endpoint=endpoint, secret=self._secret)
        return chosen

    def bring(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._server.put(BUCKET, _s3_key(path), self.content(path))

    def replace(self, path: str, content: bytes) -> None:
        self._changed[path] = None
        self._note(path, content)
        self._server.put(BUCKET, _s3_key(path), content)

    def remove(self, path: str) -> None:
        self._changed[path] = None
        self._note(path, None)
        self._server.delete(BUCKET, _s3_key(path))

    def restore_all(self) -> None:
        self._proxy.use(TcpFaults())
        changed = list(self._changed)
        self._changed.clear()
        self.bring(changed)

    def cut_and_answer_wrongly(self, path: str, at: int) -> None:
        marker = self.content(path)[at - _MARKER_BYTES : at]
        # The first digit of the first offset becomes another one.
        self._proxy.use(
            TcpFaults(cut_at=marker, corrupt_after=b"ontent-Range: bytes ", corrupt_bits=1)
        )

    def spoil_on_the_wire(self, path: str, at: int) -> None:
        marker = self.content(path)[at - _MARKER_BYTES : at]
        self._proxy.use(TcpFaults(corrupt_after=marker))

    def fired(self) -> int:
        return self._proxy.counts.corrupted

    def requests(self, path: str) -> int:
        return self._asked[_s3_key(path)]

    def stop(self) -> None:
        self._proxy.use(TcpFaults(refuse=True))

    def resume(self) -> None:
        self._proxy.use(TcpFaults())


class ProxyThread:
    """A `TcpProxy` on a loop in a thread; `asked` counts GET and HEAD per key of the bucket."""

    def __init__(self, host: str, port: int, asked: Counter[str]) -> None:
        self._asked = asked
        self._loop = asyncio.new_event_loop()
        self._proxy = TcpProxy(host, port, on_request=self._count)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    @property
    def counts(self) -> ProxyCounts:
        return self._proxy.counts

    def start(self) -> None:
        self._thread.start()
        self._run(self._proxy.start())
        self.port = self._proxy.port

    def stop(self) -> None:
        self._run(self._proxy.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def use(self, faults: TcpFaults) -> None:
        """Spoil from here on; open connections end, so that nobody keeps an unspoiled one."""
        self._run(self._exchange(faults))

    async def _exchange(self, faults: TcpFaults) -> None:
        self._proxy.faults = faults
        self._proxy.counts.cut = 0
        await self._proxy.end_connections()

    def _run(self, coroutine: object) -> None:
        assert asyncio.iscoroutine(coroutine)
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def _count(self, piece: bytes) -> None:
        line, _, _ = piece.partition(b"\r\n")
        words = line.split(b" ")
        if len(words) == 3 and words[0] in (b"GET", b"HEAD"):
            target = unquote(words[1].decode("latin-1")).partition("?")[0]
            self._asked[target.removeprefix(f"/{BUCKET}/")] += 1


def _s3_key(path: str) -> str:
    site, there = site_of(path)
    return site + there

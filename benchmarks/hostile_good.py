"""The good clients beside the hostile ones, in a process of their own: every body is checked.

    python -m benchmarks.hostile_good '{"port": 8080, "warm": [["/path", "sha256"], …]}'

Rules:
1. Some threads ask for stored objects over keep-alive HTTP/1.1, some over HTTP/2, one for objects
   that nobody has asked for before. Each rests between two requests: they measure, they do not
   load. A connection carries `REQUESTS_EACH` of them.
2. Lines on standard input name the phase that begins; each is answered by one line of JSON about
   the phase that ends ("" is a phase as well). At the end of input the sums over the phases of each
   name are printed.
3. A reply is a hit when its Cache-Status says so. Time is from the request to the last byte.

Units: seconds; milliseconds where named. Runs in: benchmark, tests.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, Self

import h2.exceptions

from tests.http2_client import Peer
from tests.scenario.asking_threads import AskingThreads
from tests.scenario.body_checker import Known, known
from tests.scenario.exchange import Client, Reply
from tests.scenario.upstream_objects import fresh_archive

DEADLINE_S = 30.0
PAUSE_S = 0.01
MISS_PAUSE_S = 0.2
MISS_BYTES = 20_000
REQUESTS_EACH = 50
THREADS_EACH = 2  # of each version of HTTP
_PIECE_BYTES = 1 << 16


class Asker(Protocol):
    """A connection, open within the block."""

    def __enter__(self) -> Asker: ...

    def __exit__(self, *_: object) -> None: ...

    def fetch(self, path: str) -> Reply: ...


class Http1Client:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._client = Client(port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def fetch(self, path: str) -> Reply:
        """Return the reply, whatever becomes of it."""
        return self._client.fetch(path, keeps_content=False)


class Http2Client:
    """One connection of HTTP/2 by prior knowledge, one stream at a time."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._peer = Peer()
        self._peer.begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fetch(self, path: str) -> Reply:
        """Return the reply, whatever becomes of it."""
        stream_id = self._peer.ask(path)
        response = self._peer.responses[stream_id]
        with suppress(OSError, h2.exceptions.ProtocolError):
            self._socket.sendall(self._peer.take())
            while not response.is_over and (piece := self._socket.recv(_PIECE_BYTES)):
                self._peer.receive(piece)
                if data := self._peer.take():
                    self._socket.sendall(data)
        return Reply(
            status=response.status,
            fields=response.fields,
            content=b"",
            sha256=hashlib.sha256(response.content).hexdigest(),
            length=len(response.content),
            is_complete=response.is_complete,
        )


@dataclass(slots=True)
class Phase:
    """What the clients saw in one phase, or in all of one name."""

    hits_s: list[float] = field(default_factory=list)
    others_s: list[float] = field(default_factory=list)  # misses, and hits that are no longer
    by_http2: int = 0
    closed_between: int = 0  # of connections that were used before
    bytes_total: int = 0
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def add(self, other: Phase) -> None:
        self.hits_s += other.hits_s
        self.others_s += other.others_s
        self.by_http2 += other.by_http2
        self.closed_between += other.closed_between
        self.bytes_total += other.bytes_total
        self.wrong += other.wrong
        self.failed += other.failed

    def figures(self) -> dict[str, object]:
        return {
            "right": len(self.hits_s) + len(self.others_s),
            "hits": len(self.hits_s),
            "not hits": len(self.others_s),
            "by_http2": self.by_http2,
            "bytes": self.bytes_total,
            "wrong": len(self.wrong),
            "failed": len(self.failed),
            "closed between requests": self.closed_between,
            "first faults": [*self.wrong[:3], *self.failed[:3]],
            "p50_ms": quantile_ms(self.hits_s, 0.5),
            "p99_ms": quantile_ms(self.hits_s, 0.99),
            "miss_p50_ms": quantile_ms(self.others_s, 0.5),
            "miss_p99_ms": quantile_ms(self.others_s, 0.99),
        }


def quantile_ms(times_s: Sequence[float], share: float) -> float:
    if not times_s:
        return 0.0
    ordered = sorted(times_s)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 3)


class GoodClients(AskingThreads):
    """Threads that ask until the block is left."""

    def __init__(self, port: int, warm: Sequence[Known]) -> None:
        asking = [self._ask_by_http1, self._ask_by_http2] * THREADS_EACH
        super().__init__([*asking, self._miss])
        self._port = port
        self._warm = warm
        self._phase = Phase()

    def end_phase(self) -> Phase:
        """Return what was seen since the last call."""
        with self._lock:
            ended, self._phase = self._phase, Phase()
        return ended

    def _ask_by_http1(self, number: int) -> None:
        self._repeat(lambda: Http1Client(self._port), self._objects(number), PAUSE_S)

    def _ask_by_http2(self, number: int) -> None:
        self._repeat(lambda: Http2Client(self._port), self._objects(number), PAUSE_S)

    def _miss(self, _number: int) -> None:
        cold = (known(fresh_archive(MISS_BYTES)) for _ in itertools.count())
        self._repeat(lambda: Http1Client(self._port), cold, MISS_PAUSE_S)

    def _objects(self, number: int) -> Iterator[Known]:
        objects = list(self._warm)
        random.Random(number).shuffle(objects)
        return itertools.cycle(objects)

    def _repeat(self, connect: Callable[[], Asker], items: Iterator[Known], pause_s: float) -> None:
        while not self._stop.is_set():
            try:
                with connect() as asker:
                    for used, item in enumerate(itertools.islice(items, REQUESTS_EACH)):
                        if not self._ask(asker, item, is_reused=used > 0):
                            break
                        if self._stop.wait(pause_s):
                            return
            except OSError as error:  # a connection that is not taken is a failure as well
                with self._lock:
                    self._phase.failed.append(f"connect: {error!r}")

    def _ask(self, asker: Asker, item: Known, *, is_reused: bool) -> bool:
        """Judge one reply; False: the connection was closed before the request, as it may be."""
        began_at = time.monotonic()
        reply = asker.fetch(item.path)
        took_s = time.monotonic() - began_at
        with self._lock:
            phase = self._phase
            if is_reused and reply.status == 0:
                phase.closed_between += 1
                return False
            if item.is_told_right(reply):
                is_hit = "hit" in reply.cache_status
                (phase.hits_s if is_hit else phase.others_s).append(took_s)
                phase.by_http2 += isinstance(asker, Http2Client)
                phase.bytes_total += reply.length
            elif item.is_lied_about(reply):
                phase.wrong.append(f"{type(asker).__name__} {item.path}: {reply!r}")
            else:
                phase.failed.append(f"{type(asker).__name__} {item.path}: {reply!r}")
        return True


def main(argument: str) -> int:
    orders = json.loads(argument)
    warm = [Known(path=path, sha256=sha256) for path, sha256 in orders["warm"]]
    sums: defaultdict[str, Phase] = defaultdict(Phase)
    name = ""
    with GoodClients(orders["port"], warm) as clients:
        for line in sys.stdin:
            ended = clients.end_phase()
            sums[name].add(ended)
            name = line.strip()
            print(json.dumps(ended.figures()), flush=True)
    sums[name].add(clients.end_phase())
    print(json.dumps({name: phase.figures() for name, phase in sums.items()}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

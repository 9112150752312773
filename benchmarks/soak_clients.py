"""The good clients of the soak: they ask for stored objects, check every body, and take the time.

Rules:
1. Nothing of what they ask for is ever touched by a fault, so every failure is one too many.
2. A connection that was used before may be closed between two requests, as by a worker that ends
   (RFC 9112 section 9.3.1): the client goes on with another one. It must be rare.
3. Each rests between two requests: they measure the mirror, they do not load it.

Units: seconds. Runs in: benchmark.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence

from tests.scenario.asking_threads import AskingThreads
from tests.scenario.body_checker import Known
from tests.scenario.exchange import Client

THREADS = 4
PAUSE_S = 0.02
REQUESTS_EACH = 50  # on one connection
CLOSED_SHARE = 0.001  # of the requests: more would be a server that cannot keep connections


class SteadyClients(AskingThreads):
    """Threads that ask until the block is left."""

    def __init__(self, port: int, warm: Sequence[Known]) -> None:
        super().__init__([self._work] * THREADS)
        self._port = port
        self._warm = warm
        self._times_s: list[tuple[float, float]] = []  # when it began, how long it took
        self.wrong: list[str] = []
        self.failed: list[str] = []
        self.closed_between_total = 0
        self.bytes_total = 0

    def __repr__(self) -> str:
        return (
            f"<SteadyClients {len(self._times_s)} right, {len(self.failed)} failed,"
            f" {len(self.wrong)} wrong>"
        )

    def quantile_ms(self, share: float, since: float = 0.0, until: float = float("inf")) -> float:
        """Return the time within which this share of the requests of a while was answered."""
        with self._lock:
            took = sorted(took_s for at, took_s in self._times_s if since <= at < until)
        return round(took[min(len(took) - 1, int(share * len(took)))] * 1000, 2) if took else 0.0

    def figures(self) -> dict[str, object]:
        right = len(self._times_s)
        return {
            "right bodies": right,
            "bytes": self.bytes_total,
            "wrong bodies": len(self.wrong),
            "failed": len(self.failed),
            "closed between requests": self.closed_between_total,
            "first faults": [*self.wrong[:3], *self.failed[:3]],
            "p50_ms": self.quantile_ms(0.5),
            "p99_ms": self.quantile_ms(0.99),
            "is_good": right > 0
            and not self.wrong
            and not self.failed
            and self.closed_between_total <= right * CLOSED_SHARE,
        }

    def _work(self, number: int) -> None:
        objects = list(self._warm)
        random.Random(number).shuffle(objects)
        endless = itertools.cycle(objects)
        while not self._stop.is_set():
            with Client(self._port) as client:
                for used, item in enumerate(itertools.islice(endless, REQUESTS_EACH)):
                    if not self._ask(client, item, is_reused=used > 0):
                        break
                    if self._stop.wait(PAUSE_S):
                        return

    def _ask(self, client: Client, item: Known, *, is_reused: bool) -> bool:
        """Judge one reply; False: the connection was closed before the request (rule 2)."""
        began_at = time.monotonic()
        reply = client.fetch(item.path, keeps_content=False)
        took_s = time.monotonic() - began_at
        with self._lock:
            if is_reused and reply.status == 0:
                self.closed_between_total += 1
                return False
            if item.is_told_right(reply):
                self._times_s.append((began_at, took_s))
                self.bytes_total += reply.length
            elif item.is_lied_about(reply):
                self.wrong.append(f"{item.path}: {reply!r}")
            else:
                self.failed.append(f"{item.path}: {reply!r}")
        return True

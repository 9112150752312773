"""A witness: keeps asking through kills and restarts, and judges every complete reply.

Rules:
1. A complete 200 whose digest is not the reference's is a lie, and so is any 4xx: every object
   asked for exists. A reply that breaks off, no reply, and 5xx are failures, which only cost time.
2. `Readers` hold connections to a known worker; a failure on a worker that nobody killed is one
   too many.
3. Leaving the block ends the threads; whoever asks for the `verdict` gets an AssertionError for
   the first lie.

Runs in: tests.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from tests.scenario.asking_threads import AskingThreads
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import Client, Reply, fetch
from tests.scenario.upstream_objects import Archive, fresh_archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An object whose right content is known."""

    path: str
    sha256: str

    def is_told_right(self, reply: Reply) -> bool:
        return reply.status == 200 and reply.is_complete and reply.sha256 == self.sha256

    def is_lied_about(self, reply: Reply) -> bool:
        if 400 <= reply.status < 500:
            return True
        return reply.status == 200 and reply.is_complete and reply.sha256 != self.sha256


def known(archive: Archive) -> Known:
    return Known(path=archive.path, sha256=archive.sha256)


def warmed(edge: Edge, *lengths: int) -> list[Archive]:
    """Return archives that are hits and on disk, so that they need no keeper any more."""
    archives = [fresh_archive(length) for length in lengths]
    for archive in archives:
        wait_until(partial(_is_hit, edge, archive.path), f"{archive} is a hit")
        wait_until(partial(_is_on_disk, edge, archive), f"{archive} is stored")
    return archives


def _is_hit(edge: Edge, path: str) -> bool:
    return "hit" in fetch(edge.port, path, keeps_content=False).cache_status


def _is_on_disk(edge: Edge, archive: Archive) -> bool:
    # A small one is a hit from the keeper's memory some milliseconds earlier.
    return archive.sha256 in edge.blobs()


class BodyChecker(AskingThreads):
    """Asks for the `warm` objects in turn, and for `make_cold()` in between.

    `requests_each`: how many requests a connection carries before the next one is opened;
    `pause_s`: how long a thread rests after each, 0 for what the processor gives.
    """

    def __init__(
        self,
        port: int,
        warm: Sequence[Known],
        make_cold: Callable[[], Known] | None = None,
        *,
        threads: int = 4,
        requests_each: int = 16,
        pause_s: float = 0.0,
    ) -> None:
        super().__init__([self._work] * threads)
        self._pause_s = pause_s
        self._requests_each = requests_each
        self._port = port
        self._warm = warm
        self._make_cold = make_cold
        self.right_total = 0
        self.failed_total = 0
        self.lies: list[str] = []

    def __repr__(self) -> str:
        return f"<BodyChecker {self.right_total} right, {self.failed_total} failed, {self.lies}>"

    def verdict(self) -> None:
        """Raises AssertionError when a client was lied to, or when nothing was seen at all."""
        assert not self.lies, self.lies[0]
        assert self.right_total, "no reply was right"

    def _work(self, number: int) -> None:
        objects = self._objects()
        while not self._stop.is_set():
            with Client(self._port) as client:
                for item in itertools.islice(objects, self._requests_each):
                    self._judge(item, client.fetch(item.path))
                    if self._stop.wait(self._pause_s):
                        break

    def _objects(self) -> Iterator[Known]:
        for item in itertools.cycle(self._warm):
            yield item
            if self._make_cold is not None:
                yield self._make_cold()

    def _judge(self, item: Known, reply: Reply) -> None:
        if item.is_lied_about(reply):
            self.lies.append(f"{item.path}: {reply!r}")
        elif item.is_told_right(reply):
            self.right_total += 1
        else:
            self.failed_total += 1


class Readers(AskingThreads):
    """One thread per pinned connection, asking for one warm object over and over."""

    def __init__(self, pinned: Iterable[tuple[str, Client]], known: Known) -> None:
        self._pinned = list(pinned)
        super().__init__([self._work] * len(self._pinned))
        self._known = known
        self.right_total = 0
        self.failed_on: list[str] = []

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        for _, client in self._pinned:
            client.close()

    def _work(self, number: int) -> None:
        worker, client = self._pinned[number]
        while not self._stop.is_set():
            if not self._known.is_told_right(client.fetch(self._known.path)):
                self.failed_on.append(worker)
                return
            self.right_total += 1


def pinned_to_each_worker(edge: Edge, each: int, *, spared: str = "") -> list[tuple[str, Client]]:
    """Open connections until every worker but `spared` holds `each` of those that are kept."""
    workers = (name for name in edge.pids() if name not in ("keeper", spared))
    wanted = dict.fromkeys(workers, each)
    kept: list[tuple[str, Client]] = []
    while any(wanted.values()):
        client = Client(edge.port)
        worker = edge.worker_of(client.connect())
        if wanted.get(worker):
            wanted[worker] -= 1
            kept.append((worker, client))
        else:
            client.close()
    return kept

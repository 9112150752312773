"""What a test does to a running mirror so that it passes a crash point, and what must hold after.

Rules:
1. `provoke` asks for what leads through the point; the mirror may die meanwhile, so no answer and a
   broken one are forgiven. A complete wrong one never is.
2. `settle` follows when the mirror is whole again: what was begun is finished or was never begun,
   and asking again gives the right bytes.
3. Every deed is about objects of its own.

Does not: kill. Runs in: tests, benchmark.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from mirror.errors import StoreError
from mirror.jobs.shelf import open_shelf
from mirror.simulator.process import SimulatorProcess
from mirror.simulator.registry import index_path
from mirror.store.points import Point
from tests.faults.fault_edge import FaultEdge
from tests.scenario.body_checker import Known, known
from tests.scenario.edge import wait_until
from tests.scenario.exchange import Reply, fetch
from tests.scenario.upstream_objects import DAY, Archive, fresh_archive, reference

_NUMBERS = itertools.count(1)
_OBJECT_BYTES = 600_000  # no worker holds so much in memory, so each hit opens the file
_SMALL_BYTES = 30_000
_NOTED_BYTES = 36_000_000  # a fill is made durable on its way every 32 MiB
_ROOM_BYTES = 3_000_000


class WrongBodyError(AssertionError):
    """A complete answer that is not what upstream has."""


class Deed:
    """One thing that is done to a mirror once, and again until the mirror dies of it."""

    def __init__(self, edge: FaultEdge, upstream: SimulatorProcess) -> None:
        self.edge = edge
        self.upstream = upstream

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def provoke(self) -> None:
        raise NotImplementedError

    def settle(self) -> None:
        raise NotImplementedError

    def ask(self, item: Known) -> Reply:
        """Raises WrongBodyError for a complete answer that is not `item`."""
        reply = fetch(self.edge.port, item.path)
        if item.is_lied_about(reply):
            raise WrongBodyError(f"{item.path}: {reply!r}")
        return reply

    def wait_for(self, item: Known) -> None:
        wait_until(lambda: item.is_told_right(self.ask(item)), f"{item.path} is right")

    def unless_struck(self, claim: Callable[[], bool], what: str) -> bool:
        """Wait for `claim`, but not on a mirror that was killed; return whether it holds."""
        wait_until(lambda: self.edge.is_struck or claim(), what)
        return not self.edge.is_struck

    def store(self, archive: Archive) -> Path | None:
        """Have `archive` stored; return its file, None when the mirror was killed meanwhile."""
        item = known(archive)
        if not self.unless_struck(lambda: item.is_told_right(self.ask(item)), f"{archive} came"):
            return None
        # The file is there before its row; what is done to it in between nobody could notice.
        digest = bytes.fromhex(archive.sha256)
        self.unless_struck(lambda: has_row(self.edge, digest), f"{archive} is stored")
        return self.edge.blobs().get(archive.sha256)


class Fill(Deed):
    """A body comes from upstream, evicts others, and is published."""

    length = _OBJECT_BYTES

    def __init__(self, edge: FaultEdge, upstream: SimulatorProcess) -> None:
        super().__init__(edge, upstream)
        self._archive = fresh_archive(self.length)

    def provoke(self) -> None:
        self._archive = fresh_archive(self.length)
        self.ask(known(self._archive))

    def settle(self) -> None:
        self.wait_for(known(self._archive))


class SmallFill(Fill):
    length = _SMALL_BYTES


class LongFill(Fill):
    length = _NOTED_BYTES


class RoomyFill(Fill):
    length = _ROOM_BYTES


class Refusal(Fill):
    """Upstream sends a wrong body once: it is quarantined, and nobody gets it whole."""

    def provoke(self) -> None:
        self._archive = fresh_archive(self.length)
        path = self._archive.path
        self.upstream.control.faults({"kind": "corrupt", "path": path, "at": 9_000, "count": 1})
        self.ask(known(self._archive))


class Spoiling(Deed):
    """A stored file is changed beneath the mirror; who asks gets the right bytes all the same."""

    def __init__(self, edge: FaultEdge, upstream: SimulatorProcess) -> None:
        super().__init__(edge, upstream)
        self._archive = fresh_archive(_OBJECT_BYTES)

    def provoke(self) -> None:
        self._archive = fresh_archive(_OBJECT_BYTES)
        path = self.store(self._archive)
        if path is not None:
            flip_byte(path, _OBJECT_BYTES // 2)
            self.ask(known(self._archive))

    def settle(self) -> None:
        self.wait_for(known(self._archive))


class Absence(Deed):
    """Upstream has no such object, and the mirror notes it."""

    path = ""

    def provoke(self) -> None:
        self.path = f"/dist/{DAY}/no-such-{os.getpid()}-{next(_NUMBERS)}.tar.gz"
        self._ask()

    def settle(self) -> None:
        wait_until(lambda: self._ask() == 404, f"{self.path} is absent")

    def _ask(self) -> int:
        status = fetch(self.edge.port, self.path).status
        if status not in (0, 404, 502, 503, 504):
            raise WrongBodyError(f"{self.path}: {status}")
        return status


class IndexChange(Deed):
    """A crate gets a version more: another content under the same key."""

    def __init__(self, edge: FaultEdge, upstream: SimulatorProcess) -> None:
        super().__init__(edge, upstream)
        self._name = f"killed-{os.getpid()}-{next(_NUMBERS)}"
        self._versions = itertools.count()
        self._published: list[str] = []

    @property
    def path(self) -> str:
        return "/index" + index_path(self._name)

    def provoke(self) -> None:
        self._publish()
        self._await_newest()

    def settle(self) -> None:
        wait_until(lambda: self._ask() == self._published[-1], f"{self.path} is the newest")

    def _await_newest(self) -> bool:
        newest = self._published[-1]
        return self.unless_struck(lambda: self._ask() == newest, f"{self.path} is replaced")

    def _publish(self) -> None:
        self.upstream.control.publish_crate(self._name, f"1.0.{next(self._versions)}")
        content = reference(self.upstream.index_url + index_path(self._name))
        self._published.append(hashlib.sha256(content).hexdigest())

    def _ask(self) -> str:
        """Return the digest of a whole answer, "" for none."""
        reply = fetch(self.edge.port, self.path)
        if reply.status != 200 or not reply.is_complete:
            return ""
        if reply.sha256 not in self._published:
            raise WrongBodyError(f"{self.path}: {reply!r}")
        return reply.sha256


class Withdrawal(IndexChange):
    """A crate is deleted upstream: its index file is withdrawn when that is learnt."""

    def provoke(self) -> None:
        self._publish()
        if self._await_newest():
            self.upstream.control.delete_crate(self._name)
            self.unless_struck(lambda: not self._ask(), f"{self.path} is withdrawn")

    def settle(self) -> None:
        self.upstream.control.delete_crate(self._name)
        wait_until(lambda: fetch(self.edge.port, self.path).status == 404, f"{self.path} is gone")


class Purge(Deed):
    """The operator's verb: acknowledged, it holds, whatever dies afterwards.

    A purge that died behind its commit has nothing left to purge; the next start removes the file.
    A worker that answers without the index would be one that was never told.
    """

    def __init__(self, edge: FaultEdge, upstream: SimulatorProcess) -> None:
        super().__init__(edge, upstream)
        self._archive = fresh_archive(_OBJECT_BYTES)
        self._purged_keys: int | None = None  # None: not acknowledged

    def provoke(self) -> None:
        self._archive = fresh_archive(_OBJECT_BYTES)
        self._purged_keys = None
        if self.store(self._archive) is not None:
            self._purge()

    def settle(self) -> None:
        wait_until(self._is_purged, f"{self._archive.path} is purged")
        reply = self.ask(known(self._archive))
        if self._purged_keys and "hit" in reply.cache_status:
            raise WrongBodyError(f"{self._archive.path}: a hit after its purge")
        self.wait_for(known(self._archive))
        wait_until(
            lambda: is_named(self.edge, self._archive.key), f"{self._archive.key} is in the index"
        )

    def _is_purged(self) -> bool:
        if self._purged_keys is None:
            self._purge()
        return self._purged_keys is not None

    def _purge(self) -> None:
        """Purge, and note how many keys went if every worker knows."""
        wish = {"names": [[self._archive.key]], "dry_run": False}
        result = self.edge.tell("/purge", wish).get("result")
        if result is not None and not result["unaware_workers"]:
            self._purged_keys = int(result["keys"])


def is_named(edge: FaultEdge, key: str) -> bool:
    """Whether the index has an entry of `key`."""
    try:
        with open_shelf(str(edge.store)) as shelf:
            return shelf.index.lookup(key) is not None
    except StoreError:
        return False


def has_row(edge: FaultEdge, digest: bytes) -> bool:
    """Whether the index vouches for the file of `digest`."""
    try:
        with open_shelf(str(edge.store)) as shelf:
            return shelf.index.blob(digest) is not None
    except StoreError:  # it is being made, or made anew
        return False


_PUBLISHING: tuple[type[Deed], ...] = (Fill, SmallFill, IndexChange)
_DEEDS: Mapping[str, tuple[type[Deed], ...]] = {
    "fill": (Fill,),
    "publish": _PUBLISHING,
    "record": (Absence,),
    "evict": (RoomyFill,),
    "quarantine": (Spoiling, Refusal),
    "purge": (Purge, Withdrawal),
}
_OF_POINT: Mapping[Point, tuple[type[Deed], ...]] = {
    Point.FILL_NOTED: (LongFill,),
    Point.QUARANTINE_DROPPED: (Spoiling,),
}


def deeds_for(point: Point) -> tuple[type[Deed], ...]:
    """Return what leads through `point`."""
    return _OF_POINT.get(point) or _DEEDS[point.value.partition(".")[0]]


def flip_byte(path: Path, at: int) -> None:
    """Damage a file in place, as anything that writes to it does."""
    with path.open("r+b") as file:
        file.seek(at)
        before = file.read(1)
        file.seek(at)
        file.write(bytes((before[0] ^ 0xFF,)))

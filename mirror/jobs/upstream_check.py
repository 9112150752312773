"""What is stored, compared with what upstream says of it: heads only, no content.

Rules:
1. An object that never changes (a crate, a dated or versioned file) and is another one upstream is
   an ALARM; the stored one stays. One that moves is only newer.
2. What upstream no longer has is told apart: publishers delete.
3. Upstream is asked politely: `AT_ONCE` requests at a time, `PER_S` a second. One that fails
   `GIVE_UP_AFTER` times in a row is not asked again, and that is told.

Units: bytes, seconds.
Runs in: commands and keeper (jobs); one loop. Stored bytes are read (for an MD5) in a thread.
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from mirror.errors import UpstreamError
from mirror.fill.transfer import is_absent
from mirror.route.match import route_of_key
from mirror.route.route import Kind, Route, Tempo, UpstreamName
from mirror.store.blob_reading import read_pieces
from mirror.store.entry import Entry
from mirror.upstream.described import (
    Agreement,
    Divergence,
    StoredFacts,
    Unknown,
    UpstreamObject,
    compare,
)

AT_ONCE: Final = 8  # as many as one rustup opens
PER_S: Final = 50.0  # a hundredth of what one CDN node answers; a million objects take 6 hours
GIVE_UP_AFTER: Final = 20


class Verdict(enum.Enum):
    """What a comparison came to."""

    SAME = "same"
    NEWER = "newer upstream"
    ALARM = "CHANGED upstream"
    DELETED = "deleted upstream"
    UNCLEAR = "unclear"
    UNREACHABLE = "not compared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One object that is not the same."""

    key: str
    verdict: Verdict
    reason: str


@dataclass(slots=True, kw_only=True)
class UpstreamReport:
    """`counts` holds every verdict; `told` all that need a line of their own, bounded."""

    counts: dict[str, int] = field(default_factory=lambda: {each.value: 0 for each in Verdict})
    told: list[Compared] = field(default_factory=list)
    untold: int = 0

    @property
    def is_good(self) -> bool:
        """Nothing that must not change has changed, and everything could be asked about."""
        bad = (Verdict.ALARM, Verdict.UNREACHABLE)
        return not any(self.counts[verdict.value] for verdict in bad)


class Describer(Protocol):
    """One upstream."""

    async def describe(self, path: str) -> UpstreamObject | None: ...


class BlobPaths(Protocol):
    def path(self, digest: bytes) -> str: ...


class CompareWatch(Protocol):
    def entry_done(self) -> None: ...


TOLD_MAX: Final = 10_000
# What is told even when there is no room left: the reason for the whole command.
_ALWAYS_TOLD: Final = frozenset((Verdict.ALARM,))


class UpstreamCheck:
    """Compares one store with its upstreams."""

    def __init__(
        self,
        upstreams: Mapping[UpstreamName, Describer],
        paths: BlobPaths,
        *,
        per_s: float = PER_S,
    ) -> None:
        self._upstreams = upstreams
        self._paths = paths
        self._pause_s = 1.0 / per_s
        self._failures = dict.fromkeys(upstreams, 0)

    async def run(self, entries: Iterable[Entry], watch: CompareWatch) -> UpstreamReport:
        """Compare each of `entries` that has content."""
        report = UpstreamReport()
        running: set[asyncio.Task[None]] = set()
        try:
            for entry in entries:
                route = route_of_key(entry.key)
                if entry.status != 200 or route is None:
                    watch.entry_done()  # an absence, or a former generation: not upstream's
                    continue
                if len(running) >= AT_ONCE:
                    done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    _raise_first(done)
                running.add(asyncio.create_task(self._one(entry, route, report, watch)))
                if not self._is_given_up(route):
                    await asyncio.sleep(self._pause_s)
            if running:
                done, running = await asyncio.wait(running)
                _raise_first(done)
        finally:
            for task in running:
                task.cancel()
        return report

    async def _one(
        self, entry: Entry, route: Route, report: UpstreamReport, watch: CompareWatch
    ) -> None:
        found = await self._compared(entry, route)
        report.counts[found.verdict.value] += 1
        if found.verdict in _ALWAYS_TOLD or len(report.told) < TOLD_MAX:
            if found.verdict is not Verdict.SAME:
                report.told.append(found)
        elif found.verdict is not Verdict.SAME:
            report.untold += 1
        watch.entry_done()

    async def _compared(self, entry: Entry, route: Route) -> Compared:
        name = route.upstream
        if self._is_given_up(route):
            reason = f"{name.value} failed {GIVE_UP_AFTER} times in a row: not asked"
            return Compared(key=entry.key, verdict=Verdict.UNREACHABLE, reason=reason)
        try:
            upstream = await self._upstreams[name].describe(route.path)
        except UpstreamError as exc:
            if not is_absent(route, exc.upstream_status):
                self._failures[name] += 1
                return Compared(key=entry.key, verdict=Verdict.UNREACHABLE, reason=exc.message)
            upstream = None
        self._failures[name] = 0
        if upstream is None:
            reason = f"upstream has no such object any more; {_consequence(route)}"
            return Compared(key=entry.key, verdict=Verdict.DELETED, reason=reason)
        try:
            facts = self._facts(entry)
            judged = await asyncio.to_thread(compare, facts, upstream)
        except OSError as exc:
            reason = f"the stored file cannot be read: {exc.strerror}"
            return Compared(key=entry.key, verdict=Verdict.UNREACHABLE, reason=reason)
        return _verdict(entry, route, judged)

    def _facts(self, entry: Entry) -> StoredFacts:
        return StoredFacts(
            size_bytes=entry.length,
            sha256=entry.digest,
            etag=entry.upstream_etag,
            version_id=entry.upstream_version,
            md5=lambda: _md5(self._paths.path(entry.digest)),
        )

    def _is_given_up(self, route: Route) -> bool:
        return self._failures[route.upstream] >= GIVE_UP_AFTER


def never_changes(route: Route) -> bool:
    """Say whether another content under this name is an alarm."""
    if route.kind is Kind.RELEASE_KEY:
        return False  # a publisher adds keys; which one counts is pinned
    return route.tempo in (Tempo.FOREVER, Tempo.UNDATED)


def _consequence(route: Route) -> str:
    """Say what the mirror does about an object that upstream has deleted."""
    if route.kind is Kind.CRATE:
        return "it is served until its index file shows the deletion"
    if never_changes(route):
        return "it is kept here"
    return "it is served until the mirror asks for it again"


def _verdict(entry: Entry, route: Route, judged: Agreement | Divergence | Unknown) -> Compared:
    match judged:
        case Agreement(by=by):
            return Compared(key=entry.key, verdict=Verdict.SAME, reason=by)
        case Unknown(reason=reason):
            return Compared(key=entry.key, verdict=Verdict.UNCLEAR, reason=reason)
        case Divergence(reason=reason):
            verdict = Verdict.ALARM if never_changes(route) else Verdict.NEWER
            return Compared(key=entry.key, verdict=verdict, reason=reason)


def _md5(path: str) -> bytes:
    running = hashlib.md5(usedforsecurity=False)  # what S3's entity tags are, not a proof
    for piece in read_pieces(path):
        running.update(piece)
    return running.digest()


def _raise_first(done: Iterable[asyncio.Task[None]]) -> None:
    for task in done:
        task.result()

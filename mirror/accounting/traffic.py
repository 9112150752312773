"""Upstream traffic, counted into the keeper's counters by configured URL and content class.

Rules:
1. Pool "releases" is two classes: paths below `/rustup/` are rustup's, the others releases.
2. An unknown pool counts as releases, a URL that the layout does not name as "other": sums must
   add up.
3. One exchange is one of `requests`, one line of the log, and: `retried` when it is not the first
   attempt, `throttled` for a 429, `not_modified` for a 304, `ranged` for a 206, `failed` when its
   line has an error. So the log says what the ledger says.
4. Requests and content are counted as they happen, the line is written at the end: a keeper that
   is killed loses the lines of what was under way, and no count.

Units: bytes of content as received, of heads as their field lines; Unix seconds.
Runs in: keeper.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from mirror.accounting.counters import Counters
from mirror.accounting.layout import FETCHED_COLUMNS, OTHER
from mirror.accounting.records import FetchRecord
from mirror.clock import Clock
from mirror.config import Upstream
from mirror.route.route import ContentClass, UpstreamName

_RUSTUP_PREFIX = "/rustup/"
_CLASS_OF_POOL = {
    UpstreamName.CRATES.value: ContentClass.CRATE,
    UpstreamName.INDEX.value: ContentClass.INDEX,
}
_REQUESTS = FETCHED_COLUMNS.index("requests")
_CONTENT = FETCHED_COLUMNS.index("content_bytes")
_HEADS = FETCHED_COLUMNS.index("head_bytes")
_RETRIED = FETCHED_COLUMNS.index("retried")
_FAILED = FETCHED_COLUMNS.index("failed")
_BY_STATUS = {
    206: FETCHED_COLUMNS.index("ranged"),
    304: FETCHED_COLUMNS.index("not_modified"),
    429: FETCHED_COLUMNS.index("throttled"),
}
_RANGED_STATUS = 206


class FetchLog(Protocol):
    """The access log; never waits, never raises."""

    def write_fetches(self, records: Sequence[FetchRecord]) -> None: ...


class UpstreamTraffic:
    """What `upstream` reports to; owns nothing, the counters stay their opener's."""

    def __init__(self, counters: Counters, clock: Clock, log: FetchLog | None = None) -> None:
        self._counters = counters
        self._clock = clock
        self._log = log
        named = next(each for each in counters.layout.sections if each.name == "fetched")
        self._urls = frozenset(named.dimensions[0])

    def exchange(
        self, pool: str, url: str, path: str, *, method: str, attempt: int
    ) -> CountedExchange:
        """Return the account of one request that may follow."""
        content_class = class_of(pool, path).value
        known = url if url in self._urls else OTHER
        return CountedExchange(
            self._counters.view,
            self._counters.layout.row("fetched", known, content_class),
            self._clock,
            self._log,
            _Sent(pool, url, path, method, attempt, content_class),
        )


class _Sent:
    """What was asked: the fields of the line that are known beforehand."""

    __slots__ = ("attempt", "content_class", "method", "path", "pool", "url")

    def __init__(
        self, pool: str, url: str, path: str, method: str, attempt: int, content_class: str
    ) -> None:
        self.pool, self.url, self.path, self.method = pool, url, path, method
        self.attempt, self.content_class = attempt, content_class


class CountedExchange:
    """One request; see `upstream.traffic.Exchange`."""

    __slots__ = (
        "_began",
        "_began_at",
        "_clock",
        "_content_bytes",
        "_head_bytes",
        "_is_finished",
        "_log",
        "_row",
        "_sent",
        "_status",
        "_view",
    )

    def __init__(
        self, view: memoryview[int], row: int, clock: Clock, log: FetchLog | None, sent: _Sent
    ) -> None:
        self._view, self._row, self._clock, self._log, self._sent = view, row, clock, log, sent
        self._began: float | None = None  # of the monotonic clock
        self._began_at = 0.0
        self._status = self._content_bytes = self._head_bytes = 0
        self._is_finished = False

    def begin(self) -> None:
        if self._began is not None:
            return  # the connection was closed, another one is taken
        self._began, self._began_at = self._clock.monotonic(), self._clock.now()
        self._view[self._row + _REQUESTS] += 1
        if self._sent.attempt > 1:
            self._view[self._row + _RETRIED] += 1

    def answered(self, status: int, head_bytes: int) -> None:
        self.begin()
        self._status, self._head_bytes = status, head_bytes
        self._view[self._row + _HEADS] += head_bytes
        column = _BY_STATUS.get(status)
        if column is not None:
            self._view[self._row + column] += 1

    def received(self, content_bytes: int) -> None:
        self._content_bytes += content_bytes
        self._view[self._row + _CONTENT] += content_bytes

    def finish(self, *, is_complete: bool, error: str = "") -> None:
        if self._is_finished or self._began is None:
            return
        self._is_finished = True
        if error:
            self._view[self._row + _FAILED] += 1
        if self._log is not None:
            self._log.write_fetches([self._record(self._began, is_complete, error)])

    def _record(self, began: float, is_complete: bool, error: str) -> FetchRecord:
        sent = self._sent
        return FetchRecord(
            began_at=self._began_at,
            duration_s=max(0.0, self._clock.monotonic() - began),
            pool=sent.pool,
            url=sent.url,
            path=sent.path,
            method=sent.method,
            status=self._status,
            content_class=sent.content_class,
            content_bytes=self._content_bytes,
            head_bytes=self._head_bytes,
            is_complete=is_complete,
            is_ranged=self._status == _RANGED_STATUS,
            attempt=sent.attempt,
            error=error,
        )

    def __repr__(self) -> str:
        state = "finished" if self._is_finished else "open"
        return f"<CountedExchange {self._sent.url}{self._sent.path} {state}>"


def class_of(pool: str, path: str) -> ContentClass:
    """Return the content class of a path of a pool."""
    if path.startswith(_RUSTUP_PREFIX) and pool == UpstreamName.RELEASES.value:
        return ContentClass.RUSTUP
    return _CLASS_OF_POOL.get(pool, ContentClass.RELEASE)


def upstream_urls(upstream: Upstream) -> tuple[str, ...]:
    """Return the configured URLs of all pools, as `exchange` is told them, for `layout_of`."""
    return tuple(dict.fromkeys(_bases(upstream)))


def _bases(upstream: Upstream) -> Iterable[str]:
    for section in (upstream.releases, upstream.crates, upstream.index):
        for url in section.urls:
            yield url.rstrip("/")

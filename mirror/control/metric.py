"""What one metric is, and the snapshot that all of them are read from.

Rules:
1. A metric's labels are a closed set: content classes, outcomes, configured groups and URLs,
   processes. Nothing that a client sends names a series.
2. Every series is there from the first scrape on, also at zero: a rate over a counter that appears
   with its first event misses that event.
3. Sums of groups and URLs that the configuration does not name any more are left out; those of the
   classes have everything.

Units: base units (seconds, bytes, ratios from 0 to 1), said in the name.
Runs in: keeper.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mirror.accounting.layout import LATENCY_COLUMNS, OTHER, CellName
from mirror.control.care import CareFigures

# Beyond it configured URLs are told together: each is some ten series.
SHOWN_URLS = 16
SHOWN_UPSTREAMS = 24  # URLs of all pools with a health of their own


class Kind(enum.Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """How many fell into each bucket (the last has no bound), and their sum."""

    counts: Sequence[int]
    sum_s: float


Row = tuple[tuple[str, ...], float | Distribution]  # values of the labels, value


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFigures:
    """One process; None: the kernel did not say. `heartbeat_age_s` None: it has never beaten."""

    name: str
    is_up: bool
    restarts_total: int
    heartbeat_age_s: float | None
    cpu_s: float | None
    resident_bytes: int | None
    open_fds: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamFigures:
    pool: str
    url: str
    is_failing: bool
    is_left_alone: bool
    circuit: str  # a word of `upstream.breaker.Circuit`
    is_preferred: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFigures:
    name: str
    age_s: float
    is_frozen: bool
    confirmed_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFigures:
    used_bytes: int
    budget_bytes: int
    quarantine_count: int
    quarantine_bytes: int
    trouble: str = ""  # a word of `errors.DiskTrouble`; "": what comes is stored


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperFigures:
    started_at: float
    fills: int
    fills_waiting: int
    checks: int
    workers: int


class Sums:
    """The ledger's sums, as metrics ask for them."""

    def __init__(self, named: Mapping[CellName, int]) -> None:
        self.served: Counter[tuple[str, str, str]] = Counter()  # class, outcome, column
        self.by_group: Counter[tuple[str, str]] = Counter()  # group, column
        self.fetched: Counter[tuple[str, str]] = Counter()  # class, column
        self.by_url: Counter[tuple[str, str]] = Counter()  # URL, column
        self.latency: Counter[tuple[str, str, str]] = Counter()  # path, class, column
        self.total: Counter[str] = Counter()
        for name, value in named.items():
            if name[0] == "served":
                _, group, content_class, outcome, column = name
                self.served[content_class, outcome, column] += value
                if content_class != OTHER:  # as in reports: it is no group's traffic
                    self.by_group[group, column] += value
            elif name[0] == "fetched":
                _, url, content_class, column = name
                self.fetched[content_class, column] += value
                self.by_url[url, column] += value
            elif name[0] == "latency":
                _, path, content_class, column = name
                self.latency[path, content_class, column] += value
            elif name[0] == "total":
                self.total[name[1]] += value

    def distribution(self, path: str, content_class: str) -> Distribution:
        columns = [self.latency[path, content_class, column] for column in LATENCY_COLUMNS]
        return Distribution(counts=columns[:-1], sum_s=columns[-1] / 1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything at one moment. `sums` None: the ledger cannot be read; see `ledger_readable`.

    `free_bytes` is by directory ("store", "state"), of the file systems that they are on.
    """

    version: str
    sums: Sums | None
    groups: Sequence[str]
    urls: Sequence[str]
    store: StoreFigures
    free_bytes: Mapping[str, int]
    keeper: KeeperFigures
    upstreams: Sequence[UpstreamFigures]
    channels: Sequence[ChannelFigures]
    held: int
    processes: Sequence[ProcessFigures]
    open_files_limit: int
    care: CareFigures | None = None

    @property
    def shown_groups(self) -> tuple[str, ...]:
        return (*self.groups, OTHER)

    @property
    def shown_urls(self) -> tuple[str, ...]:
        return (*self.urls[:SHOWN_URLS], OTHER)

    def of_url(self, sums: Sums, url: str, column: str) -> int:
        more = self.urls[SHOWN_URLS:] if url == OTHER else ()
        return sum(sums.by_url[each, column] for each in (url, *more))


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """`name` as it is scraped; that of a counter ends in `_total`."""

    name: str
    kind: Kind
    help: str
    read: Callable[[Snapshot], Iterable[Row]]
    labels: tuple[str, ...] = ()

"""What the cells of a counters file mean: sections of named rows with named columns.

    section     one row per                                    columns
    served      client group, content class, outcome           SERVED_COLUMNS
    fetched     upstream URL, content class                    FETCHED_COLUMNS
    latency     path, content class                            buckets, then the sum in µs
    total       name of TOTALS                                 total

Rules:
1. A file carries its layout by name, so that a reader of any version adds up what it knows, and
   nothing is ever read by position from another layout.
2. The order of names is the order of cells; the last dimension varies fastest.
3. Names come from configuration and code, never from requests: the number of cells is bounded.

Does not: open files (`counters`).
Runs in: worker and keeper, commands. Pure.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mirror.route.route import ContentClass


class Outcome(enum.Enum):
    """How a request ended, in one word.

    The words of Cache-Status (RFC 9211) that lead to each stand behind it; `serve.accounts` maps.
    """

    HIT = "hit"  # hit, fresh or within stale-while-revalidate
    MISS = "miss"  # fwd=miss, uri-miss, partial, bypass: this request's own flight
    STALE = "stale"  # stale-if-error: upstream is away
    REVALIDATED = "revalidated"  # fwd=stale; fwd-status=304
    COLLAPSED = "collapsed"  # collapsed: another request's flight brought it
    NEGATIVE = "negative"  # 404 of an object that does not exist
    REFUSED = "refused"  # every other 4xx
    FAILED = "failed"  # 5xx; an answer that was cut keeps its outcome, and is counted in `cut` too


class Path(enum.Enum):
    """How an answer was come by, for latencies."""

    HIT = "hit"  # from local disk or memory, without the keeper
    JOINED = "joined"  # a flight that was under way, or the keeper's store
    FILLED = "filled"  # a flight of its own


OTHER = "other"  # what has no content class, and the group of clients that no rule names
CLASSES = (*(each.value for each in ContentClass), OTHER)
OUTCOMES = tuple(each.value for each in Outcome)

# ranged: 206 answers; not_modified: 304 answers; cut: ended before the response was complete
SERVED_COLUMNS = ("requests", "content_bytes", "head_bytes", "ranged", "not_modified", "cut")
# Bytes as received, before any content coding is undone. retried: asked again after a failure;
# throttled: 429 answers; failed: no usable answer
FETCHED_COLUMNS = (
    "requests",
    "content_bytes",
    "head_bytes",
    "not_modified",
    "ranged",
    "retried",
    "throttled",
    "failed",
)
# Upper bounds in seconds, from a hit in memory to a release on a slow line; the last has none.
LATENCY_BOUNDS_S = (
    *(50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3),
    *(10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0),
    *(2.5, 5.0, 10.0, 30.0, 60.0),
)
LATENCY_COLUMNS = (*(f"le_{bound:g}" for bound in LATENCY_BOUNDS_S), "le_inf", "sum_us")
# What else a process counts; `control` says what each means. Later parts add theirs here.
TOTALS = (
    "connections_accepted",
    "connections_turned_away",  # over max_connections or max_connections_per_client
    "connections_made_room",  # idle ones, closed for others over max_connections
    "limited_requests",  # answered 429: over [limits] client_requests
    "limited_at_once",  # answered 429: over [limits] client_streams
    "paced_responses",  # that waited for [limits] client_rate
    "misses_turned_away",  # over [limits] queued_misses
    "connections_http2",
    "tls_handshakes",
    "tls_handshakes_failed",
    "tls_sessions_resumed",
    "deadline_head",  # a head that did not arrive in time
    "deadline_idle",
    "deadline_write",  # a client that takes what it is owed too slowly
    "refused_request",  # 400, 414, 431, 501 by the parser or the grammar
    "refused_method",
    "refused_loop",
    "log_lines_written",
    "log_lines_dropped",
    "asks_total",  # questions to the keeper
    "asks_failed",
    "verification_failures",
    "quarantined",
    "evicted_blobs",
    "evicted_bytes",
    "published_blobs",
    "published_bytes",
    "flights",
    "flights_failed",
    "upstream_circuits_opened",
    "upstream_hedges",  # second requests, because a head was slow
    "upstream_hedges_won",
    "upstream_waits",  # for a place at a gate, or a turn in the request budget
    "upstream_waits_refused",  # the queue was full, or the wait too long
    "scrubbed_blobs",
    "scrubbed_bytes",
    "scrub_found",  # blobs that the scrub condemned, or found missing
    "healed",  # keys fetched anew after their blob was condemned
)

CellName = tuple[str, ...]  # section, one name per dimension, column


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """`dimensions` lists the names of each; every combination of them is one row of `columns`."""

    name: str
    dimensions: tuple[tuple[str, ...], ...]
    columns: tuple[str, ...]

    @property
    def cells(self) -> int:
        count = len(self.columns)
        for names in self.dimensions:
            count *= len(names)
        return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    sections: tuple[Section, ...]

    @property
    def cells(self) -> int:
        return sum(section.cells for section in self.sections)

    def row(self, section_name: str, *names: str) -> int:
        """Return the index of the row's first cell. Raises ValueError for a name it lacks."""
        section, at = self._find(section_name)
        if len(names) != len(section.dimensions):
            raise ValueError(f"{section_name} has {len(section.dimensions)} dimensions")
        row = 0
        for known, name in zip(section.dimensions, names, strict=True):
            row = row * len(known) + known.index(name)
        return at + row * len(section.columns)

    def stride(self, section_name: str, dimension: int) -> int:
        """Return how many cells lie between neighbours of one dimension."""
        section, _ = self._find(section_name)
        cells = len(section.columns)
        for names in section.dimensions[dimension + 1 :]:
            cells *= len(names)
        return cells

    def named(self, cells: Sequence[int]) -> dict[CellName, int]:
        """Return what `cells` say, without what is zero."""
        return {name: value for name, value in zip(self.names(), cells, strict=True) if value}

    def names(self) -> Iterator[CellName]:
        """Yield the name of every cell, in their order."""
        for section in self.sections:
            for row in itertools.product(*section.dimensions):
                for column in section.columns:
                    yield (section.name, *row, column)

    def _find(self, name: str) -> tuple[Section, int]:
        at = 0
        for section in self.sections:
            if section.name == name:
                return section, at
            at += section.cells
        raise ValueError(f"no section {name}")


def layout_of(groups: Sequence[str] = (), upstreams: Sequence[str] = ()) -> Layout:
    """Return the layout of this version.

    `groups` are the configured client groups and `upstreams` the URLs of all pools; "other" is
    added to both, for what none of them names.
    """
    return Layout(
        sections=(
            Section(
                name="served",
                dimensions=((*groups, OTHER), CLASSES, OUTCOMES),
                columns=SERVED_COLUMNS,
            ),
            Section(
                name="fetched",
                dimensions=((*upstreams, OTHER), CLASSES),
                columns=FETCHED_COLUMNS,
            ),
            Section(
                name="latency",
                dimensions=(tuple(each.value for each in Path), CLASSES),
                columns=LATENCY_COLUMNS,
            ),
            Section(name="total", dimensions=(TOTALS,), columns=("total",)),
        )
    )


def layout_of_version_1() -> Layout:
    """Return the layout of files that name none: one group, no upstream URLs, three columns."""
    classes = tuple(each.value for each in ContentClass)
    return Layout(
        sections=(
            Section(
                name="served",
                dimensions=((OTHER,), CLASSES, OUTCOMES),
                columns=SERVED_COLUMNS[:3],
            ),
            Section(
                name="fetched",
                dimensions=((OTHER,), classes),
                columns=("requests", "content_bytes", "not_modified"),
            ),
        )
    )

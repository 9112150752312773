"""All metrics of this mirror. Whoever adds something to be seen adds a line here.

`deploy/` has dashboards and alerts that name them: a test compares both.

Runs in: keeper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from mirror.accounting.layout import CLASSES, OTHER, OUTCOMES, Path
from mirror.control.metric import Kind, Metric, ProcessFigures, Row, Snapshot, Sums, UpstreamFigures
from mirror.control.metric_care import CARE_METRICS

PREFIX: Final = "rust_mirror_"

_OfSums = Callable[[Snapshot, Sums], Iterable[Row]]
_OfProcess = Callable[[ProcessFigures], float | None]


def _counter(name: str, help: str, read: _OfSums, *labels: str) -> Metric:
    """A sum of the ledger; nothing is said while that cannot be read."""

    def rows(snapshot: Snapshot) -> Iterable[Row]:
        return () if snapshot.sums is None else read(snapshot, snapshot.sums)

    return Metric(
        name=f"{PREFIX}{name}_total", kind=Kind.COUNTER, help=help, read=rows, labels=labels
    )


def _gauge(name: str, help: str, read: Callable[[Snapshot], Iterable[Row]], *labels: str) -> Metric:
    return Metric(name=PREFIX + name, kind=Kind.GAUGE, help=help, read=read, labels=labels)


def _one(name: str, help: str, read: Callable[[Snapshot], float]) -> Metric:
    return _gauge(name, help, lambda snapshot: [((), read(snapshot))])


def _total(name: str, help: str, cell: str = "") -> Metric:
    return _counter(name, help, lambda _, sums: [((), sums.total[cell or name])])


def _totals(name: str, help: str, label: str, cells: dict[str, str]) -> Metric:
    def rows(_: Snapshot, sums: Sums) -> Iterator[Row]:
        for value, cell in cells.items():
            yield (value,), sums.total[cell]

    return _counter(name, help, rows, label)


def _by_outcome(name: str, help: str, column: str) -> Metric:
    def rows(_: Snapshot, sums: Sums) -> Iterator[Row]:
        for content_class in CLASSES:
            for outcome in OUTCOMES:
                yield (content_class, outcome), sums.served[content_class, outcome, column]

    return _counter(name, help, rows, "class", "outcome")


def _by_class(name: str, help: str, column: str) -> Metric:
    def rows(_: Snapshot, sums: Sums) -> Iterator[Row]:
        for content_class in CLASSES:
            values = (sums.served[content_class, outcome, column] for outcome in OUTCOMES)
            yield (content_class,), sum(values)

    return _counter(name, help, rows, "class")


def _by_group(name: str, help: str, column: str) -> Metric:
    def rows(snapshot: Snapshot, sums: Sums) -> Iterator[Row]:
        for group in snapshot.shown_groups:
            yield (group,), sums.by_group[group, column]

    return _counter(name, help, rows, "group")


def _fetched(name: str, help: str, column: str) -> Metric:
    def rows(_: Snapshot, sums: Sums) -> Iterator[Row]:
        for content_class in CLASSES:
            if content_class != OTHER:
                yield (content_class,), sums.fetched[content_class, column]

    return _counter(name, help, rows, "class")


def _by_url(name: str, help: str, column: str) -> Metric:
    def rows(snapshot: Snapshot, sums: Sums) -> Iterator[Row]:
        for url in snapshot.shown_urls:
            yield (url,), snapshot.of_url(sums, url, column)

    return _counter(name, help, rows, "url")


def _of_urls(name: str, help: str, claim: Callable[[UpstreamFigures], bool]) -> Metric:
    def rows(snapshot: Snapshot) -> Iterator[Row]:
        for each in snapshot.upstreams:
            yield (each.pool, each.url), float(claim(each))

    return _gauge(name, help, rows, "pool", "url")


def _latencies(snapshot: Snapshot) -> Iterator[Row]:
    if snapshot.sums is None:
        return
    for path in Path:
        for content_class in CLASSES:
            if content_class != OTHER:
                distribution = snapshot.sums.distribution(path.value, content_class)
                yield (path.value, content_class), distribution


def _per_process(name: str, help: str, read: _OfProcess, kind: Kind = Kind.GAUGE) -> Metric:
    def rows(snapshot: Snapshot) -> Iterator[Row]:
        for figures in snapshot.processes:
            value = read(figures)
            if value is not None:
                yield (figures.name,), value

    return Metric(
        name=f"{PREFIX}process_{name}", kind=kind, help=help, read=rows, labels=("process",)
    )


_TRAFFIC: Final = (
    _by_outcome(
        "requests",
        "Requests answered, by content class and outcome (hit, miss, stale, revalidated,"
        " collapsed, negative, refused, failed).",
        "requests",
    ),
    _by_outcome(
        "sent_content_bytes", "Bytes of content sent to clients, heads apart.", "content_bytes"
    ),
    _by_class("sent_head_bytes", "Bytes of response heads sent to clients.", "head_bytes"),
    _by_class("ranged_responses", "Responses that were a part of an object (206).", "ranged"),
    _by_class("not_modified_responses", "Responses without content (304).", "not_modified"),
    _by_class(
        "cut_responses",
        "Responses that ended before they were complete: the client left, or a fill failed.",
        "cut",
    ),
    _by_group(
        "group_requests",
        'Requests of a content class answered, by client group ("other": no rule names it).',
        "requests",
    ),
    _by_group(
        "group_sent_content_bytes", "Bytes of content sent, by client group.", "content_bytes"
    ),
    Metric(
        name=PREFIX + "response_duration_seconds",
        kind=Kind.HISTOGRAM,
        help="From the request's head to the last byte handed to the kernel; via: from local disk"
        " or memory (hit), a flight that was under way (joined), or one of its own (filled).",
        read=_latencies,
        labels=("via", "class"),
    ),
)
_UPSTREAM: Final = (
    _fetched("fetched_requests", "Requests sent to upstreams, by content class.", "requests"),
    _fetched(
        "fetched_content_bytes",
        "Bytes of content received from upstreams as they came over the wire, by content class.",
        "content_bytes",
    ),
    _by_url("upstream_requests", "Requests sent, by configured upstream URL.", "requests"),
    _by_url("upstream_received_content_bytes", "Bytes of content received.", "content_bytes"),
    _by_url("upstream_received_head_bytes", "Bytes of response heads received.", "head_bytes"),
    _by_url("upstream_not_modified", "Answers without content (304).", "not_modified"),
    _by_url("upstream_ranged", "Answers with a part of an object (206).", "ranged"),
    _by_url("upstream_retried", "Requests that repeat a failed one.", "retried"),
    _by_url("upstream_throttled", "Answers that ask for less (429).", "throttled"),
    _by_url("upstream_failed", "Requests without a usable answer.", "failed"),
    _of_urls(
        "upstream_healthy",
        "1 unless the last thing this URL did was to fail; by pool and URL.",
        lambda each: not each.is_failing,
    ),
    _of_urls(
        "upstream_left_alone",
        "1 while this URL is not asked because it wanted to be left alone (429 with Retry-After).",
        lambda each: each.is_left_alone,
    ),
    _of_urls(
        "upstream_circuit_open",
        "1 while this URL is left alone after [upstream] breaker_failures, but for a probe.",
        lambda each: each.circuit != "closed",
    ),
    _of_urls(
        "upstream_preferred",
        "0 while this URL is asked after the others of its pool: it failed, or proves itself.",
        lambda each: each.is_preferred,
    ),
    _total("upstream_circuits_opened", "How often a circuit opened, failed probes too."),
    _total(
        "upstream_hedges",
        "Second requests, sent because a first byte was slow ([upstream] hedge_after).",
    ),
    _total("upstream_hedges_won", "Second requests that were answered first."),
    _total(
        "upstream_waits",
        "Requests that waited: for a place at a gate ([upstream] max_fills, max_connections), or"
        " for a turn in the budget (max_requests).",
    ),
    _total(
        "upstream_waits_refused",
        "Requests that were refused instead: too many waited, or it took longer than [limits]"
        " queue_wait.",
    ),
)
_STORE: Final = (
    _one(
        "store_used_bytes",
        "Bytes of the budget in use: blobs, reservations, and parts kept to be resumed.",
        lambda snapshot: snapshot.store.used_bytes,
    ),
    _one("store_budget_bytes", "[store] budget.", lambda snapshot: snapshot.store.budget_bytes),
    _gauge(
        "store_storing",
        "0 while the disk takes nothing and bodies pass through; the reason says why.",
        lambda snapshot: [((snapshot.store.trouble,), float(not snapshot.store.trouble))],
        "reason",
    ),
    _gauge(
        "filesystem_free_bytes",
        "Free bytes of the file system that a directory (store, state) is on.",
        lambda snapshot: [((name,), size) for name, size in snapshot.free_bytes.items()],
        "directory",
    ),
    _total("store_published_blobs", "Objects stored, coded forms too.", "published_blobs"),
    _total("store_published_bytes", "Bytes of disk that they took.", "published_bytes"),
    _total("store_evicted_blobs", "Objects removed to make room.", "evicted_blobs"),
    _total("store_evicted_bytes", "Bytes of disk that this freed.", "evicted_bytes"),
)
_KEEPER: Final = (
    _one("fills", "Flights under way, waiting ones too.", lambda s: s.keeper.fills),
    _one(
        "fills_waiting",
        "Those that wait for a place at their upstream's gate ([upstream] max_fills).",
        lambda snapshot: snapshot.keeper.fills_waiting,
    ),
    _one(
        "background_checks",
        "Stored responses that are being checked with upstream, or wait for it.",
        lambda snapshot: snapshot.keeper.checks,
    ),
    _one(
        "connected_workers",
        "Workers with a connection to the keeper.",
        lambda snapshot: snapshot.keeper.workers,
    ),
    _one(
        "keeper_start_time_seconds",
        "When this keeper started, in Unix seconds.",
        lambda snapshot: snapshot.keeper.started_at,
    ),
    _one(
        "ledger_readable",
        "1 while the sums can be read; 0: every counter is missing from this scrape.",
        lambda snapshot: float(snapshot.sums is not None),
    ),
    _total("flights", "Flights that ended."),
    _total("flights_failed", "Flights that ended without anything to answer with."),
    _total("asks", "Questions of workers to the keeper.", "asks_total"),
    _total("asks_failed", "Those without an answer in time."),
    _total("log_lines_written", "Lines written to the access log."),
    _total("log_lines_dropped", "Lines that the access log had no room for."),
)
_CONNECTIONS: Final = (
    _total("connections_accepted", "Client connections accepted."),
    _total(
        "connections_turned_away",
        "Client connections closed at once: over [serve] max_connections, or a client's share.",
    ),
    _total(
        "connections_made_room",
        "Idle client connections closed for others, over [serve] max_connections.",
    ),
    _totals(
        "limited_requests",
        "Requests answered 429 because their client is over a limit: of requests per second"
        " ([limits] client_requests), or at once (client_streams).",
        "limit",
        {"requests": "limited_requests", "at_once": "limited_at_once"},
    ),
    _total(
        "paced_responses",
        "Responses of which content was sent later: over [limits] client_rate.",
    ),
    _total(
        "misses_turned_away",
        "Misses answered from a stale copy or 503: over [limits] queued_misses.",
    ),
    _total("connections_http2", "Client connections that speak HTTP/2."),
    _total("tls_handshakes", "TLS handshakes that succeeded, resumed ones too."),
    _total("tls_handshakes_failed", "TLS handshakes that did not."),
    _total("tls_sessions_resumed", "TLS handshakes that resumed a session."),
    _totals(
        "deadlines",
        "Connections closed because a client was too slow: to send a head, to ask again, to take"
        " what it is owed.",
        "phase",
        {"head": "deadline_head", "idle": "deadline_idle", "write": "deadline_write"},
    ),
    _totals(
        "refusals",
        "Requests refused before a content class is known: by parser or grammar, for their"
        " method, or because they lead back here.",
        "reason",
        {"request": "refused_request", "method": "refused_method", "loop": "refused_loop"},
    ),
)
_TRUST: Final = (
    _total(
        "verification_failures",
        "Bytes, signatures or dates that are not what their publisher says; nothing of it is"
        " served.",
    ),
    _total("quarantined", "Bodies put aside because they are not what they should be."),
    _one(
        "quarantine_bodies",
        "Bodies that lie in the quarantine.",
        lambda snapshot: snapshot.store.quarantine_count,
    ),
    _one(
        "quarantine_bytes",
        "Bytes of them that are kept for a look.",
        lambda snapshot: snapshot.store.quarantine_bytes,
    ),
    _one(
        "held_releases",
        "Changes that upstream offers and that wait for an acceptance ([trust] accept).",
        lambda snapshot: snapshot.held,
    ),
    _gauge(
        "channel_age_seconds",
        "Since the date of the newest generation that was served here, by channel.",
        lambda snapshot: [((each.name,), each.age_s) for each in snapshot.channels],
        "channel",
    ),
    _gauge(
        "channel_frozen",
        "1 when that is longer than a channel goes without a release ([trust] …_frozen_after).",
        lambda snapshot: [((each.name,), float(each.is_frozen)) for each in snapshot.channels],
        "channel",
    ),
    _gauge(
        "channel_confirmed_timestamp_seconds",
        "When upstream last confirmed what is stored of the channel, in Unix seconds; 0: nothing.",
        lambda snapshot: [((each.name,), each.confirmed_at) for each in snapshot.channels],
        "channel",
    ),
)
_PROCESSES: Final = (
    _per_process("up", "1 while the process lives and beats.", lambda each: float(each.is_up)),
    _per_process(
        "restarts_total",
        "How often the supervisor had to start it again.",
        lambda each: each.restarts_total,
        Kind.COUNTER,
    ),
    _per_process(
        "heartbeat_age_seconds", "Since its last heartbeat.", lambda each: each.heartbeat_age_s
    ),
    _per_process(
        "cpu_seconds_total",
        "User and system CPU time since it started.",
        lambda each: each.cpu_s,
        Kind.COUNTER,
    ),
    _per_process("resident_memory_bytes", "Resident memory.", lambda each: each.resident_bytes),
    _per_process("open_fds", "Open file descriptors.", lambda each: each.open_fds),
    _one(
        "open_files_limit",
        "How many descriptors each process may have open.",
        lambda snapshot: snapshot.open_files_limit,
    ),
    _gauge(
        "build_info",
        "The version that runs; always 1.",
        lambda snapshot: [((snapshot.version,), 1.0)],
        "version",
    ),
)
METRICS: Final = (
    *_TRAFFIC,
    *_UPSTREAM,
    *_STORE,
    *CARE_METRICS,
    *_KEEPER,
    *_CONNECTIONS,
    *_TRUST,
    *_PROCESSES,
)

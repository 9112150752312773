"""`/metrics`: the table of metrics, filled from one snapshot and rendered for Prometheus.

Rules:
1. The text is Prometheus' own, or OpenMetrics 1.0.0 where the scraper accepts that. The library's
   own choice is not used: it fails over a version that is no number, and claims any that is.
2. What the keeper's loop owns is read on the loop; files, kernel and text are a thread's work.
3. One scrape at a time: those who ask while one is made wait for it and share the next. However
   many scrapers there are, they cost one thread, and two scrapes at once.
4. A ledger that cannot be read takes the counters from a scrape, not the scrape from its reader.

Runs in: keeper (the only process that loads prometheus_client).
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Protocol, cast

from aiohttp import web
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

import mirror
from mirror.accounting.layout import LATENCY_BOUNDS_S
from mirror.accounting.totals import Totals
from mirror.accounting.traffic import upstream_urls
from mirror.control.care import care_figures
from mirror.control.metric import (
    SHOWN_UPSTREAMS,
    ChannelFigures,
    Distribution,
    KeeperFigures,
    Kind,
    Metric,
    Snapshot,
    StoreFigures,
    Sums,
    UpstreamFigures,
)
from mirror.control.metric_table import METRICS
from mirror.control.process_figures import read_processes
from mirror.control.status import KeeperView, StatusSource
from mirror.errors import MirrorError

_OPENMETRICS = frozenset(("version=1.0.0",))  # or no version
_REFUSED_WEIGHT = re.compile(r"q=0(\.0*)?")
Encoder = Callable[[CollectorRegistry], bytes]
_BOUNDS = (*map(repr, map(float, LATENCY_BOUNDS_S)), "+Inf")


class FillsView(Protocol):
    """`fill.filler.Filler`."""

    @property
    def flights(self) -> Sized: ...

    @property
    def waiting(self) -> int: ...

    @property
    def checks(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSource:
    """Where the figures come from. `totals` is called in a thread and may raise MirrorError;
    `groups` are the configured ones; `workers` says how many are connected."""

    status: StatusSource
    fills: FillsView
    workers: Callable[[], int]
    totals: Callable[[], Totals]
    groups: Sequence[str]
    supervisor_pid: int


class MetricsEndpoint:
    """Answers `/metrics` on each control listener."""

    def __init__(self, source: MetricsSource) -> None:
        self._source = source
        self._turn = asyncio.Lock()
        self._made: dict[str, _Made] = {}  # by content type; the newest of each
        self._begun = 0  # how many were begun

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/metrics", self._answer)

    async def text(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their content type, as `accept` prefers."""
        asked_at = self._begun  # a scrape that is begun from here on is fresh
        encode, content_type = encoder_for(accept)
        async with self._turn:
            made = self._made.get(content_type)
            if made is None or made.number <= asked_at:
                self._begun += 1
                number, living = self._begun, _living(self._source)
                text = await asyncio.to_thread(self._render, living, encode)
                made = _Made(number=number, text=text)
                self._made = {content_type: made}
            return made.text, content_type

    def _render(self, living: _Living, encode: Encoder) -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_SnapshotCollector(_snapshot(self._source, living)))
        return encode(registry)

    async def _answer(self, request: web.Request) -> web.Response:
        body, content_type = await self.text(request.headers.get("Accept", ""))
        fields = {"Content-Type": content_type, "Cache-Control": "no-store"}
        return web.Response(body=body, headers=fields)


def encoder_for(accept: str) -> tuple[Encoder, str]:
    """Return what writes the text, and its content type."""
    for each in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in each.split(";"))
        if media_type != "application/openmetrics-text" or not _OPENMETRICS.issuperset(
            part for part in parameters if part.startswith("version=")
        ):
            continue
        if not any(_REFUSED_WEIGHT.fullmatch(part) for part in parameters):
            return openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST
    return exposition.generate_latest, exposition.CONTENT_TYPE_PLAIN_0_0_4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """`number` counts scrapes from 1, in the order in which they were begun."""

    number: int
    text: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Living:
    """What is read on the loop."""

    keeper: KeeperFigures
    upstreams: Sequence[UpstreamFigures]
    channels: Sequence[ChannelFigures]
    held: int


def _living(source: MetricsSource) -> _Living:
    keeper = _keeper(source)
    filler = None if keeper.trust is None else keeper.trust.filler
    channels = () if filler is None else filler.channel_states()
    return _Living(
        keeper=KeeperFigures(
            started_at=keeper.started_at,
            fills=len(source.fills.flights),
            fills_waiting=source.fills.waiting,
            checks=source.fills.checks,
            workers=source.workers(),
        ),
        upstreams=[
            UpstreamFigures(
                pool=pool["name"],
                url=health["url"],
                is_failing=health["is_failing"],
                is_left_alone=health["is_left_alone"],
                circuit=health["circuit"],
                is_preferred=health["is_preferred"],
            )
            for pool in keeper.upstreams()
            for health in pool["urls"]
        ][:SHOWN_UPSTREAMS],
        channels=[
            ChannelFigures(
                name=each.name,
                age_s=each.age_s,
                is_frozen=each.is_frozen,
                confirmed_at=each.confirmed_at,
            )
            for each in channels
        ],
        held=0 if filler is None else len(list(filler.held)),
    )


def _snapshot(source: MetricsSource, living: _Living) -> Snapshot:
    config, status, keeper = source.status.config, source.status, _keeper(source)
    trust = keeper.trust
    quarantine = None if trust is None else trust.quarantine.summary()
    try:
        sums: Sums | None = Sums(source.totals().named)
    except MirrorError:
        sums = None  # rule 4; the bookkeeper tells why, once
    return Snapshot(
        version=mirror.__version__,
        sums=sums,
        groups=source.groups,
        urls=upstream_urls(config.upstream),
        store=StoreFigures(
            used_bytes=keeper.store.used_bytes,
            budget_bytes=keeper.store.budget_bytes,
            quarantine_count=0 if quarantine is None else quarantine.count,
            quarantine_bytes=0 if quarantine is None else quarantine.used_bytes,
            trouble=_trouble(keeper),
        ),
        free_bytes=dict(_free_bytes({"store": config.store.path, "state": config.state.path})),
        keeper=living.keeper,
        upstreams=living.upstreams,
        channels=living.channels,
        held=living.held,
        processes=read_processes(status.page, status.clock, source.supervisor_pid),
        open_files_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        care=None if keeper.care is None else care_figures(keeper.care),
    )


def _trouble(keeper: KeeperView) -> str:
    ailment = None if keeper.trouble is None else keeper.trouble.ailment
    return "" if ailment is None else ailment.kind.value


def _keeper(source: MetricsSource) -> KeeperView:
    """The endpoint lives in a keeper: its view is there (misuse otherwise)."""
    keeper = source.status.keeper
    if keeper is None:
        raise ValueError("metrics without a keeper")
    return keeper


def _free_bytes(paths: dict[str, str]) -> Iterator[tuple[str, int]]:
    for name, path in paths.items():
        try:
            found = os.statvfs(path)
        except OSError:
            continue  # no figure is better than a wrong one
        yield name, found.f_bavail * found.f_frsize


class _SnapshotCollector(Collector):
    """The table as the library's families."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            yield family_of(metric, self._snapshot)


def family_of(metric: Metric, snapshot: Snapshot) -> Family:
    """Return one metric with all its series."""
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in metric.read(snapshot):
            found = cast(Distribution, value)
            histogram.add_metric(labels, _buckets(found), found.sum_s)
        return histogram
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in metric.read(snapshot):
        family.add_metric(labels, cast(float, value))
    return family


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    """Prometheus' buckets include those below."""
    count = 0
    buckets: list[tuple[str, float]] = []
    for bound, more in zip(_BOUNDS, distribution.counts, strict=True):
        count += more
        buckets.append((bound, count))
    return buckets

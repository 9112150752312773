"""Builds the control listeners' server from what the keeper has opened: status, dashboard, metrics.

Runs in: keeper.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

from mirror.accounting.groups import GroupTable
from mirror.addresses import parse_listen
from mirror.app_books import KeeperBooks
from mirror.app_care import Care
from mirror.clock import Clock
from mirror.config import Config
from mirror.control.care import CareView
from mirror.control.dashboard import Dashboard, DashboardSource
from mirror.control.hosts import AllowedHosts
from mirror.control.metrics import MetricsEndpoint, MetricsSource
from mirror.control.objects import ObjectSource
from mirror.control.overview import OverviewSource, RecentEvents
from mirror.control.recovery import RecoveryView
from mirror.control.savings import Savings
from mirror.control.server import ControlServer
from mirror.control.status import KeeperView, StatusSource, build_status
from mirror.control.traffic import traffic_of
from mirror.control.trust import TrustView
from mirror.control.verbs import Verbs, VerbSource
from mirror.events import EventLog
from mirror.fill.filler import Filler
from mirror.fill.server import KeeperServer
from mirror.store.page import SharedPage
from mirror.store.reader import StoreReader
from mirror.store.state_loss import lost_at
from mirror.store.store import Store
from mirror.upstream.pools import Pools


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperParts:
    """What runs in this keeper; `listen` are the addresses of the workers."""

    config: Config
    page: SharedPage
    clock: Clock
    events: EventLog
    listen: tuple[str, ...]
    started_at: float
    store: Store
    reader: StoreReader
    books: KeeperBooks
    pools: Pools
    filler: Filler
    server: KeeperServer
    groups: GroupTable
    care: Care


def make_control(parts: KeeperParts) -> ControlServer:
    """Call it inside the running loop; start and close what it returns."""
    status = _status_source(parts)
    return ControlServer(
        lambda: build_status(status),
        _hosts(parts.config),
        dashboard=_dashboard(parts, status),
        metrics=_metrics(parts, status),
        verbs=Verbs(
            VerbSource(
                store=parts.store,
                page=parts.page,
                clock=parts.clock,
                events=parts.events,
                is_repairing=lambda: parts.store.repair.is_open,
            )
        ),
    )


def _status_source(parts: KeeperParts) -> StatusSource:
    return StatusSource(
        config=parts.config,
        page=parts.page,
        clock=parts.clock,
        traffic=lambda: traffic_of(parts.books.bookkeeper.totals()),
        keeper=KeeperView(
            store=parts.store,
            listen=parts.listen,
            started_at=parts.started_at,
            upstreams=lambda: _upstreams(parts.pools),
            channels=parts.books.state.channels,
            trust=TrustView(filler=parts.filler, quarantine=parts.store.quarantined),
            trouble=parts.store.trouble,
            recovery=RecoveryView(
                repair=parts.store.repair, state_lost_at=lost_at(parts.books.state)
            ),
            care=CareView(
                scrub=parts.care.scrub, healer=parts.care.healer, checks=parts.store.scrubber
            ),
        ),
    )


def _dashboard(parts: KeeperParts, status: StatusSource) -> Dashboard:
    config, books = parts.config, parts.books
    return Dashboard(
        DashboardSource(
            overview=OverviewSource(
                status=status,
                fills=parts.filler,
                totals=books.bookkeeper.totals,
                events=RecentEvents(config.state.path),
            ),
            objects=ObjectSource(
                config=config,
                reader=parts.reader,
                fills=parts.filler,
                quarantine=parts.store.quarantined,
            ),
            history=books.history,
            money=Savings(books.history, config).of,
        ),
        parts.events,
    )


def _metrics(parts: KeeperParts, status: StatusSource) -> MetricsEndpoint:
    return MetricsEndpoint(
        MetricsSource(
            status=status,
            fills=parts.filler,
            workers=lambda: parts.server.connections,
            totals=parts.books.bookkeeper.totals,
            groups=parts.groups.names,
            supervisor_pid=os.getppid(),
        )
    )


def _upstreams(pools: Pools) -> list[dict[str, Any]]:
    return [
        {"name": name, "urls": [dataclasses.asdict(health) for health in pool.health()]}
        for name, pool in pools.items()
    ]


def _hosts(config: Config) -> AllowedHosts:
    listen = parse_listen(config.control.listen) if config.control.listen else None
    host = "" if listen is None else str(listen).rpartition(":")[0]
    return AllowedHosts(host, config.control.allowed_hosts)

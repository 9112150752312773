"""`mirror.control.metrics`: one table, every series from the first scrape on, never too many."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from mirror.accounting.layout import (
    CLASSES,
    LATENCY_BOUNDS_S,
    LATENCY_COLUMNS,
    OTHER,
    CellName,
    layout_of,
)
from mirror.accounting.totals import Totals
from mirror.accounting.traffic import upstream_urls
from mirror.config import Config, Crates, Releases, State, Upstream
from mirror.config import Store as StoreConfig
from mirror.config_rules import MAX_WORKERS
from mirror.control.hosts import AllowedHosts
from mirror.control.metric import Kind, ProcessFigures
from mirror.control.metric_table import METRICS, PREFIX
from mirror.control.metrics import MetricsEndpoint, MetricsSource
from mirror.control.process_figures import SHOWN_WORKERS, folded
from mirror.control.server import ControlServer
from mirror.control.status import KeeperView, StatusSource
from mirror.control.trust import TrustView
from mirror.errors import StoreError
from mirror.store.page import KEEPER_SLOT, SharedPage
from mirror.store.quarantine import QuarantineSummary

SERIES_MAX = 1000
URL = "https://static.crates.io"
GROUPS = ("azure-eastus", 'odd "name"\n')
PROMTOOL = shutil.which("promtool")


class FixedClock:
    def now(self) -> float:
        return 2_000_000_000.0

    def monotonic(self) -> float:
        return 500.0


class Sizes:
    used_bytes, budget_bytes = 7, 9


class Fills:
    flights, waiting, checks = ("a", "b"), 1, 4


class Channel:
    name, date, age_s, is_frozen, proof, confirmed_at = (
        "stable",
        "2033-05-01",
        86400.0,
        True,
        "",
        5.0,
    )


class FakeFiller:
    held = ()

    def channel_states(self) -> list[Channel]:
        return [Channel()]

    def legacy_channels(self) -> list[str]:
        return []


class FakeQuarantine:
    def summary(self) -> QuarantineSummary:
        return QuarantineSummary(count=2, used_bytes=300, oldest_at=1.0, newest=())


def source_of(
    tmp_path: Path,
    named: dict[CellName, int] | StoreError,
    *,
    groups: Iterable[str] = GROUPS,
    upstream: Upstream | None = None,
    slots: int = 2,
) -> MetricsSource:
    config = Config(
        state=State(path=str(tmp_path)),
        store=StoreConfig(path=str(tmp_path)),
        upstream=upstream or Upstream(),
    )
    page = SharedPage.create(str(tmp_path / "shared.page"), max(slots, 1))
    for slot in (KEEPER_SLOT, *range(slots)):
        page.set_pid(slot, os.getpid())
        page.beat(slot, 499_900)
    healths = [
        {
            "url": url,
            "is_failing": url != URL,
            "is_left_alone": False,
            "circuit": "closed" if url == URL else "open",
            "is_preferred": url == URL,
        }
        for url in upstream_urls(config.upstream)
    ]

    def totals() -> Totals:
        if isinstance(named, StoreError):
            raise named
        return Totals(named)

    keeper = KeeperView(
        store=Sizes(),
        listen=(),
        started_at=1_999_999_000.0,
        upstreams=lambda: [{"name": "crates", "urls": healths}],
        channels=dict,
        trust=TrustView(filler=FakeFiller(), quarantine=FakeQuarantine()),
    )
    return MetricsSource(
        status=StatusSource(
            config=config, page=page, clock=FixedClock(), traffic=dict, keeper=keeper
        ),
        fills=Fills(),
        workers=lambda: slots,
        totals=totals,
        groups=tuple(groups),
        supervisor_pid=os.getppid(),
    )


Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def series_of(text: bytes) -> Series:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float:
    found = {key.replace("class_", "class"): text for key, text in labels.items()}
    return series[PREFIX + name, frozenset(found.items())]


async def scraped(source: MetricsSource) -> Series:
    text, content_type = await MetricsEndpoint(source).text("")
    assert content_type.startswith("text/plain")
    return series_of(text)


async def test_the_ledgers_sums_are_told_by_their_labels(tmp_path: Path) -> None:
    series = await scraped(
        source_of(
            tmp_path,
            {
                ("served", GROUPS[0], "crate", "hit", "requests"): 3,
                ("served", OTHER, "crate", "hit", "requests"): 2,
                ("served", "gone-group", "crate", "miss", "requests"): 1,
                ("served", GROUPS[0], "crate", "hit", "content_bytes"): 1000,
                ("served", OTHER, "index", "hit", "not_modified"): 9,
                ("served", GROUPS[0], OTHER, "hit", "requests"): 50,  # no group's traffic
                ("fetched", URL, "crate", "requests"): 4,
                ("fetched", URL, "crate", "content_bytes"): 400,
                ("fetched", URL, "crate", "throttled"): 1,
                ("fetched", "https://gone.example", "crate", "requests"): 5,
                ("total", "deadline_head", "total"): 6,
                ("total", "evicted_bytes", "total"): 77,
            },
        )
    )
    assert value(series, "requests_total", class_="crate", outcome="hit") == 5
    assert value(series, "requests_total", class_="release", outcome="stale") == 0
    assert value(series, "group_requests_total", group=GROUPS[0]) == 3
    assert value(series, "group_requests_total", group=OTHER) == 2
    assert value(series, "group_sent_content_bytes_total", group=GROUPS[1]) == 0
    assert value(series, "sent_content_bytes_total", class_="crate", outcome="hit") == 1000
    assert value(series, "not_modified_responses_total", class_="index") == 9
    assert value(series, "upstream_requests_total", url=URL) == 4
    assert value(series, "upstream_throttled_total", url=URL) == 1
    assert value(series, "fetched_requests_total", class_="crate") == 9
    assert value(series, "fetched_content_bytes_total", class_="crate") == 400
    assert value(series, "deadlines_total", phase="head") == 6
    assert value(series, "store_evicted_bytes_total") == 77
    assert value(series, "ledger_readable") == 1


async def test_latencies_are_histograms_with_growing_buckets(tmp_path: Path) -> None:
    series = await scraped(
        source_of(
            tmp_path,
            {
                ("latency", "hit", "crate", LATENCY_COLUMNS[0]): 5,
                ("latency", "hit", "crate", LATENCY_COLUMNS[3]): 2,
                ("latency", "hit", "crate", "le_inf"): 1,
                ("latency", "hit", "crate", "sum_us"): 65_000_000,
            },
        )
    )
    name = "response_duration_seconds"
    labels = {"via": "hit", "class_": "crate"}
    buckets = [
        value(series, f"{name}_bucket", le=repr(bound), **labels) for bound in LATENCY_BOUNDS_S
    ]
    assert buckets == [5, 5, 5] + [7] * (len(LATENCY_BOUNDS_S) - 3)
    assert value(series, f"{name}_bucket", le="+Inf", **labels) == 8
    assert value(series, f"{name}_count", **labels) == 8
    assert value(series, f"{name}_sum", **labels) == 65.0


async def test_the_keepers_own_figures_are_told(tmp_path: Path) -> None:
    series = await scraped(source_of(tmp_path, {}))
    assert value(series, "store_used_bytes") == 7
    assert value(series, "fills") == 2
    assert value(series, "fills_waiting") == 1
    assert value(series, "connected_workers") == 2
    assert value(series, "quarantine_bodies") == 2
    assert value(series, "channel_frozen", channel="stable") == 1
    assert value(series, "channel_age_seconds", channel="stable") == 86400
    assert value(series, "upstream_healthy", pool="crates", url=URL) == 1
    assert value(series, "upstream_healthy", pool="crates", url="https://index.crates.io") == 0
    assert value(series, "filesystem_free_bytes", directory="state") > 0


async def test_every_process_is_told_with_what_it_takes(tmp_path: Path) -> None:
    series = await scraped(source_of(tmp_path, {}))
    for process in ("supervisor", "keeper", "worker-0", "worker-1"):
        assert value(series, "process_up", process=process) == 1
        assert value(series, "process_cpu_seconds_total", process=process) >= 0
        assert value(series, "process_resident_memory_bytes", process=process) > 1 << 20
        assert value(series, "process_open_fds", process=process) > 0
    assert value(series, "process_heartbeat_age_seconds", process="worker-1") == 0.1


async def test_a_supervisor_that_is_gone_is_down(tmp_path: Path) -> None:
    source = source_of(tmp_path, {})
    object.__setattr__(source, "supervisor_pid", os.getpid())  # nobody's parent here
    series = await scraped(source)
    assert value(series, "process_up", process="supervisor") == 0
    assert (PREFIX + "process_open_fds", frozenset({("process", "supervisor")})) not in series


async def test_an_unreadable_ledger_takes_the_counters_only(tmp_path: Path) -> None:
    series = await scraped(source_of(tmp_path, StoreError("state.db", "is damaged")))
    assert value(series, "ledger_readable") == 0
    assert value(series, "store_used_bytes") == 7
    assert value(series, "process_up", process="keeper") == 1
    assert not [name for name, _ in series if name == PREFIX + "requests_total"]


def everything(groups: tuple[str, ...], urls: tuple[str, ...]) -> dict[CellName, int]:
    return dict.fromkeys(layout_of(groups, urls).names(), 1)


async def test_series_are_bounded_by_any_configuration(tmp_path: Path) -> None:
    groups = tuple(f"group-{number}" for number in range(64))
    upstream = Upstream(
        releases=Releases(urls=tuple(f"https://r{n}.example" for n in range(40))),
        crates=Crates(urls=tuple(f"https://c{n}.example" for n in range(40))),
    )
    named = everything(groups, upstream_urls(upstream))
    source = source_of(tmp_path, named, groups=groups, upstream=upstream, slots=MAX_WORKERS)
    series = await scraped(source)
    assert len(series) <= SERIES_MAX
    assert value(series, "process_up", process="workers") == 1
    # 80 URLs and the index's one in 3 pools: what is not told apart is told together
    told = sum(v for (name, _), v in series.items() if name == PREFIX + "upstream_requests_total")
    assert told == (len(upstream_urls(upstream)) + 1) * len(CLASSES)


def test_workers_beyond_the_shown_ones_are_folded_with_their_worst() -> None:
    workers = [
        ProcessFigures(
            name=f"worker-{number}",
            is_up=number != 3,
            restarts_total=1,
            heartbeat_age_s=None if number == 5 else float(number),
            cpu_s=2.0,
            resident_bytes=None,
            open_fds=10,
        )
        for number in range(SHOWN_WORKERS + 1)
    ]
    assert folded(workers[:-1]) == workers[:-1]
    (together,) = folded(workers)
    assert (together.name, together.is_up, together.restarts_total) == ("workers", False, 17)
    assert (together.heartbeat_age_s, together.cpu_s) == (16.0, 34.0)
    assert (together.resident_bytes, together.open_fds) == (None, 170)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: object) -> None:
    found = next(each for each in METRICS if each is metric)
    assert re.fullmatch(r"rust_mirror_[a-z0-9_]+", found.name)
    assert found.name.endswith("_total") == (found.kind is Kind.COUNTER)
    assert len(found.help) > 10
    assert found.help.endswith(".")
    assert not {"le", "path", "target", "address"} & set(found.labels)


def test_names_are_given_once() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


async def test_openmetrics_is_spoken_to_those_who_accept_it(tmp_path: Path) -> None:
    source = source_of(tmp_path, everything(GROUPS, (URL,)))
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    text, content_type = await MetricsEndpoint(source).text(accept)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    parsed = openmetrics_families(text.decode())  # type: ignore[no-untyped-call] # the library's
    families = {family.name: family for family in parsed}
    plain = await scraped(source_of(tmp_path, everything(GROUPS, (URL,))))
    told = {
        (sample.name, frozenset(sample.labels.items()))
        for family in families.values()
        for sample in family.samples
    }
    assert told == set(plain)


@pytest.mark.parametrize(
    ("accept", "is_openmetrics"),
    [
        pytest.param("", False, id="none"),
        pytest.param("*/*", False, id="anything"),
        pytest.param("application/openmetrics-text", True, id="no-version"),
        pytest.param(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain",
            True,
            id="prometheus-3",
        ),
        pytest.param("Application/OpenMetrics-Text; version=1.0.0", True, id="case"),
        pytest.param("application/openmetrics-text;version=0.0.1", False, id="too-old"),
        pytest.param("application/openmetrics-text;version=99.0.0", False, id="unknown"),
        pytest.param("application/openmetrics-text;version=x", False, id="no-number"),
        pytest.param("text/plain;version=1.x;escaping=;=", False, id="odd-plain"),
        pytest.param("application/openmetrics-text;q=0.0, text/plain", False, id="refused"),
    ],
)
async def test_any_accept_field_gets_a_form_that_is_known(
    tmp_path: Path, accept: str, is_openmetrics: bool
) -> None:
    text, content_type = await MetricsEndpoint(source_of(tmp_path, {})).text(accept)
    assert text.endswith(b"# EOF\n") == is_openmetrics
    form = "application/openmetrics-text; version=1.0.0" if is_openmetrics else "text/plain; vers"
    assert content_type.startswith(form)


async def test_scrapes_at_the_same_time_share_what_was_read_after_they_asked(
    tmp_path: Path,
) -> None:
    endpoint, read = MetricsEndpoint(source_of(tmp_path, {})), []
    source = endpoint._source
    totals = source.totals

    def counted() -> Totals:
        read.append(1)
        return totals()

    object.__setattr__(source, "totals", counted)
    texts = await asyncio.gather(*(endpoint.text("") for _ in range(20)))
    assert len(read) == 2  # the first one's, and one that began after all had asked
    assert len({id(text) for text, _ in texts}) == 2
    both = await asyncio.gather(endpoint.text(""), endpoint.text("application/openmetrics-text"))
    assert [text.endswith(b"# EOF\n") for text, _ in both] == [False, True]
    await endpoint.text("")
    assert len(read) == 5


async def test_a_scrape_that_fails_leaves_the_next_its_turn(tmp_path: Path) -> None:
    source = source_of(tmp_path, {})
    object.__setattr__(source, "workers", lambda: 1 // len(left))
    left: list[int] = []
    endpoint = MetricsEndpoint(source)
    with pytest.raises(ZeroDivisionError):
        await endpoint.text("")
    left.append(1)
    text, _ = await endpoint.text("")
    assert value(series_of(text), "connected_workers") == 1


@pytest.mark.parametrize(
    "name",
    ['odd "name"\n', "back\\slash\\n", "grün 🦀", "} 1\nevil_total 5\n#", "a,b={c}", "\x00\x7f"],
)
async def test_an_odd_group_name_stays_within_its_label(tmp_path: Path, name: str) -> None:
    named: dict[CellName, int] = {("served", name, "crate", "hit", "requests"): 3}
    for accept in ("", "application/openmetrics-text"):
        source = source_of(tmp_path, named, groups=(name,))
        text, _ = await MetricsEndpoint(source).text(accept)
        names = {line.partition("{")[0].split()[0] for line in text.decode().split("\n") if line}
        assert all(each == "#" or each.startswith(PREFIX) for each in names)
        if not accept:
            assert value(series_of(text), "group_requests_total", group=name) == 3


async def test_both_listeners_answer_and_cache_nothing(tmp_path: Path) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    endpoint = MetricsEndpoint(source_of(tmp_path, {}))
    server = ControlServer(dict, AllowedHosts("127.0.0.1", ()), metrics=endpoint)
    unix_path = str(tmp_path / "control.sock")
    await server.start(unix_path, [sock])
    try:
        unix = aiohttp.UnixConnector(unix_path)
        async with (
            aiohttp.ClientSession() as client,
            aiohttp.ClientSession(connector=unix) as local,
        ):
            url = f"http://127.0.0.1:{sock.getsockname()[1]}/metrics"
            for session, target in ((client, url), (local, "http://localhost/metrics")):
                async with session.get(target) as response:
                    assert response.status == 200
                    assert response.headers["Cache-Control"] == "no-store"
                    assert value(series_of(await response.read()), "fills") == 2
            async with client.head(url) as response:
                assert (response.status, await response.read()) == (200, b"")
                assert int(response.headers["Content-Length"]) > 10_000
            async with client.post(url) as response:
                assert response.status == 405
            async with client.get(url, headers={"Host": "evil.example"}) as response:
                assert response.status == 421
    finally:
        await server.aclose()


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: its lint is not asked")
async def test_promtool_finds_nothing_to_say_about_the_text(tmp_path: Path) -> None:
    source = source_of(tmp_path, everything(GROUPS, (URL,)))
    text, _ = await MetricsEndpoint(source).text("")
    checked = subprocess.run(
        [str(PROMTOOL), "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")

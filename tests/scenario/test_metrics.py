"""What `/metrics` tells of real processes: it agrees with upstream, and no sum ever goes back."""

from __future__ import annotations

import http.client
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import fetch
from tests.scenario.upstream_objects import fresh_archive

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
PREFIX = "rust_mirror_"
# Of a process that is replaced it is the new one's, as Prometheus expects.
OF_A_PROCESS = PREFIX + "process_cpu_seconds_total"


@pytest.fixture
def edge(tmp_path: Path, upstream: SimulatorProcess) -> Iterator[Edge]:
    with Edge(tmp_path, upstream) as running:
        yield running


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


def scrape(edge: Edge) -> Series:
    connection = _UnixConnection(edge.state / "control.sock")
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    assert response.status == 200, text
    families = list(text_string_to_metric_families(text))
    assert sum(len(family.samples) for family in families) <= 1000
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float:
    """Return the sum over all series with (at least) these labels."""
    wanted = {(key.rstrip("_"), text) for key, text in labels.items()}
    found = [v for (known, has), v in series.items() if known == PREFIX + name and wanted <= has]
    assert found, name
    return sum(found)


def gone_back(before: Series, after: Series) -> list[str]:
    return [
        f"{name} {dict(labels)}: {was} -> {after.get((name, labels))}"
        for (name, labels), was in before.items()
        if name.endswith(("_total", "_bucket", "_count", "_sum")) and name != OF_A_PROCESS
        if after.get((name, labels), -1.0) < was
    ]


def test_requests_and_fetches_are_told(mirror: Edge, upstream: SimulatorProcess) -> None:
    before = scrape(mirror)
    logged = len(upstream.control.log())
    archive = fresh_archive(300_000)
    for path in (archive.path, archive.path, "/index/2/io"):
        assert fetch(mirror.port, path).status == 200

    def grown(name: str, **labels: str) -> float:
        return value(scrape(mirror), name, **labels) - value(before, name, **labels)

    wait_until(lambda: grown("requests_total") >= 3, "three requests are counted")
    sent = upstream.control.log()[logged:]
    assert grown("requests_total", class_="release") == 2
    assert grown("sent_content_bytes_total", class_="release") == 600_000
    assert grown("upstream_requests_total") == grown("fetched_requests_total") == len(sent)
    assert grown("response_duration_seconds_count", class_="release") == 2
    after = scrape(mirror)
    assert gone_back(before, after) == []
    assert value(after, "store_published_bytes_total") == value(after, "store_used_bytes") > 3e5
    assert value(after, "connected_workers") == 2
    assert value(after, "process_up") == 4
    assert value(after, "ledger_readable") == 1


@pytest.mark.full
def test_what_is_told_outlives_every_process(edge: Edge, upstream: SimulatorProcess) -> None:
    logged = len(upstream.control.log())
    archive = fresh_archive(300_000)
    for path in (archive.path, archive.path, "/index/2/io", "/crates/io/io-1.0.0.crate"):
        assert fetch(edge.port, path).status == 200
    sent = upstream.control.log()[logged:]

    def told() -> bool:
        """Learned heads are settled a moment after their requests."""
        found = scrape(edge)
        return value(found, "requests_total") >= 4 and value(found, "flights_total") >= 3

    wait_until(told, "four requests and their flights are counted")
    first = scrape(edge)
    assert value(first, "requests_total", class_="release") == 2
    assert value(first, "requests_total", class_="release", outcome="miss") == 1
    assert value(first, "sent_content_bytes_total", class_="release") == 600_000
    assert value(first, "upstream_requests_total") == len(sent)
    assert value(first, "fetched_requests_total") == len(sent)
    assert value(first, "upstream_received_content_bytes_total", url=upstream.releases_url) > 3e5
    assert value(first, "upstream_received_head_bytes_total") > 100 * len(sent)
    assert value(first, "flights_failed_total") == 0
    published = value(first, "store_published_bytes_total")
    assert published == value(first, "store_used_bytes") > 300_000
    assert value(first, "connected_workers") == 2
    assert value(first, "process_up") == 4
    assert value(first, "response_duration_seconds_count", class_="release") == 2

    edge.send(signal.SIGKILL, "worker-0")
    wait_until(lambda: len(edge.pids()) == 3 and bool(edge.named("process-died")), "it is back")
    second = scrape(edge)
    assert gone_back(first, second) == []
    assert value(second, "process_restarts_total") == 1

    edge.send(signal.SIGKILL, "keeper")
    wait_until(lambda: len(edge.named("process-died")) == 2 and len(edge.pids()) == 3, "it is back")
    edge.stop()
    edge.start()
    third = scrape(edge)
    restarts = PREFIX + "process_restarts_total"  # of this supervisor's time
    assert [each for each in gone_back(second, third) if not each.startswith(restarts)] == []
    assert value(third, "ledger_readable") == 1


@pytest.mark.full
def test_a_wrong_release_key_at_a_keepers_start_is_a_verification_failure(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    key = tmp_path / "key.asc"
    with Edge(tmp_path / "first", upstream) as first:
        key.write_bytes(first.get("/rust-key.gpg.ascii")[2])
    settings = {"trust.release_key_file": str(key)}
    with Edge(tmp_path / "second", upstream, settings=settings) as edge:
        assert value(scrape(edge), "verification_failures_total") == 0
        key.write_text("another one")
        edge.send(signal.SIGKILL, "keeper")
        wait_until(lambda: len(edge.named("control-ready")) == 2, "there is a keeper again")
        assert len(edge.named("release-key-refused")) == 1
        assert value(scrape(edge), "verification_failures_total") == 1


def test_bytes_that_disagree_are_a_verification_failure(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(200_000)
    upstream.control.faults({"kind": "corrupt", "path": archive.path, "at": 10})
    before = scrape(mirror)
    assert fetch(mirror.port, archive.path).status == 502
    mirror.event_of("digest-mismatch", archive.key)
    after = scrape(mirror)
    for name in ("verification_failures_total", "quarantined_total", "quarantine_bodies"):
        assert value(after, name) - value(before, name) == 1


def test_an_upstream_in_trouble_is_seen(mirror: Edge, upstream: SimulatorProcess) -> None:
    assert fetch(mirror.port, fresh_archive(1000).path).status == 200
    calm = scrape(mirror)
    assert value(calm, "upstream_healthy", pool="releases") == 1
    upstream.control.stop_serving()
    assert fetch(mirror.port, fresh_archive(1000).path).status == 503
    troubled = scrape(mirror)
    assert value(troubled, "upstream_healthy", pool="releases") == 0
    grown = {
        name: value(troubled, name) - value(calm, name)
        for name in ("upstream_failed_total", "upstream_retried_total", "flights_failed_total")
    }
    assert grown["upstream_failed_total"] == grown["upstream_retried_total"] + 1 > 1
    assert grown["flights_failed_total"] == 1
    failed = [value(each, "requests_total", outcome="failed") for each in (calm, troubled)]
    assert failed[1] == failed[0] + 1

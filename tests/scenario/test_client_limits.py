"""Clients over their limits, in real processes: 429 or later, and nobody else notices.

Clients speak through a PROXY header, as behind a balancer: each connection may be another client's,
and the kernel spreads the connections of one client over the workers.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from signal import SIGKILL

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import DEADLINE_S, Edge, wait_until
from tests.scenario.test_restart_and_reload import reload
from tests.scenario.upstream_objects import fresh_archive

INDEX_TARGET = "/index/1/q"
BEHIND_A_BALANCER = {
    "serve.proxy_protocol": "true",
    "serve.trusted_proxies": "127.0.0.0/8",
    "freshness.index": "1h",
}
WORKERS = 3
GREEDY, MODEST = "203.0.113.1", "203.0.113.2"


class Visit:
    """One connection of one client."""

    def __init__(self, edge: Edge, client: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", edge.port), timeout=DEADLINE_S)
        self.sock.sendall(f"PROXY TCP4 {client} 127.0.0.1 1234 8080\r\n".encode())
        self._file = self.sock.makefile("rb")

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.sock.close()

    def ask(self, target: str) -> None:
        self.sock.sendall(f"GET {target} HTTP/1.1\r\nHost: m\r\n\r\n".encode())

    def head(self) -> tuple[int, dict[str, str]]:
        status = int(self._file.readline().split()[1])
        fields = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(":")
            fields[name.lower()] = value.strip()
        return status, fields

    def get(self, target: str) -> tuple[int, dict[str, str], bytes]:
        self.ask(target)
        status, fields = self.head()
        return status, fields, self._file.read(int(fields["content-length"]))


def limited(tmp_path: Path, simulator: SimulatorProcess, **limits: str) -> Edge:
    settings = {**BEHIND_A_BALANCER, **{f"limits.{name}": text for name, text in limits.items()}}
    return Edge(tmp_path / "edge", simulator, workers=WORKERS, settings=settings)


def visits_of_all_workers(edge: Edge, client: str, each: int) -> list[Visit]:
    """Connections until every worker holds `each` at least."""
    visits: list[Visit] = []
    holders: Counter[str] = Counter()
    while len(holders) < WORKERS or min(holders.values()) < each:
        visits.append(Visit(edge, client))
        holders[edge.worker_of(visits[-1].sock)] += 1
    return visits


def close(visits: list[Visit]) -> None:
    for visit in visits:
        visit.__exit__()


@pytest.mark.full
def test_requests_of_one_client_have_one_limit_over_all_workers(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    limit = 30  # per second: 300 within ten
    with limited(tmp_path, upstream, client_requests=str(limit)) as edge:
        visits = visits_of_all_workers(edge, GREEDY, 2)
        began_at = time.monotonic()
        statuses: Counter[int] = Counter()
        retry_after = set()
        for number in range(900):
            status, fields, _ = visits[number % len(visits)].get(INDEX_TARGET)
            statuses[status] += 1
            if status == 429:
                retry_after.add(int(fields["retry-after"]))
        elapsed_s = time.monotonic() - began_at
        assert set(statuses) == {200, 429}
        # A burst of ten seconds' requests, then the rate: over all workers, not for each.
        assert limit * 10 <= statuses[200] <= limit * (10 + elapsed_s + 1)
        assert statuses[429] > 0
        assert all(1 <= seconds <= 11 for seconds in retry_after)
        with Visit(edge, MODEST) as visit:
            assert [visit.get(INDEX_TARGET)[0] for _ in range(20)] == [200] * 20
        close(visits)
        assert edge.own_faults() == []


@pytest.mark.full
def test_requests_at_once_have_one_limit_over_all_workers_and_end_with_a_killed_one(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    limit = 6
    archive = fresh_archive(64 << 20)
    with limited(tmp_path, upstream, client_streams=str(limit)) as edge:
        with Visit(edge, MODEST) as visit:
            status, _, content = visit.get(archive.path)
            assert (status, hashlib.sha256(content).hexdigest()) == (200, archive.sha256)
        visits = visits_of_all_workers(edge, GREEDY, 3)
        statuses = []
        for visit in visits:  # none of them reads: 64 MB wait for each that is let through
            visit.ask(archive.path)
            statuses.append(visit.head()[0])
        assert Counter(statuses) == {200: limit, 429: len(visits) - limit}
        with Visit(edge, MODEST) as modest:
            assert modest.get(INDEX_TARGET)[0] == 200
        victim = edge.worker_of(visits[0].sock)
        burdened = sum(
            status == 200 and edge.worker_of(visit.sock) == victim
            for visit, status in zip(visits, statuses, strict=True)
        )
        assert burdened > 0
        edge.send(SIGKILL, victim)
        with Visit(edge, GREEDY) as again:
            wait_until(
                lambda: again.get(INDEX_TARGET)[0] == 200, "the killed worker's are forgotten"
            )
        close(visits)
        with Visit(edge, GREEDY) as free:
            wait_until(lambda: free.get(INDEX_TARGET)[0] == 200, "all have ended")


@pytest.mark.full
def test_bytes_of_one_client_have_one_rate_over_all_workers_and_arrive_whole(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    rate, size = 4 << 20, 3 << 20
    archive = fresh_archive(size)
    with limited(tmp_path, upstream, client_rate="4MiB") as edge:
        with Visit(edge, "127.0.0.1") as local:  # is not limited; and it is stored from here on
            assert local.get(archive.path)[0] == 200
        visits = visits_of_all_workers(edge, GREEDY, 1)
        digests: list[str] = []

        def read(visit: Visit) -> None:
            digests.append(hashlib.sha256(visit.get(archive.path)[2]).hexdigest())

        readers = [threading.Thread(target=read, args=(visit,)) for visit in visits]
        began_at = time.monotonic()
        for reader in readers:
            reader.start()
        with Visit(edge, MODEST) as modest:
            assert hashlib.sha256(modest.get(archive.path)[2]).hexdigest() == archive.sha256
        for reader in readers:
            reader.join()
        elapsed_s = time.monotonic() - began_at
        assert digests == [archive.sha256] * len(visits)
        # Never faster; each worker's first quarter of a second is before it knows of the others.
        assert size * len(visits) <= rate * (elapsed_s + 0.25 + 0.5 * WORKERS)
        close(visits)
        assert edge.own_faults() == []


@pytest.mark.full
def test_reload_turns_limits_on_and_off(tmp_path: Path, upstream: SimulatorProcess) -> None:
    edge = Edge(tmp_path / "edge", upstream, workers=1, settings=BEHIND_A_BALANCER)
    with edge:
        with Visit(edge, GREEDY) as visit:
            assert {visit.get(INDEX_TARGET)[0] for _ in range(30)} == {200}
        for text, wanted in (("client_requests = 1", {200, 429}), ("client_requests = 0", {200})):
            edge.write_file(f"[limits]\n{text}\n")
            reload(edge)
            with Visit(edge, GREEDY) as visit:
                assert {visit.get(INDEX_TARGET)[0] for _ in range(30)} == wanted

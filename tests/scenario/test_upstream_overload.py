"""An upstream that is broken, slow or crowded: who is asked, who waits, and who does not.

Runs in: pytest.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import Reply, digests, fetch
from tests.scenario.stampede import stampede
from tests.scenario.upstream_objects import count_of, fresh_archive, log_of

pytestmark = pytest.mark.full

LENGTH = 1_000_000


def _of(edge: Edge, name: str) -> dict[str, Any]:
    document = edge.status()
    found = next(each for each in document["upstreams"] if each["name"] == name)
    urls: list[dict[str, Any]] = found["urls"]
    return urls[0]


def test_a_broken_upstream_is_left_alone_and_costs_hits_and_others_nothing(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    hit, others = fresh_archive(200_000), [fresh_archive(100_000) for _ in range(5)]
    settings = {
        "upstream.attempts": "1",
        "upstream.breaker_failures": "3",
        "upstream.breaker_rest": "60s",
        "upstream.hedge_after": "0s",
    }
    with Edge(tmp_path, upstream, settings=settings) as edge:
        assert digests([fetch(edge.port, hit.path)]) == {(200, True, hit.sha256)}
        rule: dict[str, object] = {"kind": "status", "status": 500, "site": "index", "name": "bad"}
        upstream.control.faults(rule)
        names = [f"zz{letter}" for letter in "abcdefghijklmnopqrst"]
        before = upstream.control.counts()["classes"].get("index", {"requests": 0})["requests"]
        replies = [fetch(edge.port, f"/index/3/z/{name}") for name in names]
        assert {reply.status for reply in replies} == {503}
        assert all(int(reply.fields["retry-after"]) > 0 for reply in replies)
        asked = upstream.control.counts()["classes"]["index"]["requests"] - before
        assert (asked, upstream.control.faults_fired()["bad"]) == (3, 3), "20 misses, 3 requests"
        assert _of(edge, "index")["circuit"] == "open"
        assert len(edge.named("upstream-circuit-opened")) == 1
        with ThreadPoolExecutor(8) as pool:
            hits = list(pool.map(lambda _: fetch(edge.port, hit.path), range(100)))
        assert digests(hits) == {(200, True, hit.sha256)}
        assert all(reply.cache_status.endswith("; hit") for reply in hits), hits[0].cache_status
        for other in others:
            assert digests([fetch(edge.port, other.path)]) == {(200, True, other.sha256)}
            assert count_of(upstream, other.key)["requests"] == 1
    assert edge.own_faults() == []


def test_a_circuit_closes_again_by_one_probe_and_stale_copies_serve_meanwhile(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    settings = {
        "freshness.index": "300ms",
        "freshness.stale_while_revalidate": "0s",
        "upstream.hedge_after": "0s",
        "upstream.attempts": "1",
        "upstream.breaker_failures": "2",
        "upstream.breaker_rest": "2s",
        "upstream.breaker_longest": "2s",
        "freshness.negative": "300ms",
    }
    path = "/index/ch/ro/chronicle"
    with Edge(tmp_path, upstream, settings=settings) as edge:
        right = fetch(edge.port, path)
        assert right.status == 200
        upstream.control.faults({"kind": "status", "status": 503, "site": "index", "name": "bad"})
        for name in ("zzu", "zzv"):
            assert fetch(edge.port, f"/index/3/z/{name}").status == 503
        assert len(edge.named("upstream-circuit-opened")) == 1
        replies: list[Reply] = []

        def is_stale() -> bool:
            replies.append(fetch(edge.port, path))
            return "stale-if-error" in replies[-1].cache_status

        wait_until(is_stale, "the stored copy serves as stale")
        upstream.control.clear_faults()

        def is_confirmed() -> bool:
            replies.append(fetch(edge.port, path))
            return "fwd-status=304" in replies[-1].cache_status

        wait_until(is_confirmed, "upstream is asked again")
        assert {(reply.status, reply.sha256) for reply in replies} == {(200, right.sha256)}
        assert len(edge.named("upstream-circuit-closed")) == 1
        assert _of(edge, "index")["circuit"] == "closed"
    assert edge.own_faults() == []


def test_a_slow_first_byte_is_answered_by_one_second_request(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(LENGTH)
    with Edge(
        tmp_path,
        upstream,
        settings={"upstream.hedge_after": "200ms", "upstream.hedge_percent": "5"},
    ) as edge:
        rule = {"kind": "delay", "ms": 60_000, "path": archive.path, "count": 1, "name": "slow"}
        upstream.control.faults(rule)
        assert digests([fetch(edge.port, archive.path)]) == {(200, True, archive.sha256)}
        assert upstream.control.faults_fired()["slow"] == 1
        assert len(edge.named("upstream-hedged")) == 1
        sent = [record["content_bytes"] for record in log_of(upstream, archive.path)]
        assert sorted(sent) == [0, archive.length], "the loser was left at its head"
    assert edge.own_faults() == []


def test_misses_beyond_the_places_wait_for_a_bounded_time_and_hits_do_not(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    """Two places are held by bodies that stall; a third body is refused after `queue_wait`."""
    hit = fresh_archive(50_000)
    held = [fresh_archive(2_000_000) for _ in range(2)]
    settings = {
        "upstream.max_connections": "4",
        "upstream.max_fills": "3",
        "upstream.hedge_after": "0s",
        "limits.queue_wait": "500ms",
    }
    with Edge(tmp_path, upstream, settings=settings) as edge, ThreadPoolExecutor(2) as pool:
        assert fetch(edge.port, hit.path).sha256 == hit.sha256
        rules = [
            {"kind": "stall", "at": 500_000, "path": each.path, "ms": 5000, "name": each.path}
            for each in held
        ]
        upstream.control.faults(*rules)
        bodies = [pool.submit(fetch, edge.port, each.path) for each in held]
        wait_until(
            lambda: all(upstream.control.faults_fired()[each.path] for each in held), "both stall"
        )
        refused = fetch(edge.port, fresh_archive(400_000).path)
        assert (refused.status, int(refused.fields["retry-after"]) > 0) == (503, True)
        assert "connection_limit_reached" in refused.fields["proxy-status"]
        assert not any(body.done() for body in bodies)
        assert digests([fetch(edge.port, hit.path)]) == {(200, True, hit.sha256)}
        assert [body.result().sha256 for body in bodies] == [each.sha256 for each in held]
    assert edge.own_faults() == []


@pytest.mark.timeout(300)
def test_a_thousand_clients_of_one_cold_key_cost_upstream_one_request(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    settings = {"upstream.hedge_after": "0s", "serve.max_connections_per_client": "0"}
    with Edge(tmp_path, upstream, settings=settings) as edge:
        stampede(edge, upstream, clients=1000, length=400_000)
    assert edge.own_faults() == []

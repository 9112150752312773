"""Many clients want what nobody has stored yet: upstream sends it once, everybody gets it right."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.body_checker import pinned_to_each_worker
from tests.scenario.edge import DEADLINE_S, Edge, wait_until
from tests.scenario.exchange import Client, Reply, at_once, digests, fetch, read_to_end
from tests.scenario.upstream_objects import (
    Archive,
    count_of,
    fresh_archive,
    log_of,
    reference,
    requests_total,
    sha256_of,
    slow_archive,
)

SETTINGS = {"freshness.index": "60s"}
LARGEST_PROCESS_BYTES = 200 << 20
SLOW_LENGTH, SLOW_RATE = 1_500_000, 1_500_000


def was_sent_once(upstream: SimulatorProcess, archive: Archive) -> bool:
    """Whether the archive and its proof have each left upstream exactly once."""
    body, proof = count_of(upstream, archive.key), count_of(upstream, f"{archive.key}.sha256")
    return (body["requests"], body["bytes"]) == (1, archive.length) and (
        proof["requests"],
        proof["bytes"],
    ) == (1, archive.proof_bytes)


def upstream_is_done(upstream: SimulatorProcess, archive: Archive) -> bool:
    return any(
        record["content_bytes"] == archive.length for record in log_of(upstream, archive.path)
    )


def clients_on_both_workers(mirror: Edge, count: int) -> list[Client]:
    return [client for _, client in pinned_to_each_worker(mirror, count // 2)]


def fetch_with_all(clients: list[Client], path: str) -> list[Reply]:
    try:
        return at_once(
            len(clients), lambda number: clients[number].fetch(path, keeps_content=False)
        )
    finally:
        for client in clients:
            client.close()


def test_cold_archive_wanted_through_both_workers_leaves_upstream_once(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(20_000_000)
    replies = fetch_with_all(clients_on_both_workers(mirror, 12), archive.path)
    assert digests(replies) == {(200, True, archive.sha256)}
    assert was_sent_once(upstream, archive)
    assert any("collapsed" in reply.cache_status for reply in replies)


@pytest.mark.full
@pytest.mark.timeout(300)
def test_fifty_clients_of_a_cold_100_mb_archive_cost_one_copy_and_little_memory(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(100_000_000)
    with Edge(tmp_path, upstream) as mirror:
        replies = fetch_with_all(clients_on_both_workers(mirror, 50), archive.path)
        assert digests(replies) == {(200, True, archive.sha256)}
        assert was_sent_once(upstream, archive)
        peaks = mirror.peak_memory_bytes()
        print("peak resident MB:", {name: peak >> 20 for name, peak in peaks.items()})
        assert {"supervisor", "keeper"} < set(peaks)
        assert len(peaks) >= 4
        assert max(peaks.values()) < LARGEST_PROCESS_BYTES


def test_cold_crate_and_index_file_are_fetched_once_for_many_clients(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    crate = reference(f"{upstream.crates_url}/crates/heavy/heavy-1.0.0.crate")
    index = reference(f"{upstream.index_url}/ch/ro/chronicle")
    upstream.control.reset_counts()
    crates = at_once(10, lambda _: fetch(mirror.port, "/crates/heavy/heavy-1.0.0.crate"))
    indexes = at_once(10, lambda _: fetch(mirror.port, "/index/ch/ro/chronicle"))
    assert digests(crates) == {(200, True, sha256_of(crate))}
    assert digests(indexes) == {(200, True, sha256_of(index))}
    for key in ("crates:/crates/heavy/heavy-1.0.0.crate", "index:/ch/ro/chronicle"):
        assert count_of(upstream, key)["requests"] == 1


def test_follower_on_the_other_worker_gets_bytes_while_the_fill_goes_on(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = slow_archive(upstream, SLOW_LENGTH, SLOW_RATE)
    clients = clients_on_both_workers(mirror, 2)
    for client in clients:
        first = client.begin(archive.path).read(1000)
        assert first == archive.content.read(0, 1000)
        assert not upstream_is_done(upstream, archive)
    replies = [fetch(mirror.port, archive.path, keeps_content=False)]
    assert digests(replies) == {(200, True, archive.sha256)}
    for client in clients:
        rest = client._response.read() if client._response else b""
        assert sha256_of(archive.content.read(0, 1000) + rest) == archive.sha256
        client.close()
    assert was_sent_once(upstream, archive)
    assert upstream.control.faults_fired()["slow"] == 1


def test_fill_outlives_its_only_client(mirror: Edge, upstream: SimulatorProcess) -> None:
    archive = slow_archive(upstream, SLOW_LENGTH, SLOW_RATE)
    with Client(mirror.port) as client:
        assert client.begin(archive.path).read(1)
    assert not upstream_is_done(upstream, archive)
    wait_until(lambda: archive.sha256 in mirror.blobs(), "the archive is a blob")
    # Its name follows the blob: until then a client still joins the fill.
    wait_until(lambda: "hit" in fetch(mirror.port, archive.path).cache_status, "it has its name")
    assert digests([fetch(mirror.port, archive.path)]) == {(200, True, archive.sha256)}
    assert was_sent_once(upstream, archive)
    assert upstream.control.faults_fired()["slow"] == 1


def test_http_1_0_client_gets_nothing_before_the_whole_is_verified(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = slow_archive(upstream, SLOW_LENGTH, SLOW_RATE)
    with socket.create_connection(("127.0.0.1", mirror.port), timeout=DEADLINE_S) as sock:
        sock.sendall(f"GET {archive.path} HTTP/1.0\r\n\r\n".encode())
        first = sock.recv(1)
        assert upstream_is_done(upstream, archive)
        head, _, content = (first + read_to_end(sock)).partition(b"\r\n\r\n")
    assert head.split()[1] == b"200"
    assert sha256_of(content) == archive.sha256
    assert upstream.control.faults_fired()["slow"] == 1


def test_head_of_a_cold_object_tells_its_length_and_entity_tag(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(1_000_000)
    with Client(mirror.port) as client:
        head = client.fetch(archive.path, method="HEAD")
        assert (head.status, head.content) == (200, b"")
        assert int(head.fields["content-length"]) == archive.length
        assert head.fields["etag"] == f'"{archive.sha256}"'
        reply = client.fetch(archive.path)  # the same connection: framing was kept
    assert digests([reply]) == {(200, True, archive.sha256)}
    assert was_sent_once(upstream, archive)


def test_range_of_a_growing_body_is_answered_before_the_fill_ends(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = slow_archive(upstream, SLOW_LENGTH, SLOW_RATE)
    with Client(mirror.port) as leader:
        response = leader.begin(archive.path)
        early = fetch(mirror.port, archive.path, {"Range": "bytes=100-299"})
        assert not upstream_is_done(upstream, archive)
        assert (early.status, early.content) == (206, archive.content.read(100, 300))
        assert early.fields["content-range"] == f"bytes 100-299/{archive.length}"
        late = fetch(mirror.port, archive.path, {"Range": "bytes=1000000-1000499"})
        assert late.content == archive.content.read(1_000_000, 1_000_500)
        assert sha256_of(response.read()) == archive.sha256
    assert was_sent_once(upstream, archive)
    assert upstream.control.faults_fired()["slow"] == 1


def test_cold_range_costs_no_more_than_the_object(mirror: Edge, upstream: SimulatorProcess) -> None:
    archive = fresh_archive(2_000_000)
    part = fetch(mirror.port, archive.path, {"Range": "bytes=1000000-1000999"})
    assert (part.status, part.content) == (206, archive.content.read(1_000_000, 1_001_000))
    reply = fetch(mirror.port, archive.path)
    assert digests([reply]) == {(200, True, archive.sha256)}
    assert was_sent_once(upstream, archive)


def test_warm_object_is_served_without_a_request_upstream(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(1_000_000)
    fetch(mirror.port, archive.path)
    upstream.control.reset_counts()
    replies = fetch_with_all(clients_on_both_workers(mirror, 4), archive.path)
    assert digests(replies) == {(200, True, archive.sha256)}
    assert requests_total(upstream) == 0

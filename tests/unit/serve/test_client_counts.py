"""One client cannot have all connections; those behind whom many clients are, can."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.serve.client_address import TrustedProxies
from mirror.serve.client_counts import ClientCounts
from mirror.serve.client_networks import ClientNetworks
from tests.unit.serve.fakes import config_with, parse_answer
from tests.unit.serve.idle_worker import FedConnection, IdleWorker

GET = b"GET /livez HTTP/1.1\r\nHost: m\r\n\r\n"


@pytest.mark.parametrize(
    ("address", "client"),
    [
        pytest.param("192.0.2.1", "192.0.2.1", id="ipv4"),
        pytest.param("::ffff:192.0.2.1", "192.0.2.1", id="mapped"),
        pytest.param("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", id="ipv6"),
        pytest.param("2001:db8:1:2::", "2001:db8:1:2::/64", id="ipv6-of-the-same-network"),
        pytest.param("fe80::1%eth0", "fe80::/64", id="zone"),
        pytest.param("127.0.0.1", "", id="loopback"),
        pytest.param("::1", "", id="ipv6-loopback"),
        pytest.param("10.1.2.3", "", id="trusted-proxy"),
        pytest.param("", "", id="unix-socket"),
    ],
)
def test_clients_are_told_apart_by_address(address: str, client: str) -> None:
    networks = ClientNetworks(TrustedProxies(["10.0.0.0/8"]))
    assert ClientCounts(2, networks).client_of(address) == client


def test_nobody_is_counted_without_a_limit() -> None:
    assert ClientCounts(0, ClientNetworks()).client_of("192.0.2.1") == ""


def test_connection_that_ends_makes_room_and_nothing_is_kept() -> None:
    counts = ClientCounts(2, ClientNetworks())
    assert [counts.add("a"), counts.add("a"), counts.add("a"), counts.add("b")] == [
        True, True, False, True,
    ]  # fmt: skip
    for client in "aaab":
        counts.discard(client)
    assert len(counts) == 0
    assert counts.add("a")


def test_client_with_too_many_connections_is_turned_away_and_others_are_not(
    tmp_path: Path,
) -> None:
    with IdleWorker(tmp_path, config_with(max_connections_per_client=3)) as worker:
        first = [FedConnection(worker) for _ in range(3)]
        with FedConnection(worker) as fourth, FedConnection(worker, "192.0.2.2") as other:
            fourth.feed(GET)
            answer = parse_answer(fourth.sent)
            assert (answer.status, answer.fields["retry-after"], answer.rest) == (503, "1", b"")
            other.feed(GET)
            first[0].feed(GET)
            assert parse_answer(other.sent).status == 200
            assert parse_answer(first[0].sent).status == 200
        first.pop().leave()
        with FedConnection(worker) as next_one:
            next_one.feed(GET)
            assert parse_answer(next_one.sent).status == 200
        for client in first:
            client.leave()


def test_client_behind_a_proxy_header_is_counted_by_its_own_address(tmp_path: Path) -> None:
    config = config_with(
        proxy_protocol=True, trusted_proxies=("192.0.2.0/24",), max_connections_per_client=1
    )
    header = b"PROXY TCP4 %b 10.0.0.1 12345 8080\r\n"
    with (
        IdleWorker(tmp_path, config) as worker,
        FedConnection(worker) as one,
        FedConnection(worker) as same,
        FedConnection(worker) as other,
    ):
        one.feed(header % b"203.0.113.1" + GET)
        same.feed(header % b"203.0.113.1" + GET)
        other.feed(header % b"203.0.113.2" + GET)
        statuses = [parse_answer(client.sent).status for client in (one, same, other)]
        assert statuses == [200, 503, 200]


def test_has_room_for_one_more_until_the_limit() -> None:
    counts = ClientCounts(2, ClientNetworks())
    found = []
    for _ in range(3):
        found.append(counts.has_room("a"))
        assert counts.add("a") is found[-1]
    assert found == [True, True, False]
    counts.discard("a")
    counts.discard("a")
    assert counts.has_room("a")

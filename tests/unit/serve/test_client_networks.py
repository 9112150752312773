"""Who counts as one client, and who is nobody's."""

from __future__ import annotations

import pytest

from mirror.serve.client_address import TrustedProxies
from mirror.serve.client_networks import MAX_NAMES, ClientNetworks


@pytest.mark.parametrize(
    ("address", "prefix", "client"),
    [
        pytest.param("192.0.2.1", 64, "192.0.2.1", id="ipv4-has-no-network"),
        pytest.param("2001:db8:1:2:3::4", 64, "2001:db8:1:2::/64", id="ipv6"),
        pytest.param("2001:db8:1:2:3::4", 48, "2001:db8:1::/48", id="shorter"),
        pytest.param("2001:db8:1:2:3::4", 128, "2001:db8:1:2:3::4/128", id="single-address"),
        pytest.param("::ffff:192.0.2.1", 16, "192.0.2.1", id="mapped"),
        pytest.param("192.0.2.77", 64, "192.0.2.77", id="outside-of-exempt"),
        pytest.param("198.51.100.9", 64, "", id="exempt"),
        pytest.param("::ffff:198.51.100.9", 64, "", id="exempt-mapped"),
        pytest.param("fd00::7", 64, "", id="exempt-ipv6"),
        pytest.param("10.9.9.9", 64, "", id="trusted-proxy"),
        pytest.param("127.0.0.9", 64, "", id="loopback"),
        pytest.param("::1", 64, "", id="loopback-ipv6"),
        pytest.param("", 64, "", id="unix-socket"),
    ],
)
def test_address_is_its_clients_whatever_was_asked_before(
    address: str, prefix: int, client: str
) -> None:
    networks = ClientNetworks(
        TrustedProxies(["10.0.0.0/8"]),
        ipv6_prefix=prefix,
        exempt=("198.51.100.0/24", "fd00::/8"),
    )
    assert [networks.client_of(address) for _ in range(2)] == [client, client]


def test_names_of_many_addresses_take_bounded_memory() -> None:
    networks = ClientNetworks()
    for number in range(MAX_NAMES + 10):
        networks.client_of(f"2001:db8::{number:x}")
    assert repr(networks) == "<ClientNetworks 10 names>"

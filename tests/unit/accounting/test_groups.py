"""`mirror.accounting.groups`: first match wins, and a lookup costs the same among any number."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.accounting.groups import Group, GroupTable, Network, attributes_of


def group(name: str, *networks: str) -> Group:
    return Group(name=name, networks=tuple(map(ip_network, networks)))


TABLE = GroupTable(
    [
        group("inner", "10.1.0.0/16", "fd00:1::/32"),
        group("outer", "10.0.0.0/8", "fd00::/8", "192.0.2.7/32"),
        group("late", "10.1.2.0/24", "0.0.0.0/0"),
    ]
)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param("10.1.2.3", "inner", id="first-of-three-that-match"),
        pytest.param("10.2.0.1", "outer", id="around-an-inner-one"),
        pytest.param("10.1.0.0", "inner", id="first-address"),
        pytest.param("10.1.255.255", "inner", id="last-address"),
        pytest.param("10.255.255.255", "outer", id="last-of-the-outer-one"),
        pytest.param("11.0.0.0", "late", id="behind-the-end"),
        pytest.param("192.0.2.7", "outer", id="one-address"),
        pytest.param("255.255.255.255", "late", id="the-very-last"),
        pytest.param("::ffff:10.1.2.3", "inner", id="mapped"),
        pytest.param("0:0:0:0:0:FFFF:a01:203", "inner", id="mapped-in-another-spelling"),
        pytest.param("fd00:1::9", "inner", id="v6-inner"),
        pytest.param("fd00:2::9", "outer", id="v6-outer"),
        pytest.param("fe80::1%eth0", "other", id="v6-nobody-with-interface"),
        pytest.param("2001:db8::1", "other", id="v6-nobody"),
        pytest.param("", "other", id="a-unix-socket-has-no-address"),
        pytest.param("host.example", "other", id="a-name-is-no-address"),
        pytest.param("::ffff:10.1.2.3.4", "other", id="no-mapped-address"),
    ],
)
def test_the_first_group_whose_network_has_the_address(address: str, expected: str) -> None:
    assert TABLE.name_of(TABLE.of_address(address)) == expected


def test_a_mapped_network_means_ipv4_clients() -> None:
    table = GroupTable([group("mapped", "::ffff:10.0.0.0/104")])
    addresses = ("10.255.0.1", "::ffff:10.255.0.1", "11.0.0.0", "::a00:1")
    assert [table.of_address(address) for address in addresses] == [0, 0, 1, 1]


def test_without_groups_everybody_is_other() -> None:
    table = GroupTable()
    found = (table.of_address("10.0.0.1"), table.of_header(b"x"), table.of_subject("CN=x"))
    assert (table.names, found, table.name_of(0)) == ((), (0, 0, 0), "other")


def test_the_smallest_index_is_the_first_match_whatever_it_matched_by() -> None:
    table = GroupTable(
        [group("a", "10.0.0.0/8"), Group(name="b", header_values=("x",))], header="X-Group"
    )
    by_address, by_header = table.of_address("10.0.0.1"), table.of_header(b" x\t")
    assert (table.header, by_address, by_header, table.other) == (b"x-group", 0, 1, 2)
    assert min(by_address, by_header) == 0
    assert min(table.of_address("11.0.0.1"), by_header) == 1
    assert table.of_header(b"y") == table.other
    assert repr(table) == "<GroupTable 2 groups, 3+1 intervals>"


v4_networks = st.builds(
    lambda number, length: ip_network(((number >> (32 - length)) << (32 - length), length)),
    st.integers(0, 2**32 - 1),
    st.integers(1, 32),
)
v6_networks = st.builds(
    lambda number, length: ip_network(
        (int((number >> (128 - length)) << (128 - length)).to_bytes(16, "big"), length)
    ),
    st.integers(0, 2**128 - 1),
    st.integers(1, 128),
)


@given(st.lists(st.lists(st.one_of(v4_networks, v6_networks), max_size=5), max_size=6), st.data())
def test_a_lookup_agrees_with_asking_every_network(
    networks: list[list[Network]], data: st.DataObject
) -> None:
    groups = [Group(name=f"g{n}", networks=tuple(each)) for n, each in enumerate(networks)]
    table = GroupTable(groups)
    edges: list[IPv4Address | IPv6Address] = [IPv4Address(0), IPv6Address(0)]
    for network in (network for each in networks for network in each):
        edges += [network.network_address, network.broadcast_address]
        if int(network.network_address):
            edges.append(network.network_address - 1)
    address = data.draw(st.one_of(st.sampled_from(edges), st.ip_addresses()), label="address")
    text = str(address)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
        text = f"::ffff:{address}"
    expected = next(
        (index for index, each in enumerate(networks) if any(address in net for net in each)),
        table.other,
    )
    assert table.of_address(text) == expected


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        pytest.param("CN=a,O=b", [("CN", "a"), ("O", "b")], id="two"),
        pytest.param(r"cn=a\,O=b", [("CN", "a,O=b")], id="escaped-comma-is-one"),
        pytest.param(r"CN=a\\,O=b", [("CN", "a\\"), ("O", "b")], id="escaped-backslash-ends"),
        pytest.param("CN=a=b", [("CN", "a=b")], id="equals-in-the-value"),
        pytest.param("", [], id="empty"),
    ],
)
def test_attributes_of_a_subject(subject: str, expected: list[tuple[str, str]]) -> None:
    assert list(attributes_of(subject)) == expected

"""`mirror.accounting.provider_ranges`: the files that providers publish."""

from __future__ import annotations

import json
from ipaddress import ip_network

import pytest

from mirror.accounting.provider_ranges import Network, read_ranges

AZURE = {
    "changeNumber": 300,
    "cloud": "Public",
    "values": [
        {
            "name": "AzureCloud.eastus",
            "id": "AzureCloud.eastus",
            "properties": {
                "region": "eastus",
                "addressPrefixes": ["4.156.0.0/15", "2603:1030:210::/47"],
            },
        },
        {
            "name": "AzureCloud.eastus2",
            "id": "AzureCloud.eastus2",
            "properties": {"region": "eastus2", "addressPrefixes": ["4.152.0.0/15"]},
        },
    ],
}
AWS = {
    "syncToken": "1",
    "createDate": "2026-11-01-00-00-00",
    "prefixes": [
        {"ip_prefix": "3.5.140.0/22", "region": "ap-northeast-2", "service": "AMAZON"},
        {"ip_prefix": "3.5.140.0/22", "region": "ap-northeast-2", "service": "EC2"},
        {"ip_prefix": "13.34.37.64/27", "region": "us-east-1", "service": "EC2"},
    ],
    "ipv6_prefixes": [
        {"ipv6_prefix": "2600:1f70::/40", "region": "us-east-1", "service": "EC2"},
    ],
}
GOOGLE = {
    "syncToken": "1",
    "creationTime": "2026-11-01T00:00:00",
    "prefixes": [
        {"ipv4Prefix": "34.1.208.0/20", "service": "Google Cloud", "scope": "us-east1"},
        {"ipv6Prefix": "2600:1900:8000::/44", "service": "Google Cloud", "scope": "us-east1"},
        {"ipv4Prefix": "8.8.4.0/24"},
    ],
}
GITHUB = {
    "verifiable_password_authentication": False,
    "ssh_key_fingerprints": {"SHA256_RSA": "abc"},
    "ssh_keys": ["ssh-ed25519 AAAA"],
    "hooks": ["192.30.252.0/22", "2a0a:a440::/29"],
    "actions": ["4.148.0.0/16", "20.1.128.0/17"],
    "domains": {"website": ["*.github.com"]},
}


def selected(content: bytes, selectors: list[str]) -> tuple[Network, ...]:
    return read_ranges(content).select(selectors, 1000)


@pytest.mark.parametrize(
    ("document", "selectors", "expected"),
    [
        pytest.param(
            AZURE, ["AzureCloud.eastus"], ["4.156.0.0/15", "2603:1030:210::/47"], id="azure"
        ),
        pytest.param(
            AZURE,
            ["AzureCloud.*"],
            ["4.156.0.0/15", "2603:1030:210::/47", "4.152.0.0/15"],
            id="azure-any",
        ),
        pytest.param(AWS, ["EC2.us-east-1"], ["13.34.37.64/27", "2600:1f70::/40"], id="aws"),
        pytest.param(AWS, ["*.ap-northeast-2"], ["3.5.140.0/22"], id="aws-named-twice-once"),
        pytest.param(GOOGLE, ["us-east1"], ["34.1.208.0/20", "2600:1900:8000::/44"], id="google"),
        pytest.param(GOOGLE, ["google"], ["8.8.4.0/24"], id="google-without-scope"),
        pytest.param(GITHUB, ["actions"], ["4.148.0.0/16", "20.1.128.0/17"], id="github"),
        pytest.param(
            GITHUB,
            [],
            ["192.30.252.0/22", "2a0a:a440::/29", "4.148.0.0/16", "20.1.128.0/17"],
            id="github-all-its-networks-and-no-keys",
        ),
    ],
)
def test_ranges_of_each_form(document: object, selectors: list[str], expected: list[str]) -> None:
    networks = selected(json.dumps(document).encode(), selectors)
    assert networks == tuple(map(ip_network, expected))


@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte-order-mark"])
def test_a_plain_list_has_comments_addresses_and_empty_lines(begin: bytes) -> None:
    content = begin + b"# ours\r\n10.0.0.0/8\n\n 192.0.2.7 # one\nfd00::5/8\n"
    expected = ("10.0.0.0/8", "192.0.2.7/32", "fd00::/8")
    assert selected(content, []) == tuple(map(ip_network, expected))


@pytest.mark.parametrize(
    ("content", "selectors", "said"),
    [
        pytest.param(b"10.0.0.0/8\nten.0.0.0/8\n", [], "line 2: ten.0.0.0/8", id="line"),
        pytest.param(b"10.0.0.0/8\n", ["a"], "leave out `ranges`", id="selected-from-a-list"),
        pytest.param(b'{"values": [', [], "line 1 is not JSON", id="cut-json"),
        pytest.param(b'{"values": [{"name": "a"}]}', [], "KeyError('properties')", id="layout"),
        pytest.param(b'{"a": 1}', [], "none of the files", id="another-document"),
        pytest.param(b"[1]", [], "none of the files", id="a-list"),
        pytest.param(
            json.dumps(AZURE).encode(),
            ["AzureCloud.estus"],
            "did you mean AzureCloud.eastus?",
            id="misspelt",
        ),
        pytest.param(json.dumps(AWS).encode(), ["zz"], "of 3 that it has", id="not-even-near"),
        pytest.param(
            b'{"values":[{"name":"a","properties":{"addressPrefixes":["x"]}}]}',
            [],
            "x is not a network",
            id="no-network",
        ),
        pytest.param(
            b'{"values":[{"name":"a","properties":{"addressPrefixes":[[]]}}]}',
            [],
            "is not laid out as its provider does",
            id="no-text",
        ),
    ],
)
def test_refusals_say_where_and_what_to_do(content: bytes, selectors: list[str], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        selected(content, selectors)
    assert said in str(caught.value)


def test_more_networks_than_are_left_are_refused_before_they_are_read() -> None:
    ranges = read_ranges(b"ten\neleven\n10.0.0.0/8\n10.0.0.0/8\n")
    with pytest.raises(ValueError, match=r"has 3 networks, 2 are left"):
        ranges.select([], 2)

"""`mirror.upstream.resolver`: where a name leads."""

from __future__ import annotations

import pytest

from mirror.errors import ConfigError
from mirror.upstream.resolver import Endpoint, UpstreamResolver, parse_connect_to


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("host:443", Endpoint(host="host", port=443)),
        ("192.0.2.1:80", Endpoint(host="192.0.2.1", port=80)),
        ("[2001:db8::1]:443", Endpoint(host="2001:db8::1", port=443)),
    ],
)
def test_connect_to_is_an_endpoint(text: str, expected: Endpoint | None) -> None:
    assert parse_connect_to(text, "k") == expected


@pytest.mark.parametrize(
    "text", ["host", ":443", "host:", "host:x", "host:0", "host:65536", "::1:443", "[host]:1"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"upstream\.crates\.connect_to"):
        parse_connect_to(text, "upstream.crates.connect_to")


async def test_connect_to_applies_to_its_host_only() -> None:
    resolver = UpstreamResolver(
        hosts=("static.example",),
        connect_to=Endpoint(host="127.0.0.1", port=99),
        timeout_s=2.0,
    )
    moved = await resolver.resolve("static.example", 443)
    assert {(found["hostname"], found["host"], found["port"]) for found in moved} == {
        ("static.example", "127.0.0.1", 99)
    }
    proxy = await resolver.resolve("127.0.0.1", 3128)
    assert {(found["host"], found["port"]) for found in proxy} == {("127.0.0.1", 3128)}
    await resolver.close()


async def test_resolving_has_a_deadline() -> None:
    resolver = UpstreamResolver(hosts=(), connect_to=None, timeout_s=0.0)
    with pytest.raises(OSError, match="took longer"):
        await resolver.resolve("localhost", 80)

"""`mirror.upstream.pools` and what it reads from the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from yarl import URL

from mirror.authorities import tls_context
from mirror.config import Releases, Upstream
from mirror.errors import ConfigError
from mirror.upstream.egress import proxy_for
from mirror.upstream.pools import open_pools
from tests.unit.upstream.scripted_origin import (
    FakeClock,
    RecordingLog,
    RecordingMeter,
    origins,
    pools_of,
    reply,
)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        pytest.param(
            Upstream(releases=Releases(urls=("ftp://host/x",))), "upstream.releases.urls", id="ftp"
        ),
        pytest.param(
            Upstream(releases=Releases(urls=("http://u:p@host",))),
            "upstream.releases.urls",
            id="credentials",
        ),
        pytest.param(
            Upstream(releases=Releases(urls=("http://host/?q=1",))),
            "upstream.releases.urls",
            id="query",
        ),
        pytest.param(
            Upstream(releases=Releases(urls=("http://192.0.2.1",), connect_to="192.0.2.2:80")),
            "upstream.releases.connect_to",
            id="connect-to-of-an-address",
        ),
        pytest.param(
            Upstream(releases=Releases(connect_to="host")),
            "upstream.releases.connect_to",
            id="connect-to-without-port",
        ),
        pytest.param(Upstream(ca_file="/nonexistent/ca.pem"), "upstream.ca_file", id="no-ca-file"),
    ],
)
async def test_a_wrong_key_is_named(config: Upstream, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_pools(
            config, own_token="t", meter=RecordingMeter(), clock=FakeClock(), log=RecordingLog()
        )
    assert caught.value.key == key


def test_a_ca_file_without_a_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"upstream\.ca_file = .*holds no PEM certificate"):
        tls_context(str(tmp_path / "ca.pem"))
    with pytest.raises(ConfigError, match="No such file"):
        tls_context(str(tmp_path / "absent.pem"))
    assert tls_context("").verify_mode.name == "CERT_REQUIRED"


@pytest.mark.parametrize(
    ("url", "configured", "environment", "expected"),
    [
        pytest.param("https://h", "http://p:1", {}, "http://p:1", id="configured"),
        pytest.param(
            "https://h", "http://p:1", {"HTTPS_PROXY": "http://e:2"}, "http://p:1", id="wins"
        ),
        pytest.param(
            "https://h", "", {"HTTPS_PROXY": "http://e:2"}, "http://e:2", id="environment"
        ),
        pytest.param("https://h", "", {"https_proxy": "http://e:2"}, "http://e:2", id="lower-case"),
        pytest.param("http://h", "", {"HTTPS_PROXY": "http://e:2"}, None, id="other-scheme"),
        pytest.param(
            "https://h", "", {"HTTPS_PROXY": "http://e:2", "NO_PROXY": "h"}, None, id="excepted"
        ),
        pytest.param("http://127.0.0.1:8", "http://p:1", {}, None, id="loopback"),
        pytest.param("http://localhost:8", "http://p:1", {}, None, id="localhost"),
        pytest.param("http://[::1]:8", "http://p:1", {}, None, id="loopback-6"),
        pytest.param("https://h", "", {}, None, id="none"),
    ],
)
def test_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    configured: str,
    environment: dict[str, str],
    expected: str | None,
) -> None:
    for scheme in ("http", "https", "all", "no"):
        for name in (f"{scheme}_proxy", f"{scheme}_PROXY".upper()):
            monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(URL(url), configured) == expected


async def test_requests_to_another_machine_go_through_the_proxy() -> None:
    async with origins([reply(200, b"by proxy")]) as (proxy,):
        config = Upstream(
            proxy=proxy.url,
            releases=Releases(urls=("http://static.example",), connect_to="192.0.2.1:9"),
        )
        pools = open_pools(
            config, own_token="t", meter=RecordingMeter(), clock=FakeClock(), log=RecordingLog()
        )
        async with pools["releases"].get("/dist/x") as response:
            assert b"".join([chunk async for chunk in response.chunks()]) == b"by proxy"
        await pools.aclose()
        assert proxy.requests == ["GET http://static.example/dist/x HTTP/1.1"]


async def test_closing_twice_is_harmless() -> None:
    async with pools_of("http://127.0.0.1:1") as pools:
        await pools.aclose()

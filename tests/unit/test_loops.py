"""Upstream names that lead back to this machine are found, other local services are not."""

from __future__ import annotations

import pytest

from mirror.config_sources import load
from mirror.loops import find_loops

ALL = ("releases", "crates", "index")


def loops(*, own_ports: frozenset[int] = frozenset({8080}), **flags: str) -> list[str]:
    settings = {f"upstream.{name}.urls": "http://127.0.0.1:1" for name in ALL}
    settings |= {key.replace("__", "."): value for key, value in flags.items()}
    config = load(None, {}, settings, user_id=0)
    return [error.key for error in find_loops(config, own_ports)]


@pytest.mark.parametrize(
    ("url", "is_loop"),
    [
        pytest.param("http://127.0.0.1:8080", True, id="own-port"),
        pytest.param("http://[::1]:8080", True, id="own-port-ipv6"),
        pytest.param("http://localhost:8080", True, id="own-name"),
        pytest.param("http://127.0.0.1:8081", False, id="another-local-service"),
        pytest.param("http://192.0.2.1:8080", False, id="another-machine"),
        pytest.param("http://name.invalid:8080", False, id="unknown-name"),
        pytest.param("s3://localhost", False, id="bucket"),
    ],
)
def test_own_address_and_port_is_a_loop(url: str, is_loop: bool) -> None:
    assert loops(upstream__crates__urls=url) == (["upstream.crates.urls"] if is_loop else [])


def test_connect_to_and_proxy_end_the_question() -> None:
    url = "http://localhost:8080"
    assert loops(upstream__crates__urls=url, upstream__crates__connect_to="192.0.2.1:80") == []
    assert loops(upstream__crates__urls=url, upstream__proxy="http://192.0.2.1:80") == []


def test_sentence_says_how_to_repair_it() -> None:
    settings = {f"upstream.{name}.urls": "http://127.0.0.1:8080" for name in ALL}
    errors = find_loops(load(None, {}, settings, user_id=0), frozenset({8080}))
    assert len(errors) == 3
    assert "upstream.releases.connect_to" in errors[0].allowed

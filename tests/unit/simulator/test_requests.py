from __future__ import annotations

import pytest

from mirror.simulator.published import Site
from mirror.simulator.requests import SimulatedRequest, parse_request


def parse(head: str) -> SimulatedRequest:
    return parse_request(head.encode("latin-1") + b"\r\n\r\n", Site.CRATES)


def test_path_is_decoded_and_has_no_query() -> None:
    request = parse("GET /crates/a/a-1.0.0%2Bb.crate?x=1 HTTP/1.1")
    assert request.path == "/crates/a/a-1.0.0+b.crate"
    assert request.target == "/crates/a/a-1.0.0%2Bb.crate?x=1"


def test_raw_plus_stays_a_plus() -> None:
    assert parse("GET /a-1.0.0+b.crate HTTP/1.1").path == "/a-1.0.0+b.crate"


def test_field_names_are_lower_cased_and_lines_joined() -> None:
    request = parse("GET / HTTP/1.1\r\nIf-None-Match: a\r\nIF-NONE-MATCH: b")
    assert request.fields == {"if-none-match": "a, b"}


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        ("GET / HTTP/1.1", True),
        ("GET / HTTP/1.1\r\nConnection: Close", False),
        ("GET / HTTP/1.0", False),
        ("GET / HTTP/1.0\r\nConnection: keep-alive", True),
        ("GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c", True),
    ],
)
def test_connection_is_kept_as_the_version_says(head: str, keeps: bool) -> None:
    assert parse(head).keeps_connection is keeps


@pytest.mark.parametrize("head", ["GET /", "GET / HTTP/2.0", "GET / HTTP/1.1\r\nno colon"])
def test_nonsense_is_refused(head: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(head)


def test_announced_content_is_seen() -> None:
    assert parse("POST / HTTP/1.1\r\nContent-Length: 3").has_content
    assert parse("POST / HTTP/1.1\r\nTransfer-Encoding: chunked").has_content
    assert not parse("GET / HTTP/1.1\r\nContent-Length: 0").has_content

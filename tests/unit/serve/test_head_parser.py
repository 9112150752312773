"""Heads are accepted or refused by the strict rules of RFC 9112, and nothing in between."""

from __future__ import annotations

import pytest

from mirror.errors import RequestError
from mirror.http.conditions import UNCONDITIONAL
from mirror.serve.head_parser import MAX_FIELD_LINES, parse_head
from mirror.serve.request import Request

CARGO_HEAD = (
    b"GET /index/se/rd/serde HTTP/1.1\r\n"
    b"Host: mirror.test:8080\r\n"
    b"User-Agent: cargo/1.95.0 (f2d3ce0bd 2026-03-21)\r\n"
    b"Accept-Encoding: deflate, gzip\r\n"
    b"Connection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAQAAAAIAAAAA\r\n"
    b"cargo-protocol: version=1\r\n"
    b"accept: text/plain\r\n\r\n"
)

# As over TLS, where it offers no upgrade.
CARGO_TLS_HEAD = b"".join(
    line
    for line in CARGO_HEAD.splitlines(keepends=True)
    if not line.lower().startswith((b"connection:", b"upgrade:", b"http2-settings:"))
)


def parse(head: bytes) -> Request:
    return parse_head(head, max_target_bytes=2048)


def head(*lines: str, line: str = "GET /a HTTP/1.1") -> bytes:
    return "\r\n".join([line, *lines]).encode("latin-1") + b"\r\n\r\n"


def test_cargo_head_is_accepted_and_plain() -> None:
    request = parse(CARGO_HEAD)
    assert request.is_plain
    assert request.keep_alive
    assert str(request.authority) == "mirror.test:8080"
    assert request.conditions is UNCONDITIONAL


REFUSED = [
    pytest.param(400, head(), id="no-host"),
    pytest.param(400, head("Host: a", "Host: a"), id="two-equal-hosts"),
    pytest.param(400, head("Host: a", "host: b"), id="two-hosts-in-two-cases"),
    pytest.param(400, head("Host: a, b"), id="host-list"),
    pytest.param(400, head("Host: u@a"), id="host-with-userinfo"),
    pytest.param(400, head("Host: a/b"), id="host-with-path"),
    pytest.param(400, head("Host:"), id="empty-host"),
    pytest.param(400, head("Host: a:99999"), id="port-out-of-range"),
    pytest.param(400, head("Host: a", "Content-Length: 5"), id="content"),
    pytest.param(400, head("Host: a", "Content-Length: +0"), id="signed-length"),
    pytest.param(400, head("Host: a", "Content-Length: 0x0"), id="hex-length"),
    pytest.param(400, head("Host: a", "Content-Length: 0_0"), id="underscore-length"),
    pytest.param(400, head("Host: a", "Content-Length:"), id="empty-length"),
    pytest.param(400, head("Host: a", "Content-Length: 0", "Content-Length: 5"), id="two-lengths"),
    pytest.param(400, head("Host: a", "Content-Length: 0, 5"), id="length-list"),
    pytest.param(400, head("Host: a", "Transfer-Encoding: chunked"), id="chunked"),
    pytest.param(400, head("Host: a", "Transfer-Encoding: identity"), id="identity"),
    pytest.param(400, head("Host: a", "Transfer-Encoding: xchunked"), id="unknown-coding"),
    pytest.param(
        400, head("Host: a", "Transfer-Encoding: chunked", "Content-Length: 5"), id="te-and-cl"
    ),
    pytest.param(
        400,
        head("Host: a", "Upgrade: h2c", "Connection: Upgrade", "Content-Length: 5"),
        id="upgrade-with-content",
    ),
    pytest.param(
        400,
        head("Host: a", "Upgrade: h2c", "Connection: Upgrade", "Transfer-Encoding: chunked"),
        id="upgrade-with-chunked-content",
    ),
    pytest.param(400, head("Host: a", "X : b"), id="space-before-colon"),
    pytest.param(400, head("Host: a", " X: b"), id="folded-line"),
    pytest.param(400, b"GET /a HTTP/1.1\r\n Host: a\r\n\r\n", id="space-after-request-line"),
    pytest.param(400, head("Host: a", "X: a\x00b"), id="nul-in-value"),
    pytest.param(400, head("Host: a", "X: a\x01b"), id="control-in-value"),
    pytest.param(400, head("Host: a", "X: a\rb"), id="bare-cr"),
    pytest.param(400, head("Host: a", "X: a\nY: b"), id="bare-lf"),
    pytest.param(400, head("Host: a", ": b"), id="empty-name"),
    pytest.param(400, head("Host: a", "X"), id="line-without-colon"),
    pytest.param(400, head("Host: a", "X\xc3: b"), id="name-not-ascii"),
    pytest.param(400, head("Host: a", line="GET  /a HTTP/1.1"), id="two-spaces"),
    pytest.param(400, head("Host: a", line="GET\t/a HTTP/1.1"), id="tab"),
    pytest.param(400, head("Host: a", line="GET /a b HTTP/1.1"), id="space-in-target"),
    pytest.param(400, head("Host: a", line="GET /a HTTP/1.1 "), id="space-at-end"),
    pytest.param(400, head("Host: a", line="GET /a"), id="http-0.9"),
    pytest.param(400, head("Host: a", line="GET /a http/1.1"), id="lower-case-version"),
    pytest.param(400, head("Host: a", line="GET /a HTTP/1.32"), id="long-version"),
    pytest.param(505, head("Host: a", line="GET /a HTTP/1.2"), id="http-1.2"),
    pytest.param(505, head("Host: a", line="GET /a HTTP/2.0"), id="http-2.0"),
    pytest.param(400, head("Host: a", line="GET /\xff HTTP/1.1"), id="target-not-ascii"),
    pytest.param(400, head("Host: a", line="GET /\x00 HTTP/1.1"), id="nul-in-target"),
    pytest.param(400, head("Host: a", line="GET a HTTP/1.1"), id="relative-target"),
    pytest.param(400, head("Host: a", line="GET * HTTP/1.1"), id="asterisk"),
    pytest.param(400, head("Host: a", line="GET http://u@a/ HTTP/1.1"), id="userinfo"),
    pytest.param(400, head("Host: a", line="GET http:///x HTTP/1.1"), id="empty-authority"),
    pytest.param(400, head("Host: a", line="GET ftp://a/x HTTP/1.1"), id="other-scheme"),
    pytest.param(405, head("Host: a", line="POST /a HTTP/1.1"), id="post"),
    pytest.param(405, head("Host: a", line="CONNECT a:1 HTTP/1.1"), id="connect"),
    pytest.param(405, head("Host: a", line="OPTIONS * HTTP/1.1"), id="options"),
    pytest.param(501, head("Host: a", line="PURGE /a HTTP/1.1"), id="purge"),
    pytest.param(501, head("Host: a", line="get /a HTTP/1.1"), id="lower-case-method"),
    pytest.param(414, head("Host: a", line=f"GET /{'a' * 2048} HTTP/1.1"), id="long-target"),
    pytest.param(417, head("Host: a", "Expect: 200-ok"), id="unknown-expectation"),
    pytest.param(431, head("Host: a", *["X: y"] * MAX_FIELD_LINES), id="too-many-lines"),
]


@pytest.mark.parametrize(("status", "raw"), REFUSED)
def test_head_is_refused(status: int, raw: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        parse(raw)
    assert refused.value.status == status


@pytest.mark.parametrize("raw", [case.values[1] for case in REFUSED], ids=lambda _: "")
def test_refusal_never_echoes_input(raw: object) -> None:
    assert isinstance(raw, bytes)
    with pytest.raises(RequestError) as refused:
        parse(raw[:-2] + b"X-Odd: squeamish\r\n\r\n")
    assert "squeamish" not in refused.value.message


@pytest.mark.parametrize(
    ("raw", "keep_alive"),
    [
        pytest.param(head("Host: a"), True, id="http-1.1"),
        pytest.param(head("Host: a", "Connection: close"), False, id="close"),
        pytest.param(head("Host: a", "Connection: x, CLOSE"), False, id="close-in-a-list"),
        pytest.param(head(line="GET /a HTTP/1.0"), False, id="http-1.0"),
        pytest.param(
            head("Connection: Keep-Alive", line="GET /a HTTP/1.0"), True, id="http-1.0-kept"
        ),
    ],
)
def test_persistence_follows_version_and_connection(raw: bytes, keep_alive: bool) -> None:
    assert parse(raw).keep_alive is keep_alive


def test_no_content_may_be_said_with_zeros() -> None:
    assert parse(head("Host: a", "Content-Length: 0")).target == b"/a"


def test_authority_of_absolute_form_replaces_host() -> None:
    request = parse(head("Host: other", line="GET http://Mirror.test:80/a HTTP/1.1"))
    assert (str(request.authority), request.target) == ("mirror.test:80", b"/a")
    assert request.is_absolute


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["Range: bytes=0-1"], id="range"),
        pytest.param(['If-Match: "a"'], id="if-match"),
        pytest.param(["If-Modified-Since: x"], id="if-modified-since"),
        pytest.param(["Connection: close, keep-alive"], id="close-and-more"),
        pytest.param(["Connection: Upgrade", "Upgrade: h2c"], id="half-an-upgrade"),
        pytest.param(["Connection: Upgrade", "Upgrade: websocket"], id="websocket"),
        pytest.param(["Content-Length: 0"], id="zero-length"),
        pytest.param(["Expect: 100-continue"], id="expect"),
        pytest.param(["CDN-Loop: x"], id="cdn-loop"),
        pytest.param(["X-Forwarded-For: 1.2.3.4"], id="forwarded"),
    ],
)
def test_selecting_head_is_not_plain(lines: list[str]) -> None:
    assert not parse(head("Host: a", *lines)).is_plain


def test_field_lines_of_one_name_are_joined() -> None:
    request = parse(head("Host: a", 'If-None-Match: "a"', 'if-none-match: "b"'))
    assert request.conditions.if_none_match == b'"a", "b"'

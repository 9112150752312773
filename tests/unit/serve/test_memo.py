"""The memo never accepts what the strict parser did not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.errors import RequestError
from mirror.http.request_directives import NO_DIRECTIVES
from mirror.route.match import site_of_host
from mirror.serve.head_parser import parse_head
from mirror.serve.memo import MAX_TAILS, HeadMemo
from mirror.serve.request import Request
from tests.unit.serve.head_edits import EDITS, edited
from tests.unit.serve.test_head_parser import CARGO_HEAD, head

TAG = b"0123456789abcdef" * 4  # of every stored response of these tests


def parse(raw: bytes) -> Request:
    return parse_head(raw, max_target_bytes=2048)


def learn(memo: HeadMemo, raw: bytes, key: str) -> None:
    request = parse(raw)
    assert request.authority is not None
    memo.learn(raw, request, site_of_host(request.authority.host), key)


def recall(memo: HeadMemo, raw: bytes) -> str | None:
    """What the fast path of a connection does with one read."""
    cut = raw.find(b"\r\n")
    tail = raw[cut:]
    lines = memo.tails.get(tail)
    if lines is None:
        known = memo.split.get(tail) or memo.recall(tail)
        if known is None or known[1] != TAG:
            return None
        lines = known[0]
    return None if lines is None else lines.get(raw[:cut])


def recall_last(memo: HeadMemo, raw: bytes) -> str | None:
    """As `recall`, of a head that ends its connection."""
    cut = raw.find(b"\r\n")
    lines = memo.closing.get(raw[cut:])
    return None if lines is None else lines.get(raw[:cut])


@pytest.mark.parametrize("value", ["sha-256=0", "sha-256=1", "sha-512=3"])
def test_head_that_wants_a_digest_is_not_learned(value: str) -> None:
    memo = HeadMemo()
    raw = head("Host: a", f"Want-Repr-Digest: {value}")
    learn(memo, raw, "k")
    assert recall(memo, raw) is None


def test_learned_head_is_recalled() -> None:
    memo = HeadMemo()
    learn(memo, CARGO_HEAD, "k")
    assert recall(memo, CARGO_HEAD) == "k"


@pytest.mark.parametrize("name", ["if-none-match", "If-None-Match"])
def test_tag_of_the_stored_response_is_recalled_after_any_other(name: str) -> None:
    memo = HeadMemo()
    learn(memo, head("Host: a", f'{name}: "' + "f" * 64 + '"'), "k")
    assert recall(memo, head("Host: a", f'{name}: "{TAG.decode()}"')) == "k"
    assert recall(memo, head("Host: a", f'{name}: "' + "f" * 64 + '"')) is None
    other = f'{name}: "{TAG.decode()}"'.swapcase()
    assert recall(memo, head("Host: a", other)) is None
    both = head("Host: a", f'if-none-match: "{TAG.decode()}"', f'If-None-Match: "{TAG.decode()}"')
    learn(memo, both, "k")
    assert recall(memo, both) is None


def test_line_and_tail_of_one_site_combine() -> None:
    memo = HeadMemo()
    learn(memo, head("Host: a"), "k")
    learn(memo, head("Host: b", line="GET /b HTTP/1.1"), "l")
    assert recall(memo, head("Host: b")) == "k"


def test_line_learned_of_one_form_is_not_recalled_for_the_other() -> None:
    memo = HeadMemo()
    coded = head("Host: a", "Accept-Encoding: deflate, gzip")
    learn(memo, head("Host: a"), "identity")
    learn(memo, coded, "variant")
    assert recall(memo, head("Host: a")) == "identity"
    assert recall(memo, coded) == "variant"
    learn(memo, head("Host: b", "Accept-Encoding: gzip", line="GET /b HTTP/1.1"), "l")
    assert recall(memo, head("Host: b", "Accept-Encoding: gzip")) == "variant"
    assert recall(memo, head("Host: b")) is None


def test_tag_of_the_variant_is_recalled_apart_from_that_of_the_identity() -> None:
    memo = HeadMemo()
    learn(memo, head("Host: a", 'if-none-match: "' + "f" * 64 + '-gzip"'), "k")
    assert recall(memo, head("Host: a", f'if-none-match: "{TAG.decode()}-gzip"')) == "k"
    assert recall(memo, head("Host: a", f'if-none-match: "{TAG.decode()}"')) is None


def test_line_of_another_site_does_not_combine() -> None:
    memo = HeadMemo()
    learn(memo, head("Host: a"), "k")
    learn(memo, head("Host: index.crates.io", line="GET /b HTTP/1.1"), "l")
    assert recall(memo, head("Host: index.crates.io")) is None


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(head("Host: a", line="HEAD /a HTTP/1.1"), id="head"),
        pytest.param(head("Host: a", line="GET /a HTTP/1.0"), id="http-1.0"),
        pytest.param(head("Host: a", line="GET http://a/a HTTP/1.1"), id="absolute"),
        pytest.param(head("Host: a", "Range: bytes=0-"), id="range"),
        pytest.param(head("Host: a", "Connection: close, keep-alive"), id="close-and-more"),
        pytest.param(head("Host: a", "X: " + "y" * 2000), id="long-tail"),
    ],
)
def test_selecting_head_is_not_learned(raw: bytes) -> None:
    memo = HeadMemo()
    learn(memo, raw, "k")
    assert recall(memo, raw) is None


def test_head_that_ends_its_connection_is_learned_apart() -> None:
    memo = HeadMemo()
    raw = head("Host: a", "Connection: close")
    learn(memo, raw, "k")
    assert recall(memo, raw) is None
    assert recall_last(memo, raw) == "k"
    assert recall_last(memo, head("Host: a")) is None
    learn(memo, head("Host: a", "Connection: close", f'if-none-match: "{TAG.decode()}"'), "k")
    assert (len(memo.closing), len(memo.tagged)) == (1, 0)
    memo.stop()
    assert recall_last(memo, raw) is None


def test_memo_is_bounded() -> None:
    memo = HeadMemo()
    for number in range(MAX_TAILS + 1):
        learn(memo, head("Host: a", f"X: {number}"), "k")
    assert len(memo.tails) == 1


def test_stopped_memo_knows_and_learns_nothing() -> None:
    memo = HeadMemo()
    learn(memo, CARGO_HEAD, "k")
    memo.stop()
    learn(memo, CARGO_HEAD, "k")
    assert recall(memo, CARGO_HEAD) is None


_NAMES = st.sampled_from(
    [
        "Host",
        "host",
        "Accept",
        "Connection",
        "Upgrade",
        "HTTP2-Settings",
        "Content-Length",
        "Transfer-Encoding",
        "Range",
        "X",
        "Host ",
        " Host",
        "if-none-match",
        "If-None-Match",
        "X: y\r\nif-none-match",
        "Expect",
    ]
)
_VALUES = st.sampled_from(
    [
        "a",
        "index.crates.io",
        "",
        "close",
        "keep-alive",
        "Upgrade, HTTP2-Settings",
        "h2c",
        "0",
        "5",
        "chunked",
        "bytes=0-1",
        "a\rb",
        "a\nb",
        "a\r\n b",
        "\x00",
        "a\r\n\r\nGET /x HTTP/1.1",
        "*",
        f'"{TAG.decode()}"',
        f'"{TAG.decode()}", "x"',
        f'W/"{TAG.decode()}"',
        '"' + "f" * 64 + '"',
        '"' + "f" * 63 + "\r" + '"',
    ]
)
_LINES = st.sampled_from(
    [
        "GET /a HTTP/1.1",
        "GET /b HTTP/1.1",
        "HEAD /a HTTP/1.1",
        "GET /a HTTP/1.0",
        "GET /a",
        "",
        "POST /a HTTP/1.1",
        "GET  /a HTTP/1.1",
        "GET http://a/a HTTP/1.1",
        "GET /a HTTP/1.1 ",
    ]
)
_HEADS = st.builds(
    lambda line, fields: head(*(f"{name}: {value}" for name, value in fields), line=line),
    _LINES,
    st.lists(st.tuples(_NAMES, _VALUES), max_size=5),
)


@settings(max_examples=300, deadline=None)
@given(learned=st.lists(_HEADS, max_size=12), asked=_HEADS)
def test_recalled_bytes_parse_as_the_same_request(learned: list[bytes], asked: bytes) -> None:
    """Whatever was learned from, in any mixture: a recalled read is one plain GET of that line."""
    memo = HeadMemo()
    for raw in learned:
        try:
            request = parse(raw)
        except RequestError:
            continue
        if request.authority is not None:
            site = site_of_host(request.authority.host)
            memo.learn(raw, request, site, f"{site.value}:{request.target.decode()}")
    combined = [asked, *learned] + [
        one[: one.find(b"\r\n")] + two[two.find(b"\r\n") :] for one in learned for two in learned
    ]
    for raw in combined:
        key = recall(memo, raw)
        if key is None:
            continue
        request = parse(raw)  # raises if the strict parser would refuse it
        assert request.is_plain
        assert request.keep_alive
        assert request.method == b"GET"
        assert request.authority is not None
        site = site_of_host(request.authority.host)
        assert key == f"{site.value}:{request.target.decode()}"
        assert request.conditions.if_none_match in (None, b'"%b"' % TAG)


_CLIENT_HEADS = [
    CARGO_HEAD,
    CARGO_HEAD[:-2] + b'if-none-match: "' + TAG + b'"\r\n\r\n',
    head("Host: a"),
    head("Host: a", "Accept-Encoding: gzip"),
    head("Host: a", "Accept-Encoding: gzip;q=0"),
    head("Host: a", "Accept-Encoding: identity;q=0, *"),
    head("Host: a", "Cache-Control: no-cache"),
    head("Host: a", "Cache-Control: max-age=0, only-if-cached"),
    head("Host: a", "Pragma: no-cache"),
    head("Host: a", "Connection: Upgrade", "Upgrade: h2c"),
    head("Host: a", "Connection: close"),
    head("Host: a", "Accept-Encoding: gzip", "connection:Close"),
    head("Host: a", "Want-Content-Digest: sha-256=1"),
    head("Host: index.crates.io", "Connection: keep-alive"),
    head("Host: a", f'if-none-match: "{TAG.decode()}-gzip"', "Accept-Encoding: gzip"),
    head("Host: a", f'If-None-Match: "{TAG.decode()}"'),
]
_EDITED = st.builds(edited, st.sampled_from(_CLIENT_HEADS), EDITS)


def name_of(request: Request) -> str:
    """What an answer depends on that comes from the memo."""
    assert request.authority is not None
    site = site_of_host(request.authority.host)
    return f"{site.value}:{request.target.decode()}:{request.accepts_gzip}"


@settings(max_examples=500, deadline=None)
@given(learned=st.lists(_EDITED, max_size=6), asked=st.lists(_EDITED, max_size=6))
def test_edited_head_is_recalled_only_as_what_the_parser_reads(
    learned: list[bytes], asked: list[bytes]
) -> None:
    """Bytes of heads that real clients send, edited anywhere, in any mixture of line and tail."""
    memo = HeadMemo()
    for raw in [*_CLIENT_HEADS, *learned]:
        try:
            request = parse(raw)
        except RequestError:
            continue
        if request.authority is not None:
            memo.learn(raw, request, site_of_host(request.authority.host), name_of(request))
    heads = [*learned, *asked]
    mixed = [one.partition(b"\r\n")[0] + two[two.find(b"\r\n") :] for one in heads for two in heads]
    for raw in [*_CLIENT_HEADS, *heads, *mixed]:
        key, last = recall(memo, raw), recall_last(memo, raw)
        assert key is None or last is None
        if key is not None or last is not None:
            request = parse(raw)  # raises if the strict parser would refuse it
            assert (key or last) == name_of(request)
            assert (request.method, request.is_plain) == (b"GET", True)
            assert request.keep_alive is (last is None)
            assert request.directives is NO_DIRECTIVES
            assert not request.wants_content_digest


def test_heads_that_ask_for_something_are_not_recalled() -> None:
    """The property above is met by heads that are learned, not by a memo that learns nothing."""
    memo = HeadMemo()
    for raw in _CLIENT_HEADS:
        request = parse(raw)
        assert request.authority is not None
        memo.learn(raw, request, site_of_host(request.authority.host), name_of(request))
    recalled = [raw for raw in _CLIENT_HEADS if recall(memo, raw) is not None]
    assert len(recalled) >= 5
    for raw in recalled:
        assert b"Cache-Control" not in raw
        assert b"Pragma" not in raw
        assert b"Want-Content-Digest" not in raw


def test_split_tails_are_bounded_and_forgotten_when_nothing_more_is_learned() -> None:
    memo = HeadMemo()
    tags = [f"{number:064x}" for number in range(MAX_TAILS + 1)]
    learn(memo, head("Host: a", f'If-None-Match: "{tags[0]}"'), "k")
    for tag in tags:
        tail = head("Host: a", f'If-None-Match: "{tag}"').partition(b"\r\n")[2]
        found = memo.recall(b"\r\n" + tail)
        assert found is not None
        assert (found[1], memo.split[b"\r\n" + tail]) == (tag.encode(), found)
    assert len(memo.split) == 1
    memo.stop()
    assert memo.split == {}

"""Two strict parsers, ours and h11's, read the same bytes: where they differ, the table says why.

h11 knows nothing of this server: what it takes is a message of HTTP/1.1, what ours takes is a
request that is answered here. Each difference is explained by a property of the bytes, not only by
what ours said, so that a refusal for a wrong reason is found too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.errors import RequestError
from mirror.serve.head_parser import MAX_FIELD_LINES, REQUEST_LINE, parse_head, read_fields
from mirror.serve.inbox import Inbox
from tests.unit.serve.framing_cases import ACCEPTED, REFUSED, head
from tests.unit.serve.head_edits import EDITS, edited
from tests.unit.serve.test_head_parser import CARGO_HEAD

LIMIT_BYTES: Final = 16_384
MAX_TARGET_BYTES: Final = 2048
END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """One request: its line, and its fields by name."""

    method: bytes
    target: bytes
    minor: bytes
    fields: dict[bytes, bytes]
    keeps_alive: bool | None  # None: h11 cannot tell, of an upgrade that it leaves to its user


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """h11 tells no reason apart: status 400 for most."""

    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """The head has no end yet."""


_KEEPS_ALIVE: Final = {h11.DONE: True, h11.MUST_CLOSE: False}
Verdict = Accepted | Refused | Waits


def ours(raw: bytes) -> Verdict:
    inbox = Inbox()
    inbox.add(raw)
    try:
        cut = inbox.next_head(LIMIT_BYTES)
        if cut is None:
            return Waits()
        request = parse_head(cut, max_target_bytes=MAX_TARGET_BYTES)
    except RequestError as refusal:
        return Refused(status=refusal.status)
    line = REQUEST_LINE.fullmatch(cut[: cut.find(b"\r\n")])
    assert line is not None
    return Accepted(
        method=request.method,
        target=line[2],
        minor=line[4],
        fields=read_fields(cut, line[2]),
        keeps_alive=request.keep_alive,
    )


def theirs(raw: bytes) -> Verdict:
    """What h11 reads first; of what follows the head only whether it is content."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LIMIT_BYTES)
    try:
        connection.receive_data(raw)
        request = connection.next_event()
        if request is h11.NEED_DATA:
            return Waits()
        if not isinstance(request, h11.Request):
            return Refused(status=400)
        ending = connection.next_event()
    except h11.RemoteProtocolError as refusal:
        return Refused(status=refusal.error_status_hint)
    fields: dict[bytes, bytes] = {}
    for name, value in request.headers:
        fields[name] = fields[name] + b", " + value if name in fields else value
    if not isinstance(ending, h11.EndOfMessage):
        fields[b"(content)"] = b""  # ours has none, ever
    return Accepted(
        method=request.method,
        target=request.target,
        minor=request.http_version[-1:],
        fields=fields,
        keeps_alive=_KEEPS_ALIVE.get(connection.their_state),
    )


# Properties of the bytes, up to where a lax reader sees the end of the head.
_LAX_END: Final = re.compile(rb"\n\r?\n")
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_FOLD: Final = re.compile(rb"\n[ \t]")
_CONTROL: Final = re.compile(rb"[\x01-\x08\x0e-\x1f\x7f]")
_HOST: Final = re.compile(rb"\nhost:[ \t]*([^\r\n]*?)[ \t]*(?=\r?\n)", re.IGNORECASE)
_PLAIN_HOST: Final = re.compile(
    rb"(?=[^.])[a-z0-9._-]+(?<!-)(?::[0-9]{0,5})?|\[[0-9a-f:.]+\](?::[0-9]{0,5})?", re.IGNORECASE
)
_LENGTH: Final = re.compile(rb"\ncontent-length:[ \t]*([^\r\n]*?)[ \t]*(?=\r?\n)", re.IGNORECASE)
_CODING: Final = re.compile(rb"\ntransfer-encoding:", re.IGNORECASE)
_EXPECT: Final = re.compile(rb"\nexpect:[ \t]*(?!100-continue[ \t]*\r)", re.IGNORECASE)


def lax_head(raw: bytes) -> bytes:
    """What h11 takes for the head."""
    end = _LAX_END.search(raw)
    return raw if end is None else raw[: end.end()]


def words_of(raw: bytes) -> list[bytes]:
    """The words of the request line; fewer than three are filled up."""
    words = lax_head(raw).partition(b"\n")[0].rstrip(b"\r").split(b" ")
    return words + [b""] * (3 - len(words))


def has_odd_host(raw: bytes) -> bool:
    """A value that is no host name or address as the DNS has them (ports: up to 65535)."""
    for value in _HOST.findall(lax_head(raw)):
        if not _PLAIN_HOST.fullmatch(value):
            return True
        name, _, port = value.rpartition(b":") if not value.endswith(b"]") else (value, b"", b"")
        if port and port.isdigit() and not 1 <= int(port) <= 65_535:
            return True
        labels = (name or value).removesuffix(b".").split(b".")
        if labels[-1].isdigit() or value.startswith(b"["):
            return True  # an address: ours must be of one spelling
        if any(not label or label[:1] == b"-" or label[-1:] == b"-" for label in labels):
            return True
        if any(len(label) > 63 for label in labels) or len(value) > 253:
            return True
    return False


def has_other_target(raw: bytes) -> bool:
    """Not a path: ours takes an absolute form of http and https too, if all of it is sound."""
    return not words_of(raw)[1].startswith(b"/")


def has_content(raw: bytes) -> bool:
    cut = lax_head(raw)
    lengths = _LENGTH.findall(cut)
    return bool(_CODING.search(cut)) or any(length.strip(b"0") for length in lengths)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`explains` looks at the bytes alone; `why`: why ours is right to differ."""

    name: str
    why: str
    example: bytes
    status: tuple[int, ...]
    explains: Callable[[bytes], bool]


STRICTER: Final = [
    Difference(
        name="bare-lf",
        why="RFC 9112 section 2.2 allows it; a proxy in front may see another end of the head",
        example=b"GET /a HTTP/1.1\nHost: m\r\n\r\n",
        status=(400,),
        explains=lambda raw: bool(_BARE_LF.search(lax_head(raw))),
    ),
    Difference(
        name="obs-fold",
        why="RFC 9112 section 5.2: a server must refuse it, or replace it by spaces as h11 does",
        example=head("Host: m", "X: y", " z"),
        status=(400,),
        explains=lambda raw: bool(_FOLD.search(lax_head(raw))),
    ),
    Difference(
        name="control-character",
        why="RFC 9110 section 5.5: invalid; h11 takes them, for cookies of real sites",
        example=head("Host: m", "X: a\x01b"),
        status=(400,),
        explains=lambda raw: bool(_CONTROL.search(lax_head(raw))),
    ),
    Difference(
        name="host-value",
        why="RFC 9112 section 3.2: an invalid Host is 400; h11 leaves that to its user",
        example=head("Host: m/n"),
        status=(400,),
        explains=has_odd_host,
    ),
    Difference(
        name="content",
        why="RFC 9110 section 9.3.1: content of GET has no meaning, and may be smuggling",
        example=head("Host: m", "Content-Length: 5"),
        status=(400,),
        explains=has_content,
    ),
    Difference(
        name="equal-lengths",
        why="RFC 9112 section 6.3: equal lengths may be refused or merged",
        example=head("Host: m", "Content-Length: 0", "Content-Length: 0"),
        status=(400,),
        explains=lambda raw: len(_LENGTH.findall(lax_head(raw))) > 1,
    ),
    Difference(
        name="method",
        why="RFC 9110 section 9.1: 501 for what is not known, 405 for what is not allowed",
        example=head("Host: m", line="POST /a HTTP/1.1"),
        status=(400, 405, 501),
        explains=lambda raw: words_of(raw)[0] not in (b"GET", b"HEAD"),
    ),
    Difference(
        name="version",
        why="RFC 9110 section 15.6.6: no other major version is spoken, and no minor one exists",
        example=head("Host: m", line="GET /a HTTP/2.1"),
        status=(505,),
        explains=lambda raw: words_of(raw)[2] not in (b"HTTP/1.0", b"HTTP/1.1"),
    ),
    Difference(
        name="target-form",
        why="RFC 9112 section 3.2: GET has no asterisk or authority form here",
        example=head("Host: m", line="GET * HTTP/1.1"),
        status=(400,),
        explains=has_other_target,
    ),
    Difference(
        name="long-target",
        why="RFC 9110 section 15.5.15: longer than anything that is stored",
        example=head("Host: m", line=f"GET /{'a' * MAX_TARGET_BYTES} HTTP/1.1"),
        status=(414,),
        explains=lambda raw: len(words_of(raw)[1]) > MAX_TARGET_BYTES,
    ),
    Difference(
        name="many-lines",
        why="RFC 6585 section 5: a head of 16 KiB could hold thousands of lines",
        example=head("Host: m", *["X: y"] * MAX_FIELD_LINES),
        status=(431,),
        explains=lambda raw: lax_head(raw).count(b"\n") > MAX_FIELD_LINES,
    ),
    Difference(
        name="large-head",
        why="RFC 6585 section 5: h11 only limits a head that is not complete yet",
        example=head("Host: m", "X: " + "y" * LIMIT_BYTES),
        status=(431,),
        explains=lambda raw: len(lax_head(raw)) > LIMIT_BYTES,
    ),
    Difference(
        name="expectation",
        why="RFC 9110 section 10.1.1: 417 for an expectation that cannot be met",
        example=head("Host: m", "Expect: 200-ok"),
        status=(417,),
        explains=lambda raw: bool(_EXPECT.search(lax_head(raw))),
    ),
]
LAXER: Final = [
    Difference(
        name="empty-line-first",
        why="RFC 9112 section 2.2: a server should ignore at least one; old clients send it",
        example=b"\r\n" + head("Host: m"),
        status=(),
        explains=lambda raw: raw.startswith(b"\r\n"),
    ),
]


def difference_of(raw: bytes) -> Difference | None:
    """The explained difference of the two verdicts on `raw`; None when they agree.

    Raises: AssertionError when they differ and nothing explains it.
    """
    our, their = ours(raw), theirs(raw)
    if isinstance(our, Refused) and isinstance(their, Waits):
        # Ours says no before the end: does h11 take it once it has ended?
        their = theirs(raw + END)
    if isinstance(our, Waits) and isinstance(their, Refused):
        raw += END
        our = ours(raw)
    if isinstance(our, Refused) and isinstance(their, Accepted):
        for difference in STRICTER:
            if our.status in difference.status and difference.explains(raw):
                return difference
        raise AssertionError(("only ours refuses", our, raw))
    if isinstance(our, Accepted) and isinstance(their, Refused):
        for difference in LAXER:
            if difference.explains(raw) and isinstance(theirs(raw[2:]), Accepted):
                return difference
        raise AssertionError(("only ours accepts", our, raw))
    assert type(our) is type(their), (our, their, raw)
    if isinstance(our, Accepted) and isinstance(their, Accepted):
        assert (our.method, our.target, our.minor) == (their.method, their.target, their.minor), raw
        assert our.fields == their.fields, raw
        # h11 keeps no connection of HTTP/1.0; ours does when it is asked (RFC 9112 section 9.3).
        if their.keeps_alive is not None and our.minor == b"1":
            assert our.keeps_alive is their.keeps_alive, raw
    return None


@pytest.mark.parametrize("difference", STRICTER + LAXER, ids=lambda difference: difference.name)
def test_explained_difference_is_met_by_its_example(difference: Difference) -> None:
    assert difference_of(difference.example) is difference


def test_parsers_agree_on_what_real_clients_send() -> None:
    for raw in SEEDS:
        assert difference_of(raw) is None, raw
        assert isinstance(ours(raw), Accepted), raw


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused_case_differs_for_an_explained_reason_at_most(case: object) -> None:
    difference_of(getattr(case, "raw"))  # noqa: B009 - parametrize hands out objects


@pytest.mark.parametrize("name", list(ACCEPTED))
def test_accepted_case_differs_for_an_explained_reason_at_most(name: str) -> None:
    difference_of(ACCEPTED[name])


# Generated heads.

CRATE_HEAD: Final = CARGO_HEAD.replace(
    b"cargo-protocol: version=1\r\naccept: text/plain", b"Accept: */*"
)
SEEDS: Final = [
    CARGO_HEAD,
    CARGO_HEAD[:-2] + b'if-none-match: "' + b"0123456789abcdef" * 4 + b'"\r\n\r\n',
    CRATE_HEAD,
    b"GET /index/config.json HTTP/1.1\r\nHost: mirror.test\r\naccept: text/plain\r\n\r\n",
    b"GET /dist/channel-rust-stable.toml.sha256 HTTP/1.1\r\n"
    b"user-agent: rustup/1.29.0 (28d1352db 2026-03-05)\r\naccept: */*\r\nhost: mirror.test\r\n\r\n",
    b"GET /dist/2026-03-05/rustc-1.94.0-x86_64-unknown-linux-gnu.tar.xz HTTP/1.1\r\n"
    b"user-agent: rustup/1.29.0\r\naccept: */*\r\nrange: bytes=1048576-\r\nhost: m:80\r\n\r\n",
    b"HEAD /rustup/release-stable.toml HTTP/1.1\r\nHost: m\r\nUser-Agent: curl/8.5.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET http://static.crates.io/crates/a/a-1.0.0.crate HTTP/1.1\r\nHost: static.crates.io\r\n"
    b"Proxy-Connection: keep-alive\r\nConnection: close\r\n\r\n",
]
_MUTATED: Final = st.builds(edited, st.sampled_from(SEEDS), EDITS)
_LINE_PARTS: Final = st.sampled_from(
    [b"X", b"Host", b"content-length", b"Connection", b"0", b"00", b"m", b"", b" ", b"\t", b"a b",
     b"close", b"keep-alive", b"Close", b"chunked", b"\xe9", b'"', b"\\", b"a:b", b"100-continue"]
)  # fmt: skip
_LINE: Final = st.builds(
    lambda name, gap, value, end: name + b":" + gap + value + end,
    _LINE_PARTS,
    st.sampled_from([b"", b" ", b"\t", b"  "]),
    _LINE_PARTS,
    st.sampled_from([b"\r\n", b" \r\n", b"\t\r\n", b"\r\n", b"\n"]),
)
_BUILT: Final = st.builds(
    lambda line, lines: line + b"".join(lines) + b"\r\n",
    st.sampled_from(
        [b"GET /a HTTP/1.1\r\nHost: m\r\n", b"GET /a HTTP/1.0\r\n", b"HEAD /a HTTP/1.1\r\n"]
    ),
    st.lists(_LINE, max_size=6),
)
_HEADS: Final = st.one_of(_MUTATED, _BUILT)


@settings(max_examples=500, deadline=None)
@given(_HEADS)
def test_parsers_differ_for_explained_reasons_only(raw: bytes) -> None:
    difference_of(raw)


@pytest.mark.full
@pytest.mark.timeout(300)
@settings(max_examples=30_000, deadline=None)
@given(_HEADS)
def test_parsers_differ_for_explained_reasons_only_in_many_more(raw: bytes) -> None:
    difference_of(raw)

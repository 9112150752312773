"""The functions that are timed, each with the input that the hit path gives it.

Rules:
1. A subject is a function that prepares everything once and returns the call that is timed.
2. Inputs are what cargo, rustup and curl send; "new each time" goes round so many inputs that
   nothing which keeps the last few has kept them.

Runs in: benchmark.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Final

import hpack

from mirror.http.conditions import Conditions, evaluate
from mirror.http.h2_blocks import encode_head
from mirror.http.h2_context_free import MAX_KEPT, BlockReader
from mirror.http.ranges import select_range
from mirror.route.match import Site, match
from mirror.serve.head import make_head, render_head
from mirror.serve.head_parser import parse_head
from mirror.serve.memo import HeadMemo, split_tag

Subject = Callable[[], Callable[[], object]]

_TAG = b'"%b"' % (b"0123456789abcdef" * 4)
_TARGET = b"/index/se/rd/serde"
_HEAD = (
    b"GET %b HTTP/1.1\r\nHost: mirror.example:8080\r\nuser-agent: cargo/1.95.0\r\n"
    b"accept: */*\r\naccept-encoding: gzip\r\ncargo-protocol: version=1\r\n\r\n" % _TARGET
)
_TAGGED = _HEAD[:-2] + b"if-none-match: %b\r\n\r\n" % _TAG
_MAX_TARGET = 2048
_LINES = (
    b"Content-Type: text/plain\r\nContent-Length: 2000\r\nETag: %b\r\nLast-Modified: "
    b"Sat, 21 Nov 2026 10:00:00 GMT\r\nCache-Control: max-age=60\r\nVary: Accept-Encoding\r\n"
    b"Accept-Ranges: bytes\r\nAge: 12\r\nCache-Status: mirror; hit; ttl=48\r\n" % _TAG
)
_DATE = b"Mon, 23 Nov 2026 10:00:00 GMT"
_LENGTH = 100_000_000
_MODIFIED = 1_700_000_000
_MOST_BYTES = 16_384


def _empty() -> Callable[[], object]:
    return lambda: None


def _memo() -> Callable[[], object]:
    memo = HeadMemo()
    memo.learn(_HEAD, parse_head(_HEAD, max_target_bytes=_MAX_TARGET), Site.ANY, "index:serde")

    def look_up() -> str | None:
        cut = _HEAD.find(b"\r\n")
        lines = memo.tails.get(_HEAD[cut:])
        return None if lines is None else lines.get(_HEAD[:cut])

    if look_up() is None:
        raise RuntimeError("the memo has not learned the head")
    return look_up


def _tagged() -> Callable[[], object]:
    tail = _TAGGED[_TAGGED.find(b"\r\n") :]
    return lambda: split_tag(tail)


def _parser() -> Callable[[], object]:
    return lambda: parse_head(_HEAD, max_target_bytes=_MAX_TARGET)


def _route() -> Callable[[], object]:
    return lambda: match(_TARGET, Site.ANY)


def _condition() -> Callable[[], object]:
    conditions = Conditions(if_none_match=_TAG)
    return lambda: evaluate(b"GET", conditions, _TAG, _MODIFIED)


def _condition_date() -> Callable[[], object]:
    conditions = Conditions(if_modified_since=_DATE)
    return lambda: evaluate(b"GET", conditions, _TAG, _MODIFIED)


def _range() -> Callable[[], object]:
    return lambda: select_range(b"bytes=1000000-1999999", _LENGTH)


def _ranges() -> Callable[[], object]:
    value = b"bytes=" + b", ".join(b"%d-%d" % (at, at + 99) for at in range(0, 20_000, 1000))
    return lambda: select_range(value, _LENGTH, max_ranges=32)


def _render() -> Callable[[], object]:
    return lambda: render_head(make_head(200, _DATE, _LINES))


def _encode_block() -> Callable[[], object]:
    return lambda: encode_head(200, _LINES)


def _block(path: str) -> bytes:
    """Return what a client sends once its table has size 0: static entries and literals."""
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    block: bytes = encoder.encode([
        (":method", "GET"), (":scheme", "http"), (":authority", "mirror.example:8080"),
        (":path", path), ("accept", "*/*"), ("user-agent", "cargo/1.95.0"),
        ("accept-encoding", "gzip"), ("cargo-protocol", "version=1"),
    ])  # fmt: skip
    return block.lstrip(b"\x20")  # the size update stands before the first field only


def _read_block() -> Callable[[], object]:
    reader, block = BlockReader(), _block("/index/se/rd/serde")
    return lambda: reader.read(block, _MOST_BYTES)


def _read_new_blocks() -> Callable[[], object]:
    reader = BlockReader()
    blocks = itertools.cycle([_block(f"/index/cr/at/crate-{n}") for n in range(2 * MAX_KEPT)])
    return lambda: reader.read(next(blocks), _MOST_BYTES)


def _hpack_block() -> Callable[[], object]:
    decoder, block = hpack.Decoder(), _block("/index/se/rd/serde")
    return lambda: decoder.decode(block, raw=True)


SUBJECTS: Final[dict[str, Subject]] = {
    "an empty call": _empty,
    "memo: look up a head": _memo,
    "memo: cut a tag out": _tagged,
    "strict parse of a head": _parser,
    "route of a target": _route,
    "If-None-Match": _condition,
    "If-Modified-Since": _condition_date,
    "Range, one": _range,
    "Range, twenty": _ranges,
    "render a 200 head": _render,
    "HTTP/2: encode a 200 head": _encode_block,
    "HTTP/2: read a known block": _read_block,
    "HTTP/2: read a block with a path never seen": _read_new_blocks,
    "HTTP/2: the same by hpack": _hpack_block,
}

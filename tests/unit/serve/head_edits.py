"""Edits of request heads: bytes and fields that parsers trip over, put anywhere.

Runs in: pytest.
"""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

_FRAGMENTS: Final = st.one_of(
    st.binary(min_size=1, max_size=1),
    st.sampled_from(
        [
            b"\r\n", b"\r", b"\n", b"\n\n", b"\r\n\r\n", b"\r\n ", b"\r\n\t", b" ", b"\t",
            b":", b" :", b"\0", b"\x0b", b"\x7f", b"\x80", b"\xff", b",", b";", b'"', b"http://",
            b"Host: n\r\n", b"Host: m\r\n", b"//", b"Connection: ,close,\r\n", b": y\r\n",
            b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0, 0\r\n",
            b"Content-Length: +0\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: x\r\n",
            b"Transfer-Encoding: identity\r\n", b"Connection: close\r\n",
            b"Upgrade: websocket\r\n", b"Connection: Upgrade\r\n", b"X:\r\n", b"X: \r\n",
            b"Expect: 100-continue\r\n", b"TE: chunked\r\n", b"Trailer: Host\r\n", b"HTTP/1.1",
            b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"POST", b"CONNECT", b"OPTIONS", b"*",
        ]
    ),
)  # fmt: skip
EDITS: Final = st.lists(
    st.tuples(
        st.sampled_from(["insert", "replace", "delete", "double", "cut"]),
        st.integers(0, 600),
        st.integers(1, 12),
        _FRAGMENTS,
    ),
    max_size=4,
)


def edited(raw: bytes, edits: list[tuple[str, int, int, bytes]]) -> bytes:
    """Return `raw` after each of `edits`: what, where, how long, and which bytes."""
    for kind, place, size, fragment in edits:
        at = place % (len(raw) + 1)
        if kind == "insert":
            raw = raw[:at] + fragment + raw[at:]
        elif kind == "replace":
            raw = raw[:at] + fragment + raw[at + len(fragment) :]
        elif kind == "delete":
            raw = raw[:at] + raw[at + size :]
        elif kind == "cut":
            raw = raw[: at + size]
        else:
            lines = raw.split(b"\r\n")
            raw = b"\r\n".join([*lines[: 1 + at % len(lines)], *lines[at % len(lines) :]])
    return raw

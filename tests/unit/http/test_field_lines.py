"""Strangers' text in logs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.field_lines import loggable


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        pytest.param(b"/index/se/rd/serde", "/index/se/rd/serde", id="plain"),
        pytest.param(b"a\r\nb", "a\\x0d\\x0ab", id="attack-line-end"),
        pytest.param(b"\x1b[2J", "\\x1b[2J", id="attack-terminal-escape"),
        pytest.param("\u202e".encode(), "\\xe2\\x80\\xae", id="attack-bidirectional-mark"),
        pytest.param(b'"\\', "\\x22\\x5c", id="quote-and-backslash"),
        pytest.param(b"\x7f\x80", "\\x7f\\x80", id="delete-and-c1"),
    ],
)
def test_only_printable_ascii_is_shown(raw: bytes, shown: str) -> None:
    assert loggable(raw) == shown


def test_what_is_cut_is_counted() -> None:
    assert loggable(b"abcdef", 4) == "abcd… (2 bytes more)"


@given(st.binary(max_size=200), st.integers(0, 100))
def test_the_result_is_bounded(raw: bytes, limit_bytes: int) -> None:
    assert len(loggable(raw, limit_bytes)) <= 4 * limit_bytes + 30

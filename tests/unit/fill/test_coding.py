"""Content codings are undone under a cap, or refused."""

from __future__ import annotations

import contextlib
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.fill.coding import MEMBERS_MAX, CodingError, decode_content


@given(st.binary(max_size=5000), st.sampled_from(["gzip", "GZIP", " x-gzip "]))
def test_gzip_content_is_what_was_coded(content: bytes, coding: str) -> None:
    assert decode_content(gzip.compress(content), coding, 5000) == content


@pytest.mark.parametrize("coding", ["", "identity", " Identity "])
def test_identity_changes_nothing(coding: str) -> None:
    assert decode_content(b"abc", coding, 1) == b"abc"


def test_several_members_are_one_content() -> None:
    assert decode_content(gzip.compress(b"ab") + gzip.compress(b"cd"), "gzip", 4) == b"abcd"


def test_a_leading_empty_member_is_no_end() -> None:
    assert decode_content(gzip.compress(b"") + gzip.compress(b"cd"), "gzip", 4) == b"cd"


def test_many_members_are_refused_before_they_are_many_copies() -> None:
    """A megabyte of empty members took a second, four took sixteen."""
    member = gzip.compress(b"")
    assert decode_content(member * MEMBERS_MAX, "gzip", 4) == b""
    with pytest.raises(CodingError, match="members"):
        decode_content(member * (MEMBERS_MAX + 1), "gzip", 4)


@pytest.mark.parametrize(
    ("content", "coding"),
    [
        pytest.param(gzip.compress(b"abcde"), "gzip", id="one-byte-over-the-limit"),
        pytest.param(gzip.compress(bytes(10_000_000)), "gzip", id="a-bomb"),
        pytest.param(gzip.compress(b"ab") * 3, "gzip", id="a-bomb-in-members"),
        pytest.param(gzip.compress(b"ab")[:-3], "gzip", id="cut"),
        pytest.param(b"", "gzip", id="nothing"),
        pytest.param(b"plain", "gzip", id="not-gzip"),
        pytest.param(gzip.compress(b"ab") + b"tail", "gzip", id="a-tail"),
        pytest.param(b"abc", "br", id="another-coding"),
        pytest.param(gzip.compress(b"ab"), "gzip, gzip", id="two-codings"),
    ],
)
def test_what_cannot_be_undone_is_refused(content: bytes, coding: str) -> None:
    with pytest.raises(CodingError):
        decode_content(content, coding, 4)


@given(st.binary(max_size=300))
def test_hostile_content_is_decoded_or_refused(content: bytes) -> None:
    with contextlib.suppress(CodingError):
        assert len(decode_content(content, "gzip", 100)) <= 100

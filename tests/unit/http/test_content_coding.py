"""`mirror.http.content_coding`: RFC 9110 section 12.5.3 as a table, and against a slow model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.content_coding import MAX_WISH_BYTES, wants_gzip


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"gzip", id="named"),
        pytest.param(b"deflate, gzip", id="as-cargo-says"),
        pytest.param(b"gzip, deflate, br, zstd", id="as-browsers-say"),
        pytest.param(b"GZip", id="any-case"),
        pytest.param(b"x-gzip", id="old-name"),
        pytest.param(b"gzip;q=0.001", id="least-weight"),
        pytest.param(b"gzip;q=1.000", id="three-zeros"),
        pytest.param(b"gzip;q=0.5", id="identity-not-named"),
        pytest.param(b"gzip ; q=0.5", id="spaces-around-semicolon"),
        pytest.param(b"gzip;Q=0.5", id="upper-case-q"),
        pytest.param(b"identity;q=0.5, gzip;q=0.5", id="equal-weights"),
        pytest.param(b"identity;q=0.5, gzip", id="identity-is-worse"),
        pytest.param(b"*", id="star"),
        pytest.param(b"*;q=0.1", id="star-with-weight"),
        pytest.param(b"identity;q=0, *", id="star-without-identity"),
        pytest.param(b"*;q=0, gzip", id="nothing-else"),
        pytest.param(b",, gzip ,", id="empty-elements"),
        pytest.param(b"br;q=1,\tgzip;q=0.2", id="tab-and-another-coding"),
        pytest.param(b"gzip, gzip;q=0.5", id="named-twice"),
    ],
)
def test_gzip_is_wanted(value: bytes) -> None:
    assert wants_gzip(value)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="no-field"),
        pytest.param(b"", id="empty"),
        pytest.param(b" , ", id="empty-list"),
        pytest.param(b"identity", id="identity"),
        pytest.param(b"br", id="another-coding"),
        pytest.param(b"gzip;q=0", id="refused"),
        pytest.param(b"gzip;q=0.000", id="refused-at-length"),
        pytest.param(b"gzip;q=0, *", id="refused-beside-star"),
        pytest.param(b"*;q=0", id="everything-refused"),
        pytest.param(b"identity;q=0", id="only-identity-refused"),
        pytest.param(b"gzip;q=0.5, identity", id="identity-is-better"),
        pytest.param(b"gzip;q=0.2, *;q=0.8", id="anything-else-is-better"),
        pytest.param(b"gzip, x-gzip;q=0", id="refused-by-its-other-name"),
        pytest.param(b"gzip;q=2", id="weight-too-large"),
        pytest.param(b"gzip;q=1.001", id="weight-above-one"),
        pytest.param(b"gzip;q=0.1234", id="four-digits"),
        pytest.param(b"gzip;q=", id="no-weight"),
        pytest.param(b"gzip;q =1", id="space-in-weight"),
        pytest.param(b"gzip;level=9", id="other-parameter"),
        pytest.param(b"gzip;q=1;q=1", id="two-weights"),
        pytest.param(b"gzip deflate", id="no-comma"),
        pytest.param(b'"gzip"', id="quoted"),
        pytest.param(b"gzip, (", id="malformed-elsewhere"),
        pytest.param(b"gzip\xff", id="obs-text"),
        pytest.param(b"gzip, " + b"a" * MAX_WISH_BYTES, id="too-long"),
        pytest.param(b"gzipp", id="longer-name"),
    ],
)
def test_the_identity_is_wanted(value: bytes | None) -> None:
    assert not wants_gzip(value)


_WEIGHTS = ["", ";q=0", ";q=0.000", ";q=0.3", " ; q=0.30", ";q=0.7", ";q=1", ";Q=1.0"]
_MEMBERS = st.tuples(
    st.sampled_from(["gzip", "x-gzip", "identity", "*", "br", "GZIP", "Identity"]),
    st.sampled_from(_WEIGHTS),
)


@given(st.lists(_MEMBERS, max_size=6))
def test_lists_are_read_as_the_slow_model_reads_them(members: list[tuple[str, str]]) -> None:
    value = ", ".join(name + weight for name, weight in members).encode()
    assert wants_gzip(value) is _slow_wants_gzip(members)


def _slow_wants_gzip(members: list[tuple[str, str]]) -> bool:
    """Section 12.5.3 in the order of its text, about each of the two representations."""

    def weight_of(*names: str) -> float | None:
        found = [_number(weight) for name, weight in members if name.lower() in names]
        return min(found) if found else None

    star = weight_of("*")
    gzip = weight_of("gzip", "x-gzip")
    identity = weight_of("identity")
    if gzip is None:
        gzip = star
    if not gzip:
        return False
    if identity is None:
        identity = star
    return identity is None or identity <= gzip


def _number(weight: str) -> float:
    return float(weight.partition("=")[2]) if weight else 1.0


@given(st.binary(max_size=40))
def test_whatever_a_client_sends_is_an_answer(value: bytes) -> None:
    assert wants_gzip(value) in (True, False)

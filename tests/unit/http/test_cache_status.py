"""Cache-Status values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.cache_status import (
    Forward,
    cache_status,
    forwarded,
    hit,
    with_detail,
    with_reason,
    with_ttl,
)
from tests.structured_fields import parse_single


@pytest.mark.parametrize(
    ("outcome", "value"),
    [
        pytest.param(hit(), b"rust-mirror; hit", id="hit-for-ever"),
        pytest.param(hit(ttl_s=57), b"rust-mirror; hit; ttl=57", id="hit"),
        pytest.param(hit(ttl_s=-3, detail="upstream-down"),
                     b"rust-mirror; hit; ttl=-3; detail=upstream-down", id="stale-hit"),
        pytest.param(forwarded(Forward.URI_MISS, stored=True),
                     b"rust-mirror; fwd=uri-miss; stored", id="miss-stored"),
        pytest.param(forwarded(Forward.STALE, status=304, ttl_s=60),
                     b"rust-mirror; fwd=stale; fwd-status=304; ttl=60", id="revalidated"),
        pytest.param(forwarded(Forward.URI_MISS, status=200, stored=True, collapsed=True),
                     b"rust-mirror; fwd=uri-miss; fwd-status=200; stored; collapsed",
                     id="follower"),
        pytest.param(forwarded(Forward.PARTIAL, detail='disk "full"'),
                     b'rust-mirror; fwd=partial; detail="disk \\"full\\""', id="quoted-detail"),
    ],
)  # fmt: skip
def test_an_outcome_is_written_with_its_parameters(outcome: str, value: bytes) -> None:
    assert cache_status("rust-mirror", outcome) == value


@pytest.mark.parametrize(
    ("name", "written"),
    [
        pytest.param("edge.example:8080", b"edge.example:8080", id="authority-is-a-token"),
        pytest.param("my edge", b'"my edge"', id="space-needs-quotes"),
        pytest.param("10.0.0.1", b'"10.0.0.1"', id="digit-first-is-no-token"),
        pytest.param("a\r\nX: y", b'"a??X: y"', id="attack-line-end"),
        pytest.param("\u00e4\\", b'"?\\\\"', id="not-ascii"),
        pytest.param("", b'""', id="empty"),
    ],
)
def test_a_name_cannot_break_the_field(name: str, written: bytes) -> None:
    assert cache_status(name, hit()) == written + b"; hit"


@pytest.mark.parametrize(
    ("outcome", "marked"),
    [
        pytest.param("hit", "hit; detail=d", id="none-yet"),
        pytest.param("hit; ttl=3; detail=x", 'hit; ttl=3; detail="x, d"', id="a-token"),
        pytest.param(hit(detail='a "b" \\ c'), 'hit; detail="a \\"b\\" \\\\ c, d"', id="a-string"),
        pytest.param("fwd=stale; detail=x; collapsed", 'fwd=stale; detail="x, d"; collapsed',
                     id="in-the-middle"),
    ],
)  # fmt: skip
def test_a_second_detail_shares_the_one_parameter(outcome: str, marked: str) -> None:
    assert with_detail(outcome, "d") == marked


@given(st.text())
def test_any_detail_stays_in_one_visible_bounded_value(detail: str) -> None:
    value = cache_status("m", hit(detail=detail))
    assert all(0x20 <= byte < 0x7F for byte in value)
    assert len(value) < 200


@pytest.mark.parametrize(
    ("outcome", "ttl_s", "expected"),
    [
        pytest.param("hit", 57, "hit; ttl=57", id="hit"),
        pytest.param("hit", None, "hit", id="never-ends"),
        pytest.param("hit; ttl=3", 57, "hit; ttl=3", id="said-already"),
        pytest.param("hit; detail=memory", 57, "hit; ttl=57; detail=memory", id="detail"),
        pytest.param(
            "fwd=stale; fwd-status=304", -2, "fwd=stale; ttl=-2; fwd-status=304", id="fwd"
        ),
    ],
)
def test_ttl_is_said_once(outcome: str, ttl_s: int | None, expected: str) -> None:
    assert with_ttl(outcome, ttl_s) == expected
    parse_single(cache_status("rust-mirror", expected).decode())


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        pytest.param("fwd=stale; fwd-status=304", "fwd=request; fwd-status=304", id="forwarded"),
        pytest.param(
            "fwd=uri-miss; stored; collapsed", "fwd=request; stored; collapsed", id="flags"
        ),
        pytest.param("hit; detail=memory", "hit; detail=memory", id="hit"),
    ],
)
def test_the_reason_is_the_workers(outcome: str, expected: str) -> None:
    assert with_reason(outcome, Forward.REQUEST) == expected

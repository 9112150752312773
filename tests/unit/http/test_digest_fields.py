"""`mirror.http.digest_fields`: RFC 9530, and the structured fields that it is written in."""

from __future__ import annotations

import base64
import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.digest_fields import (
    MAX_WISH_BYTES,
    asks_for_sha256,
    content_digest_line,
    repr_digest_line,
    wants_sha256,
)


def test_the_example_of_the_rfc() -> None:
    """RFC 9530 appendix B.1."""
    digest = hashlib.sha256(b'{"hello": "world"}\n').digest()
    expected = b"Repr-Digest: sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:\r\n"
    assert repr_digest_line(digest) == expected


@given(content=st.binary(max_size=64))
def test_the_value_is_the_digest_in_base64(content: bytes) -> None:
    digest = hashlib.sha256(content).digest()
    line = repr_digest_line(digest)
    assert base64.b64decode(line[len(b"Repr-Digest: sha-256=:") : -3], validate=True) == digest


def test_without_a_digest_there_is_no_field() -> None:
    assert repr_digest_line(b"") == b""


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        pytest.param(None, True, id="no-field"),
        pytest.param(b"", True, id="empty"),
        pytest.param(b"sha-256=1", True, id="least"),
        pytest.param(b"sha-256=10", True, id="most"),
        pytest.param(b"sha-512=3, sha-256=10, unixsum=0", True, id="rfc-example"),
        pytest.param(b"sha-256=0", False, id="not-acceptable"),
        pytest.param(b"sha-512=10, sha-256=0", False, id="another-one-instead"),
        pytest.param(b"  sha-256=0  ", False, id="spaces-around"),
        pytest.param(b"sha-512=1 ,\tsha-256=0", False, id="optional-white-space"),
        pytest.param(b"sha-256=5, sha-256=0", False, id="the-last-counts"),
        pytest.param(b"sha-256=0, sha-256=5", True, id="the-last-counts-again"),
        pytest.param(b"sha-256=-0", False, id="minus-zero-is-zero"),
        pytest.param(b"sha-256=000", False, id="zeros-in-front"),
        pytest.param(b'sha-256=0;a;b=2;c="x, y";d=:AA==:;e=?0;f=1.5;g=t;h=@7', False,
                     id="parameters-mean-nothing"),
        pytest.param(b"sha-512=10", True, id="only-others-wanted"),
        pytest.param(b"md5=10, sha-512=0", True, id="others-refused"),
        # Not such a dictionary: ignored as a whole.
        pytest.param(b"sha-256", True, id="boolean"),
        pytest.param(b"sha-256=0, sha-512", True, id="boolean-beside-it"),
        pytest.param(b"sha-256=0, sha-512=11", True, id="preference-above-10"),
        pytest.param(b"sha-256=0, sha-512=-1", True, id="preference-below-0"),
        pytest.param(b"sha-256=0.0", True, id="decimal"),
        pytest.param(b'sha-256="0"', True, id="string"),
        pytest.param(b"sha-256=(0)", True, id="inner-list"),
        pytest.param(b"sha-256=0,", True, id="comma-at-the-end"),
        pytest.param(b"sha-256=0, ", True, id="comma-and-space-at-the-end"),
        pytest.param(b",sha-256=0", True, id="comma-in-front"),
        pytest.param(b"sha-256=0 sha-512=1", True, id="no-comma"),
        pytest.param(b"sha-256 =0", True, id="space-before-the-sign"),
        pytest.param(b"SHA-256=0", True, id="upper-case-is-no-key"),
        pytest.param(b"sha-256=0000000000000000", True, id="sixteen-digits"),
        pytest.param(b"sha-256=0\xff", True, id="not-ascii"),
        pytest.param("sha-256=\u0660".encode(), True, id="digits-of-others"),
        pytest.param(b"sha-256=0;", True, id="empty-parameter"),
    ],
)  # fmt: skip
def test_whether_sha_256_is_welcome(value: bytes | None, wanted: bool) -> None:
    assert wants_sha256(value) is wanted


KEYS = st.from_regex(r"[a-z*][a-z0-9_.*-]{0,8}", fullmatch=True)


@given(wanted=st.dictionaries(KEYS | st.just("sha-256"), st.integers(min_value=0, max_value=10)))
def test_every_dictionary_of_preferences_is_understood(wanted: dict[str, int]) -> None:
    value = ", ".join(f"{key}={preference}" for key, preference in wanted.items()).encode()
    assert wants_sha256(value) is (wanted.get("sha-256") != 0)


@given(raw=st.binary(max_size=80))
def test_any_bytes_are_judged(raw: bytes) -> None:
    assert wants_sha256(raw) in (True, False)


@pytest.mark.parametrize(
    "value",
    [
        b"a=1" + b";a=1" * 4000 + b"!",
        b"a=1;a=" + b"1" * 16_000,
        b"a=1, " * 3200 + b"!",
        b'a=1;a="' + b"\\\\" * 8000,
        b"a" * 16_000,
    ],
    ids=["parameters", "digits", "members", "string", "key"],
)
def test_attack_by_length_takes_no_time(value: bytes) -> None:
    begun = time.perf_counter()
    assert wants_sha256(value)
    assert time.perf_counter() - begun < 0.5


def test_a_wish_that_is_too_long_is_ignored_unread() -> None:
    last = b"sha-256=0"
    wish = b"a=1," * ((MAX_WISH_BYTES - len(last)) // 4)
    assert not wants_sha256(wish + last)
    assert wants_sha256(wish * 2 + last)
    # The worst of a whole head takes no longer to judge than none.
    begun = time.perf_counter()
    for _ in range(1000):
        wants_sha256(b"a=1," * 4000)
    assert time.perf_counter() - begun < 0.5


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        pytest.param(None, False, id="no-field"),
        pytest.param(b"", False, id="empty"),
        pytest.param(b"sha-256=1", True, id="least"),
        pytest.param(b"sha-512=3, sha-256=10, unixsum=0", True, id="rfc-example"),
        pytest.param(b"sha-256=0", False, id="not-acceptable"),
        pytest.param(b"sha-512=10", False, id="only-others-wanted"),
        pytest.param(b"sha-256=5, sha-256=0", False, id="the-last-counts"),
        pytest.param(b"sha-256", False, id="not-valid"),
        pytest.param(b"sha-256=11", False, id="preference-above-10"),
        pytest.param(b"sha-256=1" + b" " * MAX_WISH_BYTES, False, id="too-long"),
    ],
)
def test_whether_a_content_digest_is_asked_for(value: bytes | None, asked: bool) -> None:
    """Unlike `Repr-Digest` it is stated only when asked for: RFC 9530 section 4."""
    assert asks_for_sha256(value) is asked


@given(content=st.binary(max_size=64))
def test_content_that_is_the_representation_has_its_digest(content: bytes) -> None:
    line = repr_digest_line(hashlib.sha256(content).digest())
    assert content_digest_line(line) == b"Content-Digest" + line[len(b"Repr-Digest") :]
    assert content_digest_line(b"") == b""

"""CDN-Loop lists, friendly and not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.cdn_loop import cdn_ids, contains_token


@pytest.mark.parametrize(
    ("value", "is_ours"),
    [
        pytest.param(None, False, id="not-sent"),
        pytest.param(b"", False, id="empty"),
        pytest.param(b"rust-mirror", True, id="alone"),
        pytest.param(b"Rust-Mirror", True, id="other-case"),
        pytest.param(b"fastly, rust-mirror", True, id="second"),
        pytest.param(b"fastly,,\trust-mirror ,", True, id="empty-elements"),
        pytest.param(b'rust-mirror; v="1,2"', True, id="with-parameter"),
        pytest.param(b"fastly;rust-mirror", False, id="name-of-a-parameter"),
        pytest.param(b'fastly; x="a, rust-mirror"', False, id="inside-a-quoted-parameter"),
        pytest.param(b'a; x="\\", rust-mirror", b', False, id="escaped-quote-inside"),
        pytest.param(b"rust-mirror-2", False, id="longer-name"),
        pytest.param(b"rust-mirror:8080", False, id="host-with-port-is-another-id"),
        pytest.param(b'a; x="open, rust-mirror', True, id="attack-unclosed-quote"),
    ],
)
def test_our_token_is_found(value: bytes | None, is_ours: bool) -> None:
    assert contains_token(value, b"rust-mirror") is is_ours


def test_identifiers_come_in_order() -> None:
    assert cdn_ids(b"A.example:80; x=1, b") == (b"a.example:80", b"b")


names = st.from_regex(rb"[a-z][a-z0-9.-]{0,10}", fullmatch=True)


@given(st.lists(names), st.lists(names))
def test_our_token_is_found_at_any_place(before: list[bytes], after: list[bytes]) -> None:
    assert contains_token(b", ".join([*before, b"rust-mirror; a=b", *after]), b"RUST-mirror")

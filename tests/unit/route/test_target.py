"""The forms of a request target."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.authority import Authority
from mirror.route.route import Refusal
from mirror.route.target import AbsoluteForm, OriginForm, split_target


def absolute(scheme: str, host: str, port: int | None, path: bytes) -> AbsoluteForm:
    return AbsoluteForm(scheme=scheme, authority=Authority(host=host, port=port), path=path)


@pytest.mark.parametrize(
    ("raw", "form"),
    [
        pytest.param(b"/", OriginForm(path=b"/"), id="root"),
        pytest.param(b"/a?b", OriginForm(path=b"/a?b"), id="origin-form-keeps-its-query"),
        pytest.param(b"//evil.example/a", OriginForm(path=b"//evil.example/a"), id="two-slashes"),
        pytest.param(b"http://a.example/x", absolute("http", "a.example", None, b"/x"), id="http"),
        pytest.param(b"https://a.example:8443/x",
                     absolute("https", "a.example", 8443, b"/x"), id="https-with-port"),
        pytest.param(b"HTTP://A.Example/X", absolute("http", "a.example", None, b"/X"),
                     id="upper-case"),
        pytest.param(b"http://a.example", absolute("http", "a.example", None, b"/"),
                     id="empty-path"),
        pytest.param(b"http://a.example?x", absolute("http", "a.example", None, b"/?x"),
                     id="query-behind-the-authority"),
        pytest.param(b"http://[::1]:80/x", absolute("http", "[::1]", 80, b"/x"), id="ipv6"),
        pytest.param(b"http://a.example/u@h", absolute("http", "a.example", None, b"/u@h"),
                     id="at-sign-in-the-path"),
    ],
)  # fmt: skip
def test_a_form_is_split(raw: bytes, form: OriginForm | AbsoluteForm) -> None:
    assert split_target(raw) == form


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        pytest.param(b"", "neither", id="empty"),
        pytest.param(b"*", "neither", id="asterisk-form"),
        pytest.param(b"a.example:443", "neither", id="authority-form"),
        pytest.param(b"a.example", "neither", id="host-only"),
        pytest.param(b"http:/a.example/x", "neither", id="one-slash"),
        pytest.param(b"http:a.example", "neither", id="no-slash"),
        pytest.param(b" http://a.example/", "neither", id="leading-space"),
        pytest.param(b"://a.example/", "neither", id="no-scheme"),
        pytest.param(b"\\\\a.example\\x", "neither", id="backslashes"),
        pytest.param(b"ftp://a.example/x", "scheme", id="other-scheme"),
        pytest.param(b"file:///etc/passwd", "scheme", id="file"),
        pytest.param(b"httpx://a.example/", "scheme", id="scheme-that-begins-right"),
        pytest.param(b"http://u@a.example/", "user name", id="userinfo"),
        pytest.param(b"http://u:p@a.example/", "user name", id="userinfo-with-password"),
        pytest.param(b"http://a.example:80@b.example/", "user name", id="host-as-userinfo"),
        pytest.param(b"http://@a.example/", "user name", id="empty-userinfo"),
        pytest.param(b"http:///x", "authority", id="empty-authority"),
        pytest.param(b"http://:80/x", "authority", id="no-host"),
        pytest.param(b"http://a.example:x/", "authority", id="port-in-letters"),
        pytest.param(b"http://a.example\\b/x", "authority", id="backslash-in-the-authority"),
        pytest.param(b"http://a%2eexample/", "authority", id="escape-in-the-authority"),
        pytest.param(b"http://a.example\r\nX: y/", "authority", id="line-end"),
    ],
)
def test_what_has_no_use_here_is_refused(raw: bytes, reason: str) -> None:
    found = split_target(raw)
    assert isinstance(found, Refusal)
    assert (found.status, found.close) == (400, True)
    assert reason in found.reason


@given(st.binary(max_size=40) | st.binary(max_size=30).map(lambda raw: b"http://" + raw))
def test_every_path_begins_with_a_slash(raw: bytes) -> None:
    found = split_target(raw)
    if not isinstance(found, Refusal):
        assert found.path.startswith(b"/")

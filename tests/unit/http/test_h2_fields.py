"""Which lists of fields are a request (RFC 9113 sections 8.2 and 8.3), one case per rule."""

from __future__ import annotations

import pytest

from mirror.http.h2_fields import MalformedError, RequestFields, check_trailers, request_fields
from tests.unit.http.h2_peer import GET

METHOD, SCHEME, AUTHORITY, PATH = GET
NAMED = [METHOD, SCHEME, PATH]  # by Host, or not at all
TUNNEL = [(b":method", b"CONNECT"), (b":authority", b"mirror.example:443")]


def path(value: bytes) -> list[tuple[bytes, bytes]]:
    return [METHOD, SCHEME, AUTHORITY, (b":path", value)]


def field(name: bytes, value: bytes = b"x") -> list[tuple[bytes, bytes]]:
    return [*GET, (name, value)]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(GET, id="plain"),
        pytest.param(list(reversed(GET)), id="pseudo-fields-in-any-order"),
        pytest.param([(b":method", b"M-SEARCH"), *GET[1:]], id="unknown-method"),
        pytest.param([METHOD, (b":scheme", b"HTTPS"), AUTHORITY, PATH], id="scheme-in-upper-case"),
        pytest.param([METHOD, (b":scheme", b"coap"), PATH], id="scheme-without-authority"),
        pytest.param(path(b"*"), id="asterisk"),
        pytest.param(path(b"/"), id="root"),
        pytest.param(path(b"//a?b=%20&c=d"), id="query"),
        pytest.param(field(b"te", b"trailers"), id="te-trailers"),
        pytest.param(field(b"te", b"Trailers"), id="te-trailers-in-upper-case"),
        pytest.param(field(b"x", b""), id="empty-value"),
        pytest.param(field(b"x", b"a\tb c"), id="tab-and-space-inside"),
        pytest.param(field(b"x", b"\x80\xff"), id="obsolete-text"),
        pytest.param(field(b"!#$%&'*+-.^_`|~09az"), id="every-token-character"),
        pytest.param([*NAMED, (b"host", b"mirror.example")], id="host-alone"),
        pytest.param(field(b"host", b"mirror.example"), id="host-as-the-authority"),
        pytest.param(field(b"host", b"MIRROR.example."), id="host-in-another-spelling"),
        pytest.param(field(b"host", b"mirror.example:80"), id="host-with-the-default-port"),
        pytest.param(field(b"content-length", b"0"), id="length-0"),
        pytest.param(TUNNEL, id="connect"),
    ],
)
def test_valid_request_is_taken(lines: list[tuple[bytes, bytes]]) -> None:
    assert isinstance(request_fields(lines), RequestFields)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="nothing"),
        pytest.param(GET[1:], id="no-method"),
        pytest.param([METHOD, AUTHORITY, PATH], id="no-scheme"),
        pytest.param(GET[:3], id="no-path"),
        pytest.param(NAMED, id="no-authority-and-no-host"),
        pytest.param([*GET, METHOD], id="method-twice"),
        pytest.param([*GET, PATH], id="path-twice"),
        pytest.param([*GET, (b"a", b"b"), (b":path", b"/")], id="pseudo-field-late"),
        pytest.param([METHOD, SCHEME, (b"a", b"b"), AUTHORITY, PATH], id="pseudo-field-between"),
        pytest.param([*GET, (b":status", b"200")], id="pseudo-field-of-responses"),
        pytest.param([*GET, (b":protocol", b"websocket")], id="extended-connect"),
        pytest.param([*GET, (b":", b"")], id="pseudo-field-without-a-name"),
        pytest.param([(b":method", b""), *GET[1:]], id="empty-method"),
        pytest.param([(b":method", b"GE T"), *GET[1:]], id="method-with-a-space"),
        pytest.param([(b":method", b"GET\r\n"), *GET[1:]], id="method-with-a-line-end"),
        pytest.param([(b":method", b"G" * 33), *GET[1:]], id="method-of-33-letters"),
        pytest.param([METHOD, (b":scheme", b""), AUTHORITY, PATH], id="empty-scheme"),
        pytest.param([METHOD, (b":scheme", b"http:"), AUTHORITY, PATH], id="scheme-with-a-colon"),
        pytest.param(path(b""), id="empty-path"),
        pytest.param(path(b"config.json"), id="path-without-slash"),
        pytest.param(path(b"http://a/"), id="absolute-uri-as-path"),
        pytest.param(path(b"**"), id="two-asterisks"),
        pytest.param(path(b"/a b"), id="path-with-a-space"),
        pytest.param(path(b"/a\tb"), id="path-with-a-tab"),
        pytest.param(path(b"/ HTTP/1.1\r\nhost: b"), id="request-smuggled-in-the-path"),
        pytest.param(path(b"/\x00"), id="path-with-nul"),
        pytest.param(path(b"/\x7f"), id="path-with-del"),
        pytest.param(path(b"/\xc3\xa4"), id="path-beyond-ascii"),
        pytest.param([METHOD, SCHEME, (b":authority", b""), PATH], id="empty-authority"),
        pytest.param([METHOD, SCHEME, (b":authority", b"u@a"), PATH], id="userinfo"),
        pytest.param([METHOD, SCHEME, (b":authority", b"a b"), PATH], id="authority-with-a-space"),
        pytest.param([METHOD, SCHEME, (b":authority", b"a/b"), PATH], id="authority-with-a-slash"),
        pytest.param([*NAMED, (b"host", b"")], id="empty-host"),
        pytest.param(field(b"host", b"other.example"), id="host-of-another"),
        pytest.param(field(b"host", b"mirror.example:81"), id="host-with-another-port"),
        pytest.param(field(b"host", b"mirror_$"), id="host-that-is-none"),
        pytest.param(
            [*GET, (b"host", b"mirror.example"), (b"host", b"mirror.example")], id="host-twice"
        ),
        pytest.param(field(b"Accept"), id="upper-case"),
        pytest.param(field(b"a B"), id="space-in-a-name"),
        pytest.param(field(b"a:b"), id="colon-in-a-name"),
        pytest.param(field(b"a\r\nb"), id="line-end-in-a-name"),
        pytest.param(field(b"a\n"), id="name-that-ends-the-line"),
        pytest.param(field(b"\xe4"), id="name-beyond-ascii"),
        pytest.param(field(b""), id="empty-name"),
        pytest.param(field(b"a", b"b\r\nc: d"), id="field-smuggled-in-a-value"),
        pytest.param(field(b"a", b"b\n"), id="value-that-ends-the-line"),
        pytest.param(field(b"a", b"b\x00"), id="nul"),
        pytest.param(field(b"a", b"b\x0bc"), id="vertical-tab"),
        pytest.param(field(b"a", b"b\x7fc"), id="del"),
        pytest.param(field(b"a", b" b"), id="space-in-front"),
        pytest.param(field(b"a", b"b\t"), id="tab-behind"),
        pytest.param(field(b"a", b" "), id="space-alone"),
        pytest.param(field(b"connection", b"close"), id="connection"),
        pytest.param(field(b"proxy-connection"), id="proxy-connection"),
        pytest.param(field(b"keep-alive"), id="keep-alive"),
        pytest.param(field(b"transfer-encoding", b"chunked"), id="transfer-encoding"),
        pytest.param(field(b"upgrade", b"h2c"), id="upgrade"),
        pytest.param(field(b"te", b"gzip"), id="te-gzip"),
        pytest.param(field(b"te", b"trailers, deflate"), id="te-trailers-and-more"),
        pytest.param(field(b"content-length", b""), id="empty-length"),
        pytest.param(field(b"content-length", b"+1"), id="signed-length"),
        pytest.param(field(b"content-length", b"1_0"), id="length-with-an-underscore"),
        pytest.param(field(b"content-length", b"0x1"), id="hexadecimal-length"),
        pytest.param(field(b"content-length", b"1, 1"), id="list-of-lengths"),
        pytest.param(field(b"content-length", b"9" * 20), id="length-of-20-digits"),
        pytest.param(
            [*GET, (b"content-length", b"1"), (b"content-length", b"1")], id="length-twice"
        ),
        pytest.param([*TUNNEL, PATH], id="connect-with-a-path"),
        pytest.param([*TUNNEL, SCHEME], id="connect-with-a-scheme"),
        pytest.param(TUNNEL[:1], id="connect-without-an-authority"),
    ],
)
def test_malformed_request_is_refused(lines: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(MalformedError):
        request_fields(lines)


def test_lines_of_one_name_are_joined() -> None:
    lines = [(b"a", b"1"), (b"cookie", b"x=1"), (b"a", b"2"), (b"cookie", b"y=2"), (b"a", b"")]
    assert request_fields([*GET, *lines]).fields == {b"a": b"1, 2, ", b"cookie": b"x=1; y=2"}


@pytest.mark.parametrize(
    ("lines", "authority"),
    [
        pytest.param(GET, b"mirror.example", id="authority"),
        pytest.param([*NAMED, (b"host", b"h:1")], b"h:1", id="host"),
        pytest.param(field(b"host", b"Mirror.Example"), b"mirror.example", id="both"),
        pytest.param([METHOD, (b":scheme", b"coap"), PATH], None, id="none"),
        pytest.param(TUNNEL, b"mirror.example:443", id="connect"),
    ],
)
def test_authority_is_the_pseudo_field_or_host(
    lines: list[tuple[bytes, bytes]], authority: bytes | None
) -> None:
    assert request_fields(lines).authority == authority


def test_length_is_read() -> None:
    assert request_fields(GET).content_bytes == -1
    assert request_fields(field(b"content-length", b"0012")).content_bytes == 12


def test_connect_has_neither_scheme_nor_path() -> None:
    fields = request_fields(TUNNEL)
    assert (fields.method, fields.scheme, fields.path) == (b"CONNECT", b"", b"")


def test_trailers_are_fields_without_pseudo_fields() -> None:
    check_trailers([(b"x-checksum", b"1"), (b"x-checksum", b"2")])
    for line in ((b":path", b"/"), (b"X", b"1"), (b"te", b"gzip"), (b"a", b"\n")):
        with pytest.raises(MalformedError):
            check_trailers([line])

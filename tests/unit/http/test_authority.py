"""Hosts and ports as they are written, and as attackers write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.authority import Authority, parse_authority


@pytest.mark.parametrize(
    ("raw", "host", "port"),
    [
        pytest.param(b"static.crates.io", "static.crates.io", None, id="name"),
        pytest.param(b"STATIC.Crates.IO", "static.crates.io", None, id="upper-case"),
        pytest.param(b"static.crates.io.", "static.crates.io", None, id="dot-at-the-end"),
        pytest.param(b"localhost:8080", "localhost", 8080, id="port"),
        pytest.param(b"localhost:", "localhost", None, id="empty-port"),
        pytest.param(b"localhost:00080", "localhost", 80, id="port-with-zeros"),
        pytest.param(b"a:1", "a", 1, id="first-port"),
        pytest.param(b"a." * 126 + b"a", "a." * 126 + "a", None, id="longest-name"),
        pytest.param(b"a:65535", "a", 65535, id="last-port"),
        pytest.param(b"mirror_1.docker", "mirror_1.docker", None, id="underscore"),
        pytest.param(b"xn--bcher-kva.example", "xn--bcher-kva.example", None, id="punycode"),
        pytest.param(b"127.0.0.1:80", "127.0.0.1", 80, id="ipv4"),
        pytest.param(b"1a.2b", "1a.2b", None, id="digits-and-letters"),
        pytest.param(b"[::1]:8080", "[::1]", 8080, id="ipv6"),
        pytest.param(b"[2001:DB8:0:0:0:0:0:1]", "[2001:db8::1]", None, id="ipv6-is-compressed"),
        pytest.param(b"[::ffff:192.0.2.1]", "[::ffff:c000:201]", None, id="ipv6-with-ipv4-tail"),
        pytest.param(b"a" * 63 + b".b", "a" * 63 + ".b", None, id="longest-label"),
    ],
)
def test_an_authority_comes_out_in_one_spelling(raw: bytes, host: str, port: int | None) -> None:
    found = parse_authority(raw)
    # The compressed form of a mapped address differs between versions of the library.
    if raw.startswith(b"[::ffff:"):
        assert found is not None
        assert found.host in (host, "[::ffff:192.0.2.1]")
    else:
        assert found == Authority(host=host, port=port)


def test_an_authority_is_written_as_it_goes_into_a_url() -> None:
    assert str(Authority(host="[::1]", port=8080)) == "[::1]:8080"
    assert str(Authority(host="a.example")) == "a.example"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b":80", id="no-host"),
        pytest.param(b".", id="only-a-dot"),
        pytest.param(b"user@host", id="userinfo"),
        pytest.param(b"user:secret@host", id="userinfo-with-password"),
        pytest.param(b"host@", id="at-sign-behind"),
        pytest.param(b"host:port", id="port-in-letters"),
        pytest.param(b"host:0", id="port-zero"),
        pytest.param(b"host:65536", id="port-too-great"),
        pytest.param(b"host:080808", id="port-too-long"),
        pytest.param(b"host:-1", id="negative-port"),
        pytest.param(b"host:+1", id="signed-port"),
        pytest.param(b"host:8 0", id="space-in-port"),
        pytest.param(b"host:80:80", id="two-ports"),
        pytest.param(b"host name", id="space"),
        pytest.param(b" host", id="leading-space"),
        pytest.param(b"host\t", id="tab"),
        pytest.param(b"host\r\nX: y", id="attack-line-end"),
        pytest.param(b"host\n", id="line-end"),
        pytest.param(b"host\0", id="nul"),
        pytest.param(b"host/path", id="slash"),
        pytest.param(b"host\\path", id="backslash"),
        pytest.param(b"host?x", id="question-mark"),
        pytest.param(b"host#x", id="fragment"),
        pytest.param(b"a,b", id="comma-of-two-hosts"),
        pytest.param(b"h%6fst", id="percent-encoding"),
        pytest.param(b'"host"', id="quotes"),
        pytest.param(b"<script>", id="markup"),
        pytest.param("h\u00f4st".encode(), id="not-ascii"),
        pytest.param("host\uff0eexample".encode(), id="full-width-dot"),
        pytest.param(b"a..b", id="empty-label"),
        pytest.param(b".a", id="leading-dot"),
        pytest.param(b"a..", id="two-dots-at-the-end"),
        pytest.param(b"-a.b", id="leading-hyphen"),
        pytest.param(b"a-.b", id="trailing-hyphen"),
        pytest.param(b"a" * 64, id="label-too-long"),
        pytest.param(b"a." * 126 + b"aa", id="name-too-long"),
        pytest.param(b"a" * 300, id="far-too-long"),
        pytest.param(b"256.0.0.1", id="ipv4-octet-too-great"),
        pytest.param(b"010.0.0.1", id="ipv4-octal"),
        pytest.param(b"0x7f.1", id="ipv4-short-hexadecimal-first"),
        pytest.param(b"1.2.3", id="ipv4-short"),
        pytest.param(b"2130706433", id="ipv4-as-one-number"),
        pytest.param(b"a.1", id="numeric-last-label"),
        pytest.param(b"[::1", id="bracket-not-closed"),
        pytest.param(b"::1", id="ipv6-without-brackets"),
        pytest.param(b"[]", id="empty-brackets"),
        pytest.param(b"[::1]x", id="junk-behind-the-bracket"),
        pytest.param(b"[fe80::1%25eth0]", id="zone"),
        pytest.param(b"[v1.x]", id="ipvfuture"),
        pytest.param(b"[:::]", id="malformed-ipv6"),
        pytest.param(b"[127.0.0.1]", id="ipv4-in-brackets"),
    ],
)
def test_what_is_no_host_and_port_is_none(raw: bytes) -> None:
    assert parse_authority(raw) is None


raw_authorities = st.binary(max_size=30) | st.from_regex(rb"[a-z0-9_.:\[\]-]{1,20}", fullmatch=True)


@given(raw_authorities)
def test_whatever_is_accepted_reads_back_to_itself(raw: bytes) -> None:
    found = parse_authority(raw)
    if found is not None:
        assert parse_authority(str(found).encode("ascii")) == found

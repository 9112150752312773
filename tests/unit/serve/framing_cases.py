"""Requests whose framing or syntax is doubtful, each named after the section that decides it.

Rules:
1. `REFUSED`: one refusal of that status, and the end of the connection; what follows is no request.
2. `ACCEPTED`: one request, and what follows is the next one.
3. A case names the rule of RFC 9112, or of RFC 9110 where that has it; ours may be stricter, never
   laxer (RFC 9110 section 2.2: a recipient may be strict where another reading is a hole).

Runs in: pytest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TARGET: Final = "/livez"
NEXT: Final = b"GET /livez HTTP/1.1\r\nHost: m\r\n\r\n"  # what a smuggler wants to be answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`is_open`: only what follows shows that it is no head."""

    name: str
    raw: bytes
    status: int = 400
    is_open: bool = False


def head(*lines: str, line: str = f"GET {TARGET} HTTP/1.1") -> bytes:
    return "\r\n".join([line, *lines]).encode("latin-1") + b"\r\n\r\n"


def _lines() -> dict[str, bytes]:
    """Section 2.2: what ends a line, and what may stand before one."""
    line = f"GET {TARGET} HTTP/1.1"
    return {
        "lf-after-the-request-line": f"{line}\nHost: m\r\n\r\n".encode(),
        "lf-after-a-field": f"{line}\r\nHost: m\nX: y\r\n\r\n".encode(),
        "lf-everywhere": f"{line}\nHost: m\n\n".encode(),
        "lf-as-the-empty-line": f"{line}\r\nHost: m\r\n\n".encode(),
        "lf-in-the-first-line": b"GET\n/livez HTTP/1.1\r\nHost: m\r\n\r\n",
        "lf-cr": f"{line}\n\rHost: m\n\r\n\r".encode(),
        "cr-as-a-line-end": f"{line}\rHost: m\r\n\r\n".encode(),
        "cr-in-a-name": f"{line}\r\nHo\rst: m\r\n\r\n".encode(),
        "cr-in-a-value": f"{line}\r\nHost: m\r\nX: a\rb\r\n\r\n".encode(),
        "cr-before-a-value": f"{line}\r\nHost: m\r\nX:\ra\r\n\r\n".encode(),
        "cr-that-hides-a-field": f"{line}\r\nHost: m\r\nX: a\rContent-Length: 9\r\n\r\n".encode(),
        "cr-cr-lf": f"{line}\r\r\nHost: m\r\n\r\n".encode(),
        "cr-cr-lf-after-a-field": f"{line}\r\nHost: m\r\r\n\r\n".encode(),
        "cr-cr-lf-as-the-empty-line": f"{line}\r\nHost: m\r\n\r\r\n".encode(),
        "two-empty-lines-first": b"\r\n\r\n" + NEXT,
        "lf-first": b"\n" + NEXT,
        "cr-first": b"\r" + NEXT,
        "space-first": b" " + NEXT,
        "tab-first": b"\t" + NEXT,
        "byte-order-mark-first": b"\xef\xbb\xbf" + NEXT,
        "space-after-the-request-line": f"{line}\r\n Host: m\r\n\r\n".encode(),
        "tab-after-the-request-line": f"{line}\r\n\tHost: m\r\n\r\n".encode(),
        "blank-line-after-the-request-line": f"{line}\r\n \r\nHost: m\r\n\r\n".encode(),
        "nul-between-lines": f"{line}\r\nHost: m\r\n\0\r\n\r\n".encode(),
    }


def _versions() -> dict[str, tuple[str, int]]:
    """Section 2.3: `HTTP/` DIGIT `.` DIGIT, in this case, and only what is spoken here."""
    return {
        "lower-case": ("http/1.1", 400),
        "mixed-case": ("Http/1.1", 400),
        "1.2": ("HTTP/1.2", 505),
        "1.10": ("HTTP/1.10", 400),
        "1.32": ("HTTP/1.32", 400),
        "01.1": ("HTTP/01.1", 400),
        "2.0": ("HTTP/2.0", 505),
        "0.9": ("HTTP/0.9", 505),
        "3": ("HTTP/3", 400),
        "no-minor": ("HTTP/1.", 400),
        "no-major": ("HTTP/.1", 400),
        "no-digits": ("HTTP/", 400),
        "signed": ("HTTP/+1.1", 400),
        "comma": ("HTTP/1,1", 400),
        "superscript": ("HTTP/1.\xb9", 400),
        "space-within": ("HTTP/ 1.1", 400),
        "space-before-the-slash": ("HTTP /1.1", 400),
        "space-behind": ("HTTP/1.1 ", 400),
        "tab-behind": ("HTTP/1.1\t", 400),
        "nul-behind": ("HTTP/1.1\0", 400),
        "another-protocol": ("HTTPS/1.1", 400),
        "icap": ("ICAP/1.0", 400),
    }


def _request_lines() -> dict[str, tuple[str, int]]:
    """Section 3: method SP target SP version, with exactly these spaces."""
    return {
        "two-spaces-first": (f"GET  {TARGET} HTTP/1.1", 400),
        "two-spaces-second": (f"GET {TARGET}  HTTP/1.1", 400),
        "tab-first": (f"GET\t{TARGET} HTTP/1.1", 400),
        "tab-second": (f"GET {TARGET}\tHTTP/1.1", 400),
        "vertical-tab": (f"GET\x0b{TARGET} HTTP/1.1", 400),
        "form-feed": (f"GET\x0c{TARGET} HTTP/1.1", 400),
        "no-break-space": (f"GET\xa0{TARGET} HTTP/1.1", 400),
        "no-method": (f"{TARGET} HTTP/1.1", 400),
        "empty-method": (f" {TARGET} HTTP/1.1", 400),
        "no-target": ("GET HTTP/1.1", 400),
        "empty-target": ("GET  HTTP/1.1", 400),
        "http-0.9": (f"GET {TARGET}", 400),
        "fourth-word": (f"GET {TARGET} HTTP/1.1 X", 400),
        "space-in-target": ("GET /li vez HTTP/1.1", 400),
        "method-no-token": (f"G(T {TARGET} HTTP/1.1", 400),
        "method-with-colon": (f"GET: {TARGET} HTTP/1.1", 400),
        "method-not-ascii": (f"G\xc9T {TARGET} HTTP/1.1", 400),
        "method-of-33-letters": (f"{'G' * 33} {TARGET} HTTP/1.1", 400),
        "unknown-method": (f"STEAL {TARGET} HTTP/1.1", 501),
        "lower-case-method": (f"get {TARGET} HTTP/1.1", 501),
        "nul-in-target": ("GET /li\0vez HTTP/1.1", 400),
        "escape-in-target": ("GET /li\x1bvez HTTP/1.1", 400),
        "delete-in-target": ("GET /li\x7fvez HTTP/1.1", 400),
        "target-not-ascii": ("GET /li\xe9vez HTTP/1.1", 400),
        "long-target": (f"GET /{'a' * 4000} HTTP/1.1", 414),
    }


def _targets() -> dict[str, tuple[str, int]]:
    """Section 3.2: the four forms."""
    return {
        "3.2.1-relative": ("GET livez HTTP/1.1", 400),
        "3.2.1-fragment": ("GET /livez#a HTTP/1.1", 400),
        "3.2.1-backslash": ("GET \\livez HTTP/1.1", 400),
        "3.2.1-brackets": ("GET /livez[] HTTP/1.1", 400),
        "3.2.2-userinfo": ("GET http://u@m/livez HTTP/1.1", 400),
        "3.2.2-other-scheme": ("GET ftp://m/livez HTTP/1.1", 400),
        "3.2.2-no-authority": ("GET http:///livez HTTP/1.1", 400),
        "3.2.2-one-slash": ("GET http:/livez HTTP/1.1", 400),
        "3.2.2-port-out-of-range": ("GET http://m:65536/livez HTTP/1.1", 400),
        "3.2.2-signed-port": ("GET http://m:+80/livez HTTP/1.1", 400),
        "3.2.2-fragment": ("GET http://index.crates.io/livez#a HTTP/1.1", 400),
        "3.2.2-backslash-ends-no-authority": ("GET http://m\\@n/livez HTTP/1.1", 400),
        "3.2.2-another-authority": ("GET http://other.example/livez HTTP/1.1", 421),
        "3.2.3-authority-form-of-get": ("GET m:80 HTTP/1.1", 400),
        "3.2.3-connect": ("CONNECT m:80 HTTP/1.1", 405),
        "3.2.3-connect-by-path": ("CONNECT /livez HTTP/1.1", 405),
        "3.2.4-asterisk-of-get": ("GET * HTTP/1.1", 400),
        "3.2.4-asterisk-of-options": ("OPTIONS * HTTP/1.1", 405),
        "3.2.4-asterisk-and-path": ("GET */livez HTTP/1.1", 400),
    }


def _hosts() -> dict[str, bytes]:
    """Section 3.2: exactly one Host field line, and valid; of HTTP/1.0 at most one."""
    http10 = f"GET {TARGET} HTTP/1.0"
    absolute = f"GET http://m{TARGET} HTTP/1.1"
    return {
        "none": head("X: y"),
        "none-at-all": head(),
        "two": head("Host: m", "Host: n"),
        "two-equal": head("Host: m", "Host: m"),
        "two-apart": head("Host: m", "X: y", "hOST: m"),
        "second-empty": head("Host: m", "Host:"),
        "list": head("Host: m, n"),
        "empty": head("Host:"),
        "blank": head("Host: \t "),
        "userinfo": head("Host: u@m"),
        "path": head("Host: m/n"),
        "uri": head("Host: http://m"),
        "query": head("Host: m?n"),
        "space-within": head("Host: m n"),
        "tab-within": head("Host: m\tn"),
        "not-ascii": head("Host: m\xe9"),
        "escaped": head("Host: m%2en"),
        "port-of-letters": head("Host: m:http"),
        "port-out-of-range": head("Host: m:65536"),
        "port-zero": head("Host: m:0"),
        "two-ports": head("Host: m:80:80"),
        "signed-port": head("Host: m:+80"),
        "ipv6-without-brackets": head("Host: ::1"),
        "open-bracket": head("Host: [::1"),
        "zone": head("Host: [fe80::1%25eth0]"),
        "octal-address": head("Host: 010.0.0.1"),
        "two-of-http-1.0": head("Host: m", "Host: n", line=http10),
        "invalid-of-http-1.0": head("Host: m/n", line=http10),
        "none-beside-an-absolute-form": head("X: y", line=absolute),
        "two-beside-an-absolute-form": head("Host: m", "Host: m", line=absolute),
        "invalid-beside-an-absolute-form": head("Host: m n", line=absolute),
    }


def _field_lines() -> dict[str, bytes]:
    """RFC 9112 section 5, RFC 9110 sections 5.1 and 5.5."""
    cases = {
        "9112-5-no-colon": head("Host: m", "X"),
        "9112-5-no-colon-first": head("X", "Host: m"),
        "9112-5.1-space-before-colon": head("Host: m", "X : y"),
        "9112-5.1-tab-before-colon": head("Host: m", "X\t: y"),
        "9112-5.1-space-before-colon-of-host": head("Host : m"),
        "9112-5.1-space-before-colon-of-length": head("Host: m", "Content-Length : 9"),
        "9112-5.1-space-before-colon-of-coding": head("Host: m", "Transfer-Encoding : chunked"),
        "9112-5.2-fold": head("Host: m", "X: y", " z"),
        "9112-5.2-fold-by-tab": head("Host: m", "X: y", "\tz"),
        "9112-5.2-fold-of-host": head("Host:", " m"),
        "9112-5.2-fold-of-a-length": head("Host: m", "Content-Length:", " 9"),
        "9112-5.2-fold-of-a-coding": head("Host: m", "Transfer-Encoding:", " chunked"),
        "9112-5.2-fold-that-is-a-field": head("Host: m", "X: y", " Content-Length: 9"),
        "9112-5.2-fold-without-text": head("Host: m", "X: y", " "),
        "9110-5.1-empty-name": head("Host: m", ": y"),
        "9110-5.1-space-in-name": head("Host: m", "X Y: z"),
        "9110-5.1-name-not-ascii": head("Host: m", "X\xe9: y"),
        "9110-5.1-nul-in-name": head("Host: m", "X\0: y"),
        "9110-5.1-delete-in-name": head("Host: m", "X\x7f: y"),
    }
    for byte in '()<>@,;\\"/[]?={}':
        cases[f"9110-5.1-name-with-{ord(byte):02x}"] = head("Host: m", f"X{byte}: y")
    for byte in "\0\x01\x08\x0b\x0c\x0e\x1b\x1f\x7f":
        cases[f"9110-5.5-value-with-{ord(byte):02x}"] = head("Host: m", f"X: a{byte}b")
        cases[f"9110-5.5-value-ends-with-{ord(byte):02x}"] = head("Host: m", f"X: a{byte}")
    return cases


LENGTHS: Final = {
    "content": "33",
    "leading-zeros": "0033",
    "list-of-equal": "0, 0",
    "list": "0, 33",
    "list-with-an-empty-end": "0,",
    "list-with-an-empty-beginning": ",0",
    "plus": "+0",
    "minus": "-0",
    "negative": "-1",
    "hexadecimal": "0x0",
    "hexadecimal-digits": "2a",
    "underscore": "0_0",
    "space-within": "0 0",
    "tab-within": "0\t0",
    "fraction": "0.0",
    "exponent": "0e0",
    "quoted": '"0"',
    "parameter": "0;a=b",
    "empty": "",
    "blank": "  ",
    "full-width-digit": "\xef\xbc\x90",
    "superscript-digit": "\xb2",
    "no-break-space": "0\xa0",
    "of-64-bits": "18446744073709551616",
    "of-65-bits-and-more": "36893488147419103265",
    "of-1000-digits": "9" * 1000,
    "word": "zero",
}
CODINGS: Final = {
    "chunked": "chunked",
    "upper-case": "CHUNKED",
    "identity": "identity",
    "unknown": "xchunked",
    "gzip": "gzip",
    "chunked-twice": "chunked, chunked",
    "chunked-not-last": "chunked, gzip",
    "chunked-last": "gzip, chunked",
    "empty-element-first": ", chunked",
    "empty-element-last": "chunked,",
    "parameter": "chunked;q=1",
    "quoted": '"chunked"',
    "empty": "",
    "two-spaces": "  chunked",
    "tab": "\tchunked",
    "trailing-space": "chunked ",
    "no-break-space": "chunked\xa0",
    "vertical-tab": "\x0bchunked",
    "nul": "\0chunked",
}
# Of messages in chunks; none is ever read here, so nothing in them can be a request.
CHUNKS: Final = {
    "last-chunk": b"0\r\n\r\n",
    "extension": b"0;a=b\r\n\r\n",
    "extension-with-lf": b"0;a\nb\r\n\r\n",
    "quoted-extension": b'0;a="\r\n\r\n"\r\n\r\n',
    "plus": b"+0\r\n\r\n",
    "minus": b"-1\r\n\r\n",
    "prefix": b"0x0\r\n\r\n",
    "underscore": b"0_0\r\n\r\n",
    "space-before": b" 0\r\n\r\n",
    "space-behind": b"0 \r\n\r\n",
    "of-64-bits": b"10000000000000000\r\n\r\n",
    "many-zeros": b"0" * 100 + b"\r\n\r\n",
    "empty-size": b"\r\n\r\n",
    "size-by-lf": b"0\n\n",
    "data-by-lf": b"1\r\nx\n0\r\n\r\n",
    "data-too-long": b"1\r\nxy\r\n0\r\n\r\n",
    "trailer-section": b"0\r\nHost: n\r\nContent-Length: 9\r\n\r\n",
    "no-chunk": b"",
}


def _content() -> dict[str, tuple[bytes, int]]:
    """RFC 9110 section 8.6, RFC 9112 sections 6 and 7: a request has no content here."""
    cases = {
        f"9110-8.6-length-{name}": (head("Host: m", f"Content-Length: {value}"), 400)
        for name, value in LENGTHS.items()
    }
    for name, value in CODINGS.items():
        raw = head("Host: m", f"Transfer-Encoding: {value}") + b"0\r\n\r\n"
        cases[f"9112-6.1-coding-{name}"] = (raw, 400)
    chunked = head("Host: m", "Transfer-Encoding: chunked")
    for name, content in CHUNKS.items():
        cases[f"9112-7.1-chunk-{name}"] = (chunked + content, 400)
    length, coding = "Content-Length: 33", "Transfer-Encoding: chunked"
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    lines: dict[str, tuple[str, ...]] = {
        "9112-6.3-two-equal-lengths": ("Content-Length: 0", "Content-Length: 0"),
        "9112-6.3-two-lengths": ("Content-Length: 0", length),
        "9112-6.3-length-then-coding": (length, coding),
        "9112-6.3-coding-then-length": (coding, length),
        "9112-6.3-no-length-then-coding": ("Content-Length: 0", coding),
        "9112-6.1-two-codings": (coding, coding),
        "9112-6.1-two-different-codings": ("Transfer-Encoding: identity", coding),
        "9110-7.8-upgrade-with-length": (*upgrade, length),
        "9110-7.8-upgrade-with-chunks": (*upgrade, coding),
        "9110-7.8-websocket-with-length": ("Connection: Upgrade", "Upgrade: websocket", length),
        "9110-10.1.1-expected-content": ("Expect: 100-continue", length),
        "9110-7.6.1-length-that-connection-names": ("Connection: Content-Length", length),
    }
    for name, fields in lines.items():
        cases[name] = (head("Host: m", *fields), 400)
    http10 = f"GET {TARGET} HTTP/1.0"
    cases["9112-6.1-coding-of-http-1.0"] = (head("Host: m", coding, line=http10), 400)
    cases["9110-10.1.1-unknown-expectation"] = (head("Host: m", "Expect: 200-ok"), 417)
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
        raw = head("Host: m", "Content-Length: 33", line=f"{method} {TARGET} HTTP/1.1")
        cases[f"9110-9.1-{method.lower()}-with-content"] = (raw, 405)
    return cases


def _sizes() -> dict[str, tuple[bytes, int]]:
    """RFC 9110 section 5.4, RFC 9112 section 3: limits, told by 431 and 414."""
    return {
        "9110-5.4-many-lines": (head("Host: m", *["X: y"] * 101), 431),
        "9110-5.4-one-long-line": (head("Host: m", "X: " + "y" * 20_000), 431),
        "9110-5.4-one-long-name": (head("Host: m", "X" * 20_000 + ": y"), 431),
        "9110-5.4-no-end": (head("Host: m")[:-2] + b"X: y\r\n" * 4000, 431),
        "9112-3-endless-target": (b"GET /" + b"a" * 20_000, 414),
        "9112-3-endless-method": (b"G" * 20_000, 400),
    }


OTHER_PROTOCOLS: Final = {
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "smtp": b"EHLO m\r\n",
    "redis": b"*1\r\n$4\r\nPING\r\n",
    "memcached": b"get livez\r\n",
    "smb": b"\x00\x00\x00\x85\xffSMB",
    "rdp": b"\x03\x00\x00\x13\x0e\xe0",
    "socks": b"\x05\x01\x00",
    "rtsp": b"OPTIONS rtsp://m/ RTSP/1.0\r\nCSeq: 1\r\n\r\n",
}


def _refused() -> list[Case]:
    cases = [Case(name=f"9112-2.2-{name}", raw=raw) for name, raw in _lines().items()]
    for name, (version, status) in _versions().items():
        raw = head("Host: m", line=f"GET {TARGET} {version}")
        cases.append(Case(name=f"9112-2.3-{name}", raw=raw, status=status))
    for name, (line, status) in _request_lines().items():
        cases.append(Case(name=f"9112-3-{name}", raw=head("Host: m", line=line), status=status))
    for name, (line, status) in _targets().items():
        cases.append(Case(name=f"9112-{name}", raw=head("Host: m", line=line), status=status))
    cases += [Case(name=f"9112-3.2-host-{name}", raw=raw) for name, raw in _hosts().items()]
    cases += [Case(name=name, raw=raw) for name, raw in _field_lines().items()]
    for name, (raw, status) in (_content() | _sizes()).items():
        cases.append(Case(name=name, raw=raw, status=status))
    cases += [Case(name=f"9112-3-{name}", raw=raw) for name, raw in OTHER_PROTOCOLS.items()]
    cut = head("Host: m")[:-1]
    cases.append(Case(name="9112-2.2-cr-as-the-empty-line", raw=cut, is_open=True))
    return cases


REFUSED: Final = _refused()

ACCEPTED: Final = {
    "9112-2.2-one-empty-line-first": b"\r\n" + head("Host: m"),
    "9112-2.3-http-1.0": head("Connection: keep-alive", line=f"GET {TARGET} HTTP/1.0"),
    "9112-3.2-http-1.0-with-host": head(
        "Host: m", "Connection: keep-alive", line=f"GET {TARGET} HTTP/1.0"
    ),
    "9112-3.2-host-in-any-case": head("hOsT: m"),
    "9112-3.2-host-with-a-port": head("Host: m:8080"),
    "9112-3.2-host-with-an-empty-port": head("Host: m:"),
    "9112-3.2-host-is-ipv6": head("Host: [::1]:8080"),
    "9112-3.2-host-last": head("X: y", "Host: m"),
    "9112-5.1-no-space-behind-the-colon": head("Host:m"),
    "9112-5.1-tab-behind-the-colon": head("Host:\tm"),
    "9112-5.1-space-around-a-value": head("Host: \t m \t "),
    "9110-5.1-every-token-character": head("Host: m", "!#$%&'*+-.^_`|~09AZaz: y"),
    "9110-5.3-two-lines-of-one-name": head("Host: m", "X: y", "X: z"),
    "9110-5.5-empty-value": head("Host: m", "X:"),
    "9110-5.5-tab-in-a-value": head("Host: m", "X: a\tb"),
    "9110-5.5-obs-text-in-a-value": head("Host: m", "X: \xe9\xff"),
    "9110-5.5-colon-in-a-value": head("Host: m", "X: a: b"),
    "9110-7.6.1-connection-names-anything": head("Host: m", "Connection: Host, X, keep-alive"),
    "9110-7.8-unknown-upgrade": head("Host: m", "Connection: Upgrade", "Upgrade: websocket"),
    "9110-8.6-length-zero": head("Host: m", "Content-Length: 0"),
    "9110-8.6-length-of-zeros": head("Host: m", "Content-Length: 000"),
    "9110-10.1.1-nothing-expected": head("Host: m", "Expect: 100-Continue"),
    "9110-10.1.4-te": head("Host: m", "Connection: TE", "TE: trailers, chunked"),
}

"""What a server must say to messages, fields and field blocks: RFC 9113, section 8, and RFC 7541.

Rules:
1. A case is named by the section that decides it (RFC 9113 unless it says RFC 7540 or RFC 7541).
2. A connection error is GOAWAY with the code and the end; a stream error is RST_STREAM with the
   code on a connection that goes on. Where the RFC leaves a choice, the case says this server's.
3. The cases are those of h2spec, written again from the RFC, and more of the same kind.

Runs in: tests.
"""

from __future__ import annotations

from tests.raw_http2 import block, integer, literal, string, window_update
from tests.scenario.http2_steps import (
    AUTHORITY,
    COMPRESSION,
    FIELDS,
    GET,
    MALFORMED,
    METHOD,
    OPEN,
    PATH,
    POST,
    PROTOCOL,
    PSEUDO,
    SCHEME,
    Cases,
    Expected,
    answers,
    data,
    dies,
    get_with,
    headers,
    is_reset,
    over,
    refuses,
    reset,
)

CASES = Cases()
_case = CASES.add
_table_case = CASES.add_table

# Section 8.1: messages.

_case("8.1-head", headers(block(((":method", "HEAD"), SCHEME, PATH, AUTHORITY))),
      then=Expected(statuses={1: 200}, data={1: []}))  # fmt: skip
_case("8.1-post-without-content", headers(POST), then=answers(status=405))
_case("8.1-post-that-does-not-end", headers(POST, flags=OPEN), then=refuses(405))
_case("8.1-content-behind-an-early-answer", headers(POST, flags=OPEN), over(), data(flags=0),
      headers(FIELDS), then=refuses(405))  # fmt: skip
_case("8.1-faults-behind-an-early-answer", headers(POST, flags=OPEN), over(), data(flags=0),
      headers(MALFORMED), window_update(1, 0), then=refuses(405))  # fmt: skip
_case("8.1-trailers", headers(flags=OPEN), headers(FIELDS), then=answers())
_case("8.1-post-with-trailers", headers(POST, flags=OPEN), data(flags=0), headers(FIELDS),
      then=answers(status=405))  # fmt: skip
_case("8.1-trailers-that-do-not-end", headers(POST, flags=OPEN), data(flags=0),
      headers(FIELDS, flags=OPEN), then=is_reset(PROTOCOL))  # fmt: skip
_case("8.1-two-requests-at-once", headers(), headers(stream_id=3), then=answers(1, 3))

for _name, _said, _parts in (
    ("too-short", "1", (b"test",)),
    ("too-short-for-two-frames", "5", (b"test", b"test")),
    ("too-long", "9", (b"test",)),
    ("above-0-for-nothing", "4", (b"",)),
    ("not-a-number", "four", (b"test",)),
    ("negative", "-4", (b"test",)),
):
    _fields = block(((":method", "POST"), SCHEME, PATH, AUTHORITY, ("content-length", _said)))
    _frames = [data(part, flags=0) for part in _parts[:-1]] + [data(_parts[-1])]
    _case(f"8.1.1-length-{_name}", headers(_fields, flags=OPEN), *_frames,
          then=is_reset(PROTOCOL))  # fmt: skip
_case("8.1.1-length-twice", headers(get_with(("content-length", "0"), ("content-length", "0"))),
      then=is_reset(PROTOCOL))  # fmt: skip
_case("8.1.1-length-of-a-request-that-has-ended", headers(get_with(("content-length", "4"))),
      then=is_reset(PROTOCOL))  # fmt: skip
_case("8.1.1-length-0", headers(get_with(("content-length", "0"))), then=answers())

# Section 8.2: fields.

for _name, _line_of in {
    "upper-case-name": ("X-Test", "ok"),
    "empty-name": ("", "ok"),
    "space-in-a-name": ("x test", "ok"),
    "colon-in-a-name": ("x:test", "ok"),
    "control-in-a-name": ("x\x01test", "ok"),
    "byte-above-ascii-in-a-name": ("x\xe4", "ok"),
    "nul-in-a-value": ("x-test", "o\0k"),
    "line-feed-in-a-value": ("x-test", "o\nk"),
    "carriage-return-in-a-value": ("x-test", "o\rk"),
    "space-before-a-value": ("x-test", " ok"),
    "tab-behind-a-value": ("x-test", "ok\t"),
}.items():
    _case(f"8.2.1-{_name}", headers(get_with(_line_of)), then=is_reset(PROTOCOL))
_case("8.2.1-bytes-above-ascii-in-a-value", headers(get_with(("x-test", "\xe4\xff"))),
      then=answers())  # fmt: skip
for _line_of in (
    ("connection", "keep-alive"),
    ("keep-alive", "timeout=5"),
    ("proxy-connection", "keep-alive"),
    ("transfer-encoding", "chunked"),
    ("upgrade", "h2c"),
    ("te", "trailers, deflate"),
    ("te", ""),
):
    _case(
        f"8.2.2-{_line_of[0]}-{_line_of[1]}", headers(get_with(_line_of)), then=is_reset(PROTOCOL)
    )
_case("8.2.2-te-trailers", headers(get_with(("te", "trailers"))), then=answers())
_case("8.2.3-cookies", headers(get_with(("cookie", "a=b"), ("cookie", "c=d"))), then=answers())

# Section 8.3: pseudo-header fields.

_HOST = ("host", "m")
for _name, _pairs in {
    "8.3-unknown": (*PSEUDO, (":test", "ok")),
    "8.3-of-a-response": (*PSEUDO, (":status", "200")),
    "8.3-behind-a-field": (("x-test", "ok"), *PSEUDO),
    "8.3-between-fields": (*PSEUDO[:3], ("x-test", "ok"), AUTHORITY),
    "8.3-protocol-that-was-not-announced": (*PSEUDO, (":protocol", "websocket")),
    "8.3.1-no-method": (SCHEME, PATH, AUTHORITY),
    "8.3.1-no-scheme": (METHOD, PATH, AUTHORITY),
    "8.3.1-no-path": (METHOD, SCHEME, AUTHORITY),
    "8.3.1-nothing": (),
    "8.3.1-method-twice": (METHOD, *PSEUDO),
    "8.3.1-scheme-twice": (SCHEME, *PSEUDO),
    "8.3.1-path-twice": (PATH, *PSEUDO),
    "8.3.1-authority-twice": (AUTHORITY, *PSEUDO),
    "8.3.1-empty-method": ((":method", ""), SCHEME, PATH, AUTHORITY),
    "8.3.1-empty-scheme": (METHOD, (":scheme", ""), PATH, AUTHORITY),
    "8.3.1-empty-path": (METHOD, SCHEME, (":path", ""), AUTHORITY),
    "8.3.1-empty-authority": (METHOD, SCHEME, PATH, (":authority", "")),
    "8.3.1-path-without-a-slash": (METHOD, SCHEME, (":path", "index/1/q"), AUTHORITY),
    "8.3.1-path-with-a-space": (METHOD, SCHEME, (":path", "/index/1/q HTTP/1.1"), AUTHORITY),
    "8.3.1-user-in-the-authority": (METHOD, SCHEME, PATH, (":authority", "user@m")),
    "8.3.1-no-authority-and-no-host": (METHOD, SCHEME, PATH),
    "8.3.1-host-of-another": (*PSEUDO, ("host", "other")),
    "8.5-connect-with-a-path": ((":method", "CONNECT"), PATH, AUTHORITY),
    "8.5-connect-with-a-scheme": ((":method", "CONNECT"), SCHEME, AUTHORITY),
    "8.5-connect-without-an-authority": ((":method", "CONNECT"),),
}.items():
    _case(_name, headers(block(_pairs)), then=is_reset(PROTOCOL))
_case("8.3-in-trailers", headers(POST, flags=OPEN), data(flags=0), headers(block((METHOD,))),
      then=is_reset(PROTOCOL))  # fmt: skip
_case("8.3.1-host-instead", headers(block((METHOD, SCHEME, PATH, _HOST))), then=answers())
_case("8.3.1-host-that-is-the-same", headers(get_with(_HOST)), then=answers())
_case("8.3.1-in-any-order", headers(block(PSEUDO[::-1])), then=answers())
_case("8.3.1-options-of-the-server",
      headers(block(((":method", "OPTIONS"), SCHEME, (":path", "*"), AUTHORITY))),
      then=answers(status=405))  # fmt: skip
_case("8.5-connect", headers(block(((":method", "CONNECT"), (":authority", "m:80")))),
      then=answers(status=405))  # fmt: skip

# RFC 7541. The coded strings are examples of its appendix C.

_AGENT = 58  # user-agent in the static table
_KEY, _VALUE = bytes.fromhex("25a849e95ba97d7f"), bytes.fromhex("25a849e95bb8e8b4bf")
_NO_CACHE = bytes.fromhex("a8eb10649cbf")  # ends with five bits of padding
_PRIVATE = bytes.fromhex("aec3771a4b")  # ends with one
_DYNAMIC = b"\xbe"  # the newest entry
for _name, _bits, _kind in (
    ("6.2.1-with-indexing", 6, 0x40),
    ("6.2.2-without-indexing", 4, 0x00),
    ("6.2.3-never-indexed", 4, 0x10),
):
    for _noun, _line in {
        "known-name": integer(_AGENT, _bits, _kind) + string(b"cargo"),
        "known-name-coded": integer(_AGENT, _bits, _kind) + string(_VALUE, is_huffman=True),
        "new-name": literal(b"x-test", b"ok", _kind),
        "new-name-coded": bytes((_kind,)) + string(_KEY, is_huffman=True)
        + string(_VALUE, is_huffman=True),
        "empty-value": integer(_AGENT, _bits, _kind) + string(b""),
    }.items():  # fmt: skip
        _case(f"rfc7541-{_name}-{_noun}", headers(GET + _line), then=answers())
_case("rfc7541-6.1-static", headers(b"\x20\x82\x86" + block((PATH, AUTHORITY))[1:] + b"\xba"),
      then=answers())  # fmt: skip
_case("rfc7541-6.1-index-0", headers(GET + b"\x80"), then=dies(COMPRESSION))
_case("rfc7541-2.3.3-index-too-high", headers(GET + b"\xfe"), then=dies(COMPRESSION))
_case("rfc7541-2.3.3-first-index-without-an-entry", headers(GET + _DYNAMIC),
      then=dies(COMPRESSION))  # fmt: skip
_case("rfc7541-2.3.3-name-index-too-high", headers(GET + b"\x7e" + string(b"x")),
      then=dies(COMPRESSION))  # fmt: skip
_case("rfc7541-4.2-size-update-behind-the-lines", headers(GET + b"\x20"), then=dies(COMPRESSION))
_case("rfc7541-4.2-size-update-between-lines", headers(GET + b"\x20" + FIELDS[1:]),
      then=dies(COMPRESSION))  # fmt: skip
_case("rfc7541-4.2-three-size-updates", headers(b"\x20\x20" + GET), then=dies(COMPRESSION))
_case("rfc7541-4.2-two-size-updates", headers(b"\x20" + GET), then=answers())
_case("rfc7541-6.3-above-what-was-acknowledged", headers(b"\x21" + GET[1:]),
      then=dies(COMPRESSION))  # fmt: skip
_case("rfc7541-5.1-endless-number", headers(GET + b"\xff" * 12), then=dies(COMPRESSION))
_case("rfc7541-5.1-number-that-is-cut", headers(GET + b"\xff\x80"), then=dies(COMPRESSION))
_case("rfc7541-5.2-string-that-is-cut", headers(GET + b"\x00\x06x-te"), then=dies(COMPRESSION))
_case("rfc7541-5.2-string-without-a-value", headers(GET + b"\x00\x06x-test"),
      then=dies(COMPRESSION))  # fmt: skip
_case("rfc7541-5.2-coded", headers(GET + b"\x00\x06x-test" + string(_NO_CACHE, is_huffman=True)),
      then=answers())  # fmt: skip
for _name, _coded in {
    "padding-of-8-bits-and-more": _NO_CACHE + b"\xff",
    "padding-of-zeros": _PRIVATE[:-1] + b"\x4a",
    "padding-that-is-no-eos": _NO_CACHE[:-1] + b"\xbe",
    "end-of-string-inside": b"\xff\xff\xff\xff" + _NO_CACHE,
    "end-of-string-alone": b"\xff\xff\xff\xff",
}.items():
    _line = b"\x00" + string(b"x-test") + string(_coded, is_huffman=True)
    _case(f"rfc7541-5.2-{_name}", headers(GET + _line), then=dies(COMPRESSION))

# Before the client knows that there is no table.

_table_case("rfc7541-2.3.2-table-over-two-requests", headers(GET[1:] + literal(b"x-a", b"1", 0x40)),
            headers(GET[1:] + _DYNAMIC, 3), then=answers(1, 3))  # fmt: skip
_table_case("rfc7541-2.3.2-entry-in-its-own-block",
            headers(GET[1:] + literal(b"x-a", b"1", 0x40) + _DYNAMIC), then=answers())  # fmt: skip
_table_case("4.3-fields-of-a-reset-request-stay-in-the-table",
            headers(MALFORMED[1:] + literal(b"x-a", b"1", 0x40)), headers(GET[1:] + _DYNAMIC, 3),
            then=Expected(resets={1: PROTOCOL}, statuses={3: 200}))  # fmt: skip
_table_case("4.3-fields-of-a-refused-stream-stay-in-the-table",
            headers(GET[1:] + literal(b"x-a", b"1", 0x40), flags=OPEN), reset(),
            headers(GET[1:] + _DYNAMIC, 3), then=answers(3))  # fmt: skip
_table_case("rfc7541-4.4-entry-above-the-table-empties-it",
            headers(b"\x3f\x21" + GET[1:] + literal(b"x-a", b"1", 0x40)
                    + literal(b"x-b", b"a" * 64, 0x40) + _DYNAMIC),
            then=dies(COMPRESSION))  # fmt: skip
_table_case("rfc7541-4.3-reduction-evicts",
            headers(GET[1:] + literal(b"x-a", b"1", 0x40)), headers(GET + _DYNAMIC, 3),
            then=dies(COMPRESSION))  # fmt: skip
_table_case("rfc7541-4.2-smallest-and-last-size",
            headers(b"\x20\x3f\xe1\x1f" + GET[1:]), then=answers())  # fmt: skip
_table_case("rfc7541-6.3-largest-size", headers(b"\x3f\xe1\x1f" + GET[1:]), then=answers())
_table_case("rfc7541-6.3-above-the-default", headers(b"\x3f\xe2\x1f" + GET[1:]),
            then=dies(COMPRESSION))  # fmt: skip

"""What a server must say to frames of every kind, in every state of a stream (RFC 9113, 3 to 6).

Rules:
1. A case is named by the section that decides it (RFC 9113 unless it says RFC 7540 or RFC 7541).
2. A connection error is GOAWAY with the code and the end; a stream error is RST_STREAM with the
   code on a connection that goes on. Where the RFC leaves a choice, the case says this server's.
3. The cases are those of h2spec, written again from the RFC, and more of the same kind.

Runs in: tests.
"""

from __future__ import annotations

from tests.raw_http2 import (
    ACK,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    MOST_BYTES,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    literal,
    ping,
    priority,
    settings,
    u32,
    window_update,
)
from tests.scenario.http2_steps import (
    ALIVE,
    CALM,
    CLOSED,
    COMPRESSION,
    CONNECTION_WINDOW,
    FIELDS,
    FLOW,
    GET,
    GET_LARGE,
    MALFORMED,
    MAX_STREAMS,
    MAX_WINDOW,
    OPEN,
    POST,
    PROTOCOL,
    SIZE,
    WHOLE,
    Case,
    Cases,
    Codes,
    Expected,
    acknowledged,
    answers,
    begun,
    continuation,
    data,
    dies,
    goaway,
    headers,
    holds,
    is_reset,
    over,
    refuses,
    reset,
    sent,
)

CASES = Cases()
_case = CASES.add
_held_case = CASES.add_held
_first_case = CASES.add_first

# Section 3: how it begins.

_first_case("3.4-empty-settings", settings(), then=ALIVE)
_first_case("3.4-settings", settings((INITIAL_WINDOW_SIZE, 65_535)), then=ALIVE)
_first_case("3.4-request-at-once", settings(), headers(), then=answers())
_first_case("3.4-first-frame-is-a-ping", ping(b"12345678"), then=dies(PROTOCOL))
_first_case("3.4-first-frame-is-a-request", headers(), then=dies(PROTOCOL))
_first_case("3.4-first-frame-is-an-ack", frame(SETTINGS, ACK, 0), then=dies(PROTOCOL))
_first_case("3.4-first-frame-is-unknown", frame(0x16, 0, 0, b"x"), then=dies(PROTOCOL))

# Section 4: frames.

UNKNOWN = 0x16
PONG = Expected(pongs=(b"12345678",))
_case("4.1-unknown-type", frame(UNKNOWN, 0, 0, bytes(8)), then=ALIVE)
_case("4.1-unknown-type-of-an-idle-stream", frame(UNKNOWN, 0, 7, bytes(8)), then=ALIVE)
_case("4.1-unknown-type-all-flags", frame(0xFF, 0xFF, 0, bytes(8)), then=ALIVE)
_case("4.1-unknown-type-empty", frame(UNKNOWN, 0, 0), then=ALIVE)
_held_case("4.1-unknown-type-of-a-stream", frame(UNKNOWN, 0xFF, 1, bytes(8)), then=holds())
_case("4.1-undefined-flags-on-ping", frame(PING, 0xFE, 0, b"12345678"), then=PONG)
_case("4.1-undefined-flags-on-settings", frame(SETTINGS, 0xFE, 0), then=Expected(acks=2))
_case("4.1-undefined-flags-on-headers", headers(flags=WHOLE | 0xD2), then=answers())
_case("4.1-undefined-flags-on-data", headers(flags=OPEN), data(b"", flags=0xF7), then=answers())
_case("4.1-reserved-bit-on-ping", frame(PING, 0, 1 << 31, b"12345678"), then=PONG)
_case("4.1-reserved-bit-on-headers", headers(stream_id=1 << 31 | 1), then=answers())
_held_case("4.1-reserved-bit-on-window-update", window_update(1 << 31 | 1, 2), then=holds(2))
_held_case("4.1-reserved-bit-of-an-increment", window_update(1, 1 << 31 | 2), then=holds(2))

_case("4.2-data-of-2-to-the-14", headers(POST, flags=OPEN), data(bytes(MOST_BYTES)),
      then=answers(status=405))  # fmt: skip
_case("4.2-data-too-large", headers(POST, flags=OPEN), data(bytes(MOST_BYTES + 1)),
      then=dies(SIZE))  # fmt: skip
_case("4.2-headers-of-2-to-the-14",
      headers(GET + literal(b"x-long", b"a" * (MOST_BYTES - len(GET) - 11))),
      then=answers(status=431))  # fmt: skip
_case("4.2-headers-too-large", headers(bytes(MOST_BYTES + 1)), then=dies(SIZE))
_case("4.2-settings-too-large", frame(SETTINGS, 0, 0, bytes(MOST_BYTES + 2)), then=dies(SIZE))
_case("4.2-continuation-too-large", headers(flags=END_STREAM),
      continuation(bytes(MOST_BYTES + 1)), then=dies(SIZE))  # fmt: skip
_case("4.2-unknown-too-large", frame(UNKNOWN, 0, 0, bytes(MOST_BYTES + 1)), then=dies(SIZE))
_case("4.2-length-field-alone-is-enough", frame(DATA, 0, 1, bytes(MOST_BYTES + 1))[:9],
      then=dies(SIZE))  # fmt: skip

_case("4.3-incomplete-field-line", headers(b"\x20\x40"), then=dies(COMPRESSION))
_case("4.3.1-block-without-the-reduction", headers(GET[1:]), then=dies(COMPRESSION))
for _name, _between in {
    "priority": priority(1),
    "headers-of-another-stream": headers(stream_id=3),
    "headers-of-the-same-stream": headers(),
    "data": data(),
    "ping": ping(bytes(8)),
    "settings": settings(),
    "window-update": window_update(0, 1),
    "rst-stream": reset(),
    "continuation-of-another-stream": continuation(stream_id=3),
    "goaway": goaway(),
}.items():
    _case(f"4.3-{_name}-inside-a-block", headers(flags=END_STREAM), _between, continuation(),
          then=dies(PROTOCOL))  # fmt: skip
_case("5.5-unknown-type-inside-a-block", headers(flags=END_STREAM),
      frame(UNKNOWN, 0, 0, bytes(8)), continuation(), then=dies(PROTOCOL))  # fmt: skip

# Section 5: streams.

for _name, _sent in {
    "data": data(),
    "rst-stream": reset(),
    "window-update": window_update(1, 100),
    "continuation": continuation(GET),
    "data-of-an-even-stream": data(stream_id=2),
    "window-update-of-an-even-stream": window_update(2, 100),
}.items():
    _case(f"5.1-idle-{_name}", _sent, then=dies(PROTOCOL))
_case("5.1-idle-priority", priority(1), then=ALIVE)

_held_case("5.1-half-closed-data", data(), then=is_reset(CLOSED, head=True))
_held_case("5.1-half-closed-headers", headers(), then=is_reset(CLOSED, head=True))
_held_case("5.1-half-closed-continuation", continuation(), then=dies(PROTOCOL, 1))
_held_case("5.1-half-closed-window-update", window_update(1, 1), then=holds(1))
_held_case("5.1-half-closed-priority", priority(1), window_update(1, 1), then=holds(1))
_held_case("5.1-half-closed-rst-stream", reset(), window_update(1, 1), then=holds())

for _name, _sent, _then in (
    ("data", data(), dies(CLOSED)),
    ("headers", headers(), dies(CLOSED)),
    ("continuation", continuation(), dies(PROTOCOL)),
    ("window-update", window_update(1, 100), ALIVE),
    ("rst-stream", reset(), ALIVE),
    ("priority", priority(1), ALIVE),
):
    _case(f"5.1-closed-by-rst-stream-{_name}", headers(flags=OPEN), reset(), _sent, then=_then)
for _name, _sent, _then in (
    ("data", data(), dies(CLOSED, 1)),
    ("headers", headers(), dies(CLOSED, 1)),
    ("continuation", continuation(), dies(PROTOCOL, 1)),
    ("window-update", window_update(1, 100), answers()),
    ("rst-stream", reset(), answers()),
    ("priority", priority(1), answers()),
):
    _case(f"5.1-closed-by-end-{_name}", headers(), over(), _sent, then=_then)
for _name, _sent in {
    "data": data(),
    "trailers": headers(FIELDS),
    "window-update": window_update(1, 100),
    "rst-stream": reset(),
    "priority": priority(1),
}.items():
    _case(f"5.1-reset-here-{_name}", headers(MALFORMED, flags=OPEN), over(), _sent,
          then=is_reset(PROTOCOL))  # fmt: skip

_case("5.1.1-even", headers(stream_id=2), then=dies(PROTOCOL))
_case("5.1.1-lower-than-an-earlier-one", headers(stream_id=5), over(5), headers(stream_id=3),
      then=dies(PROTOCOL, 5))  # fmt: skip
_case("5.1.1-passed-over", headers(stream_id=1), headers(stream_id=7), then=answers(1, 7))
_case("5.1.1-the-last-one", headers(stream_id=2**31 - 1), then=answers(2**31 - 1))

_ALL = range(1, 2 * MAX_STREAMS, 2)
CASES.rows.append(
    Case(
        name="5.1.2-one-too-many",
        steps=tuple(headers(stream_id=number) for number in (*_ALL, 2 * MAX_STREAMS + 1)),
        expected=Expected(
            statuses=dict.fromkeys(_ALL, 200),
            held=frozenset(_ALL),
            resets={2 * MAX_STREAMS + 1: Codes.REFUSED_STREAM},
        ),
        settings=((INITIAL_WINDOW_SIZE, 0),),
    )
)
CASES.rows.append(
    Case(
        name="5.1.2-room-behind-a-reset",
        steps=(
            *(headers(stream_id=number) for number in _ALL),
            begun(1),
            reset(1),
            headers(stream_id=2 * MAX_STREAMS + 1),
        ),
        expected=Expected(
            statuses=dict.fromkeys((*_ALL, 2 * MAX_STREAMS + 1), 200),
            held=frozenset((*_ALL, 2 * MAX_STREAMS + 1)),
        ),
        settings=((INITIAL_WINDOW_SIZE, 0),),
    )
)

_SELF = u32(1) + b"\x0f"
_case("rfc7540-5.3.1-headers-depend-on-themselves",
      headers(_SELF + GET, flags=WHOLE | HAS_PRIORITY), then=is_reset(PROTOCOL))  # fmt: skip
_held_case("rfc7540-5.3.1-priority-depends-on-itself", priority(1, 1),
           then=is_reset(PROTOCOL, head=True))  # fmt: skip
_case("rfc7540-5.3.1-idle-priority-depends-on-itself", priority(1, 1), then=dies(PROTOCOL))

_case("5.4.1-goaway-and-the-end", frame(PING, 0, 3, bytes(8)), then=dies(PROTOCOL))
_case("5.4.1-nothing-behind-it-is-answered", frame(PING, 0, 3, bytes(8)), headers(),
      then=dies(PROTOCOL))  # fmt: skip
_case("5.4.2-other-streams-go-on", headers(MALFORMED), headers(stream_id=3),
      then=Expected(resets={1: PROTOCOL}, statuses={3: 200}))  # fmt: skip

# Section 6.1: DATA.

_case("6.1-of-the-connection", data(stream_id=0), then=dies(PROTOCOL))
_case("6.1-content-of-a-post", headers(POST, flags=OPEN), data(), then=answers(status=405))
_case("6.1-content-in-two-frames", headers(POST, flags=OPEN), data(flags=0), data(),
      then=answers(status=405))  # fmt: skip
_case("6.1-content-of-a-get", headers(flags=OPEN), data(), then=answers(status=400))
_case("6.1-content-that-does-not-end", headers(flags=OPEN), data(flags=0), then=refuses(400))
_case("6.1-no-content", headers(flags=OPEN), data(b""), then=answers())
_case("6.1-nothing-but-padding", headers(flags=OPEN),
      data(b"\x03\0\0\0", flags=END_STREAM | PADDED), then=answers())  # fmt: skip
_case("6.1-padded", headers(POST, flags=OPEN),
      data(b"\x06test" + bytes(6), flags=END_STREAM | PADDED),
      then=answers(status=405))  # fmt: skip
for _name, _payload, _code in (
    ("as-long-as-the-frame", b"\x05test", PROTOCOL),
    ("longer-than-the-frame", b"\x06test", PROTOCOL),
    ("without-its-length", b"", SIZE),
):
    _case(f"6.1-padding-{_name}", headers(POST, flags=OPEN),
          data(_payload, flags=END_STREAM | PADDED), then=dies(_code))  # fmt: skip

# Section 6.2: HEADERS.

_case("6.2-of-the-connection", headers(stream_id=0), then=dies(PROTOCOL))
_case("6.2-whole", headers(), then=answers())
_case("6.2-padded", headers(b"\x08" + GET + bytes(8), flags=WHOLE | PADDED), then=answers())
_case("6.2-padded-by-nothing", headers(b"\0" + GET, flags=WHOLE | PADDED), then=answers())
_case("6.2-padded-by-255", headers(b"\xff" + GET + bytes(255), flags=WHOLE | PADDED),
      then=answers())  # fmt: skip
_case("6.2-with-priority", headers(u32(0) + b"\xff" + GET, flags=WHOLE | HAS_PRIORITY),
      then=answers())  # fmt: skip
_case("6.2-padded-with-priority",
      headers(b"\x02" + u32(0) + b"\0" + GET + b"\0\0", flags=WHOLE | HAS_PRIORITY | PADDED),
      then=answers())  # fmt: skip
_case("6.2-padding-longer-than-the-block",
      headers(bytes((len(GET) + 2,)) + GET, flags=WHOLE | PADDED), then=dies(PROTOCOL))  # fmt: skip
_case("6.2-padding-without-its-length", headers(b"", flags=WHOLE | PADDED), then=dies(SIZE))
_case("6.2-too-short-for-priority", headers(bytes(4), flags=WHOLE | HAS_PRIORITY),
      then=dies(SIZE))  # fmt: skip
_case("6.2-empty-block", headers(b"\x20"), then=is_reset(PROTOCOL))

# Section 6.3: PRIORITY.

_case("6.3-of-the-connection", priority(0), then=dies(PROTOCOL))
_held_case("6.3-too-short", frame(PRIORITY, 0, 1, bytes(4)), then=is_reset(SIZE, head=True))
_held_case("6.3-too-long", frame(PRIORITY, 0, 1, bytes(6)), then=is_reset(SIZE, head=True))
_case("6.3-idle-too-short", frame(PRIORITY, 0, 1, bytes(4)), then=dies(SIZE))
for _name, _sent in {
    "least-weight": priority(1, weight=0),
    "greatest-weight": priority(1, weight=255),
    "exclusive": priority(1, depends_on=1 << 31),
    "on-another-stream": priority(3, depends_on=1),
    "of-a-later-stream": priority(3),
}.items():
    _case(f"6.3-{_name}", _sent, headers(), then=answers())

# Section 6.4: RST_STREAM.

_case("6.4-of-the-connection", reset(0), then=dies(PROTOCOL))
_case("6.4-idle", reset(7), then=dies(PROTOCOL))
_case("6.4-too-short", headers(flags=OPEN), frame(RST_STREAM, 0, 1, bytes(3)), then=dies(SIZE))
_case("6.4-too-long", headers(flags=OPEN), frame(RST_STREAM, 0, 1, bytes(5)), then=dies(SIZE))
_case("6.4-before-the-end", headers(flags=OPEN), reset(), then=ALIVE)
_case("7-unknown-code-in-rst-stream", headers(POST, flags=OPEN), reset(code=0xFF), then=ALIVE)

# Section 6.5: SETTINGS.

_ACK_2 = Expected(acks=2)
_case("6.5-ack-with-content", frame(SETTINGS, ACK, 0, b"\0"), then=dies(SIZE))
_case("6.5-ack-with-a-setting", frame(SETTINGS, ACK, 0, bytes(6)), then=dies(SIZE))
_case("6.5-of-a-stream", frame(SETTINGS, 0, 1, b"\0\x03\0\0\0\x64"), then=dies(PROTOCOL))
_case("6.5-ack-of-a-stream", frame(SETTINGS, ACK, 1), then=dies(PROTOCOL))
for _length in (1, 5, 8):
    _case(f"6.5-{_length}-bytes", frame(SETTINGS, 0, 0, bytes(_length)), then=dies(SIZE))
_case("6.5-one-ack-too-many", frame(SETTINGS, ACK, 0), then=ALIVE)
for _name, _pair, _then in (
    ("push-2", (ENABLE_PUSH, 2), dies(PROTOCOL)),
    ("push-0", (ENABLE_PUSH, 0), _ACK_2),
    ("push-1", (ENABLE_PUSH, 1), _ACK_2),
    ("window-2-to-the-31", (INITIAL_WINDOW_SIZE, 2**31), dies(FLOW)),
    ("window-2-to-the-32-less-1", (INITIAL_WINDOW_SIZE, 2**32 - 1), dies(FLOW)),
    ("window-largest", (INITIAL_WINDOW_SIZE, MAX_WINDOW), _ACK_2),
    ("frame-size-too-small", (MAX_FRAME_SIZE, 16_383), dies(PROTOCOL)),
    ("frame-size-0", (MAX_FRAME_SIZE, 0), dies(PROTOCOL)),
    ("frame-size-too-large", (MAX_FRAME_SIZE, 2**24), dies(PROTOCOL)),
    ("frame-size-largest", (MAX_FRAME_SIZE, 2**24 - 1), _ACK_2),
    ("table-size-0", (HEADER_TABLE_SIZE, 0), _ACK_2),
    ("table-size-largest", (HEADER_TABLE_SIZE, 2**32 - 1), _ACK_2),
    ("streams-0", (MAX_CONCURRENT_STREAMS, 0), _ACK_2),
    ("unknown", (0xFF, 1), _ACK_2),
    ("0", (0, 1), _ACK_2),
):
    _case(f"6.5.2-{_name}", settings(_pair), then=_then)
_case("6.5.2-a-wrong-value-that-a-later-line-replaces",
      settings((ENABLE_PUSH, 2), (ENABLE_PUSH, 0)), then=dies(PROTOCOL))  # fmt: skip
_case("6.5.2-all-of-them",
      settings((HEADER_TABLE_SIZE, 4096), (ENABLE_PUSH, 1), (MAX_CONCURRENT_STREAMS, 100),
               (INITIAL_WINDOW_SIZE, 65_535), (MAX_FRAME_SIZE, 16_384),
               (MAX_HEADER_LIST_SIZE, 100)), then=_ACK_2)  # fmt: skip
_case("6.5.2-longer-frames-are-not-made-use-of",
      settings((MAX_FRAME_SIZE, 2**20), (INITIAL_WINDOW_SIZE, 2**20)), headers(GET_LARGE),
      sent(CONNECTION_WINDOW),
      then=Expected(acks=2, statuses={1: 200}, held=frozenset((1,))))  # fmt: skip
_case("6.5.3-in-their-order", settings((INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)),
      acknowledged(2), headers(), sent(1),
      then=holds(1, acks=2))  # fmt: skip
_case("6.5.3-each-is-acknowledged", settings(), settings(), settings(), then=Expected(acks=4))

# Section 6.6 and 8.4: PUSH_PROMISE.

_case("8.4-push-promise", headers(flags=OPEN),
      frame(PUSH_PROMISE, END_HEADERS, 1, u32(2) + GET), then=dies(PROTOCOL))  # fmt: skip
_case("6.6-of-an-idle-stream", frame(PUSH_PROMISE, END_HEADERS, 1, u32(3) + GET),
      then=dies(PROTOCOL))  # fmt: skip
_case("6.6-of-the-connection", frame(PUSH_PROMISE, END_HEADERS, 0, u32(2) + GET),
      then=dies(PROTOCOL))  # fmt: skip

# Section 6.7: PING.

_case("6.7-is-answered", ping(b"12345678"), then=PONG)
_case("6.7-in-order", ping(b"12345678"), ping(b"abcdefgh"),
      then=Expected(pongs=(b"12345678", b"abcdefgh")))  # fmt: skip
_case("6.7-an-answer-is-not", frame(PING, ACK, 0, b"12345678"), then=ALIVE)
_case("6.7-of-a-stream", frame(PING, 0, 1, bytes(8)), then=dies(PROTOCOL))
_case("6.7-answer-of-a-stream", frame(PING, ACK, 1, bytes(8)), then=dies(PROTOCOL))
for _length in (0, 7, 9):
    _case(f"6.7-{_length}-bytes", frame(PING, 0, 0, bytes(_length)), then=dies(SIZE))
_case("6.7-answer-of-6-bytes", frame(PING, ACK, 0, bytes(6)), then=dies(SIZE))

# Section 6.8: GOAWAY.

_case("6.8-of-a-stream", goaway(stream_id=1), then=dies(PROTOCOL))
_case("6.8-too-short", frame(GOAWAY, 0, 0, bytes(7)), then=dies(SIZE))
_case("6.8-ends-an-idle-connection", goaway(), then=Expected(closes=True))
_case("6.8-with-a-reason", frame(GOAWAY, 0, 0, bytes(8) + b"why"), then=Expected(closes=True))
_case("7-unknown-code-in-goaway", goaway(0xFF), then=Expected(closes=True))
_held_case("6.8-a-stream-goes-on-to-its-end", goaway(), window_update(1, 2**20),
           then=Expected(closes=True, statuses={1: 200}))  # fmt: skip

# Section 6.9: WINDOW_UPDATE and the windows.

_case("6.9-of-the-connection", window_update(0, 1), then=ALIVE)
_case("6.9-of-a-stream", headers(), window_update(1, 1), then=answers())
_case("6.9-of-the-connection-by-0", window_update(0, 0), then=dies(PROTOCOL))
_held_case("6.9-of-a-stream-by-0", window_update(1, 0), then=is_reset(PROTOCOL, head=True))
_held_case("6.9-by-0-under-the-reserved-bit", window_update(1, 1 << 31),
           then=is_reset(PROTOCOL, head=True))  # fmt: skip
for _length in (3, 5):
    _case(f"6.9-{_length}-bytes", frame(WINDOW_UPDATE, 0, 0, bytes(_length)), then=dies(SIZE))
_case("6.9-3-bytes-of-a-stream", headers(flags=OPEN), frame(WINDOW_UPDATE, 0, 1, bytes(3)),
      then=dies(SIZE))  # fmt: skip

_case("6.9.1-a-window-of-1", settings((INITIAL_WINDOW_SIZE, 1)), headers(), sent(1),
      then=holds(1, acks=2))  # fmt: skip
_case("6.9.1-the-connection-s-window", settings((INITIAL_WINDOW_SIZE, MAX_WINDOW)),
      headers(GET_LARGE), sent(CONNECTION_WINDOW), headers(stream_id=3),
      then=Expected(acks=2, statuses={1: 200, 3: 200}, held=frozenset((1, 3)),
                    data={3: []}))  # fmt: skip
_case("6.9.1-the-connection-s-above-2-to-the-31", window_update(0, MAX_WINDOW),
      window_update(0, MAX_WINDOW), then=dies(FLOW))  # fmt: skip
_case("6.9.1-the-connection-s-at-its-largest", window_update(0, MAX_WINDOW - CONNECTION_WINDOW),
      then=ALIVE)  # fmt: skip
_case("6.9.1-the-connection-s-by-1-too-many",
      window_update(0, MAX_WINDOW - CONNECTION_WINDOW + 1), then=dies(FLOW))  # fmt: skip
_case("6.9.1-a-stream-s-above-2-to-the-31", headers(flags=OPEN), window_update(1, MAX_WINDOW),
      window_update(1, MAX_WINDOW), then=is_reset(FLOW))  # fmt: skip
# Content beyond a stream's window is in tests/unit/http/test_h2_rules.py: here what is answered
# depends on how much of it comes with one read.

_held_case("6.9.2-opened-by-settings", settings((INITIAL_WINDOW_SIZE, 1)), sent(1),
           then=holds(1, acks=2))  # fmt: skip
_case("6.9.2-below-zero", settings((INITIAL_WINDOW_SIZE, 3)), headers(), sent(3),
      settings((INITIAL_WINDOW_SIZE, 2)), acknowledged(3), window_update(1, 2), sent(4),
      then=holds(3, 1, acks=3))  # fmt: skip
_case("6.9.2-below-zero-stays-shut", settings((INITIAL_WINDOW_SIZE, 3)), headers(), sent(3),
      settings((INITIAL_WINDOW_SIZE, 0)), acknowledged(3), window_update(1, 3),
      then=holds(3, acks=3))  # fmt: skip
_held_case("6.9.2-lifted-to-the-largest", window_update(1, 1), sent(1),
           settings((INITIAL_WINDOW_SIZE, MAX_WINDOW)),
           then=Expected(acks=2, statuses={1: 200}))  # fmt: skip
_case("6.9.2-settings-overflow-an-open-window", headers(flags=OPEN),
      window_update(1, MAX_WINDOW - 65_535), settings((INITIAL_WINDOW_SIZE, 65_536)),
      then=dies(FLOW))  # fmt: skip

# Section 6.10: CONTINUATION.

_case("6.10-one", headers(GET[:5], flags=END_STREAM), continuation(GET[5:]), then=answers())
_case("6.10-several", headers(GET[:5], flags=END_STREAM), continuation(GET[5:9], flags=0),
      continuation(GET[9:]), then=answers())  # fmt: skip
_case("6.10-whole-lines", headers(flags=END_STREAM), continuation(literal(b"x-a", b"1"), flags=0),
      continuation(literal(b"x-b", b"2")), then=answers())  # fmt: skip
_case("6.10-empty-ones", headers(b"", flags=END_STREAM), continuation(b"", flags=0),
      continuation(GET, flags=0), continuation(b""), then=answers())  # fmt: skip
_case("6.10-followed-by-data", headers(POST, flags=0), continuation(literal(b"x-a", b"1"), flags=0),
      data(), then=dies(PROTOCOL))  # fmt: skip
_case("6.10-of-the-connection", headers(flags=END_STREAM), continuation(stream_id=0),
      then=dies(PROTOCOL))  # fmt: skip
_case("6.10-behind-a-whole-block", headers(flags=OPEN), continuation(), then=dies(PROTOCOL))
_case("6.10-behind-the-last-one", headers(flags=0), continuation(literal(b"x-a", b"1")),
      continuation(), then=dies(PROTOCOL))  # fmt: skip
_case("6.10-behind-data", headers(POST, flags=OPEN), data(flags=0), continuation(),
      then=dies(PROTOCOL))  # fmt: skip
_case("10.5.1-without-end", headers(flags=END_STREAM), *[continuation(b"", flags=0)] * 40,
      then=dies(CALM))  # fmt: skip

"""What cases of HTTP/2 are written in: messages, steps that wait, and outcomes.

Runs in: tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import h2.errors

from tests.raw_http2 import (  # isort: skip
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PREFACE,
    RST_STREAM, Seen, block, frame, literal, u32,
)  # fmt: skip

Codes = h2.errors.ErrorCodes
Step = bytes | Callable[[Seen], bool]

SMALL_PATH = "/index/1/q"
LARGE_PATH = "/index/ch/ro/chronicle"  # over 100 KB
MAX_STREAMS = 128  # the default of [serve.http2] max_streams
MAX_WINDOW = 2**31 - 1
CONNECTION_WINDOW = 65_535  # until the client opens it


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What has come when everything was answered.

    `held`: streams of which only the head must have come. `data`: sizes of frames, where they
    matter. `pongs`: PING payloads that are answered.
    """

    goaway: int | None = None
    closes: bool = False
    resets: Mapping[int, int] = field(default_factory=dict)
    statuses: Mapping[int, int] = field(default_factory=dict)
    held: frozenset[int] = frozenset()
    data: Mapping[int, list[int]] = field(default_factory=dict)
    acks: int = 1
    pongs: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`begins` false: nothing is sent before the steps; `acknowledges`: the server's SETTINGS."""

    name: str
    steps: tuple[Step, ...]
    expected: Expected
    settings: tuple[tuple[int, int], ...] = ()
    begins: bool = True
    acknowledges: bool = True


# Messages.

WHOLE = END_STREAM | END_HEADERS
OPEN = END_HEADERS  # the request goes on
SCHEME, PATH, AUTHORITY = (":scheme", "http"), (":path", SMALL_PATH), (":authority", "m")
METHOD = (":method", "GET")
PSEUDO = (METHOD, SCHEME, PATH, AUTHORITY)
GET = block(PSEUDO)
GET_LARGE = block((METHOD, SCHEME, (":path", LARGE_PATH), AUTHORITY))
POST = block(((":method", "POST"), SCHEME, PATH, AUTHORITY))
MALFORMED = block((*PSEUDO, ("X-Upper", "1")))
FIELDS = b"\x20" + literal(b"x-more", b"1")


def get_with(*pairs: tuple[str, str]) -> bytes:
    return block((*PSEUDO, *pairs))


def headers(fields: bytes = GET, stream_id: int = 1, flags: int = WHOLE) -> bytes:
    return frame(HEADERS, flags, stream_id, fields)


def data(content: bytes = b"test", stream_id: int = 1, flags: int = END_STREAM) -> bytes:
    return frame(DATA, flags, stream_id, content)


def continuation(fields: bytes = FIELDS, stream_id: int = 1, flags: int = END_HEADERS) -> bytes:
    return frame(CONTINUATION, flags, stream_id, fields)


def reset(stream_id: int = 1, code: int = Codes.CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream_id, u32(code))


def goaway(code: int = 0, stream_id: int = 0) -> bytes:
    return frame(GOAWAY, 0, stream_id, u32(0) + u32(code))


# Steps that wait.


def over(stream_id: int = 1) -> Callable[[Seen], bool]:
    return lambda seen: seen.is_over(stream_id)


def begun(stream_id: int = 1) -> Callable[[Seen], bool]:
    return lambda seen: stream_id in seen.statuses


def sent(size_bytes: int, stream_id: int = 1) -> Callable[[Seen], bool]:
    return lambda seen: sum(seen.data.get(stream_id, ())) >= size_bytes


def acknowledged(count: int) -> Callable[[Seen], bool]:
    return lambda seen: seen.acks >= count


# Outcomes.


def dies(code: Codes, *answered: int) -> Expected:
    """A connection error; the streams that were answered before."""
    return Expected(goaway=code, closes=True, statuses=dict.fromkeys(answered, 200))


def is_reset(code: Codes, stream_id: int = 1, *, head: bool = False) -> Expected:
    """A stream error; `head`: of a stream whose answer has begun."""
    statuses = {stream_id: 200} if head else {}
    return Expected(resets={stream_id: code}, statuses=statuses)


def answers(*stream_ids: int, status: int = 200) -> Expected:
    return Expected(statuses=dict.fromkeys(stream_ids or (1,), status))


def refuses(status: int) -> Expected:
    """Answered before the request ended: the rest is not wanted (section 8.1)."""
    return Expected(statuses={1: status}, resets={1: Codes.NO_ERROR})


def holds(*sizes: int, acks: int = 1) -> Expected:
    """Stream 1 has sent frames of these sizes and waits for its window."""
    return Expected(statuses={1: 200}, held=frozenset((1,)), data={1: list(sizes)}, acks=acks)


ALIVE = Expected()
CALM, SIZE, FLOW = Codes.ENHANCE_YOUR_CALM, Codes.FRAME_SIZE_ERROR, Codes.FLOW_CONTROL_ERROR
PROTOCOL, CLOSED, COMPRESSION = (
    Codes.PROTOCOL_ERROR,
    Codes.STREAM_CLOSED,
    Codes.COMPRESSION_ERROR,
)


class Cases:
    """Rows in the order of writing."""

    def __init__(self) -> None:
        self.rows: list[Case] = []

    def add(self, name: str, *steps: Step, then: Expected) -> None:
        self.rows.append(Case(name=name, steps=steps, expected=then))

    def add_held(self, name: str, *steps: Step, then: Expected) -> None:
        """Stream 1 is half-closed (remote): answered, and its window admits nothing."""
        self.rows.append(
            Case(
                name=name,
                steps=(headers(), begun(), *steps),
                expected=then,
                settings=((INITIAL_WINDOW_SIZE, 0),),
            )
        )

    def add_first(self, name: str, *steps: Step, then: Expected) -> None:
        """The connection has not begun."""
        self.rows.append(Case(name=name, steps=(PREFACE, *steps), expected=then, begins=False))

    def add_table(self, name: str, *steps: Step, then: Expected) -> None:
        """The client has not acknowledged that there is no dynamic table: it has 4,096 bytes."""
        self.rows.append(Case(name=name, steps=steps, expected=then, acknowledges=False))

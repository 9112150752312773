"""What the frames of the worker-keeper protocol carry: msgpack of these structs.

Rules:
1. An ASK opens a stream. Its one ANSWER has one of five forms (below).
2. `Inline` and `PassThrough` are followed by DATA frames under credit and one END.
3. `Growing` names a flight; all that moves in it comes as PROGRESS on stream 0, one message per
   flight, connection and loop turn, however many followers wait on that connection.
4. An END with a payload (`Failed`) or a PROGRESS of state FAILED means: the bytes sent so far must
   never become a complete response.

Runs in: worker and keeper. Pure.
"""

from __future__ import annotations

import enum
from typing import Any, TypeVar

import msgspec

from mirror.accounting.uses import LeftOut, Use
from mirror.errors import ErrorType
from mirror.store.entry import Entry, Stored
from mirror.store.extents import Runs


class Message(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag=True):
    """A tagged array on the wire; the first element names the form.

    The forms repeat `frozen` and `kw_only` for the type checker only; the rest is inherited.
    """


class Hello(Message, frozen=True, kw_only=True):
    slot: int  # of the worker; -1 from the keeper
    pid: int
    fillers: int = 1  # from the keeper: how many fillers a key may map to; one in this version


class Purpose(enum.Enum):
    FETCH = "fetch"  # nothing usable is stored
    REVALIDATE = "revalidate"  # stored but stale; the keeper answers stale when upstream is away
    ATTEST = "attest"  # stored, but the file is not the attested one: hash it, or quarantine


class Ask(Message, frozen=True, kw_only=True):
    """`key` is matched again by the keeper (`route.match.route_of_key`), never trusted as a path.

    `claim`: the digest that a client put into a crate's path (32 bytes) or b"": when the index
    states another, the answer is `Failed(404)` without a fetch.
    """

    purpose: Purpose
    key: str
    claim: bytes = b""
    filler: int = 0
    range_start: int = 0  # what a ranged request wants first; below 0: the last so many bytes
    range_end: int = -1  # half-open; -1: to the end
    is_conditional: bool = False  # under an If-Range: it may come to the whole after all
    since: float = 0.0  # nothing confirmed earlier will do (Unix seconds); 0: whatever is fresh


class StoredAnswer(Message, frozen=True, kw_only=True):
    """A blob (or a remembered absence). `collapsed`: another request's flight fetched it."""

    stored: Stored
    outcome: str  # Cache-Status words: "hit", "fwd=stale; fwd-status=304", "fwd=uri-miss; …"
    is_stale: bool = False  # served beyond its freshness because upstream is away


class GrowingAnswer(Message, frozen=True, kw_only=True):
    """A flight's file. Only for flights whose digest is known before the first byte.

    `length` -1: unknown until the end. Bytes `[0, sendable)` may go into a whole response, bytes
    `[0, landed)` and those of the runs `ahead` into a partial one. `is_kept` False: only what is
    asked for is fetched, and nothing becomes a stored response.
    """

    flight: int
    path: str
    entry: Entry
    sendable: int
    landed: int
    length: int
    collapsed: bool
    is_kept: bool = True
    ahead: Runs = ()


class InlineAnswer(Message, frozen=True, kw_only=True):
    """A small verified object whose bytes follow as DATA; it may be kept and served at once."""

    entry: Entry
    outcome: str


class PassThroughAnswer(Message, frozen=True, kw_only=True):
    """A body that the disk cannot take; its bytes follow as DATA, verified at END, never stored.

    `length` -1: unknown.
    """

    entry: Entry
    length: int


class Failed(Message, frozen=True, kw_only=True):
    """`status` 404, 502, 503 or 504; `reason` one plain sentence; `retry_after_s` 0: none.

    `is_changed`: another fill is to bring it; who was given nothing yet asks again.
    `is_unstored`: the disk gave up under it, not upstream. Who asks again gets it all the same, and
    goes on behind what it gave out already, if that is the same.
    `reason` is for logs: what clients may read is `error_type` and `upstream_status` (0: upstream
    gave none).
    """

    status: int
    reason: str
    retry_after_s: int = 0
    is_changed: bool = False
    error_type: ErrorType | None = None
    upstream_status: int = 0
    is_unstored: bool = False

    @property
    def is_left(self) -> bool:
        """Whether the same key, asked for again at once, may well be had."""
        return self.is_changed or self.is_unstored


class FlightState(enum.Enum):
    RUNNING = "running"
    VERIFIED = "verified"  # whole and agreed; `stored` is set once published
    FAILED = "failed"


class Progress(Message, frozen=True, kw_only=True):
    flight: int
    sendable: int
    landed: int
    length: int
    state: FlightState
    stored: Stored | None = None
    failure: Failed | None = None
    ahead: Runs = ()


class Uses(Message, frozen=True, kw_only=True):
    """Objects served since the last such message, at most 512; `left_out` had no room."""

    uses: tuple[Use, ...]
    left_out: LeftOut = LeftOut()


class Check(Message, frozen=True, kw_only=True):
    """What was served and wants news in the background: crates whose index entry was confirmed a
    while ago, and stale responses. At most 512 keys; nobody waits, and nothing is answered."""

    keys: tuple[str, ...]


class Code(Message, frozen=True, kw_only=True):
    """Objects served uncoded to who accepts gzip: make their variants in the background. At most
    512 keys; nobody waits, and nothing is answered."""

    keys: tuple[str, ...]


Answer = StoredAnswer | GrowingAnswer | InlineAnswer | PassThroughAnswer | Failed

_encoder = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


_Form = TypeVar("_Form", Hello, Ask, Failed, Progress, Uses, Check, Code)
_DECODERS: dict[type[Message], msgspec.msgpack.Decoder[Any]] = {
    form: msgspec.msgpack.Decoder(form)
    for form in (Hello, Ask, Failed, Progress, Uses, Check, Code)
}
_ANSWER: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def decode_answer(payload: bytes) -> Answer:
    """Raises msgspec.MsgspecError when the peer sent something else."""
    try:
        return _ANSWER.decode(payload)
    except UnicodeDecodeError as exc:  # of a tag that is no text; msgspec lets it through
        raise msgspec.DecodeError(str(exc)) from exc


def decode(form: type[_Form], payload: bytes) -> _Form:
    """Return the message of a frame whose type allows one form.

    Raises msgspec.MsgspecError when the peer sent something else.
    """
    try:
        message: _Form = _DECODERS[form].decode(payload)
    except UnicodeDecodeError as exc:
        raise msgspec.DecodeError(str(exc)) from exc
    return message

"""The session and the `h2` library read the same generated frames; every difference is explained.

`h2` is strict in another way: it ends the connection where RFC 9113 gives a fault to a stream, and
waits for the end of a field block before it looks at the frame that began it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest
from hyperframe.frame import GoAwayFrame, RstStreamFrame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirror.http.h2_errors import Code
from mirror.http.h2_fields import MalformedError, check_trailers, request_fields
from mirror.http.h2_frames import (
    CONTINUATION,
    DATA,
    HEADERS,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from mirror.http.h2_limits import Limits, Rate
from mirror.http.h2_session import Session
from tests.unit.http.h2_generated import ANSWER, GIVE_UP, SEQUENCES, Step
from tests.unit.http.h2_peer import (
    REDUCTION,
    SETTINGS_ACK,
    headers,
    parse,
)
from tests.unit.http.h2_peer import settings as settings_of

WIDE = Rate(burst=10**9, per_s=0)  # floods have their own tests
LIMITS = Limits(
    max_streams=100,
    initial_window_bytes=65_535,
    max_field_lines=10**6,
    wasted_streams=WIDE,
    controls=WIDE,
    grants=WIDE,
    empties=WIDE,
    block_bytes=WIDE,
)
ANY = r".*"
ENDS = r"connection \d+"
ALL_FRAMES = frozenset(range(256))
ALTSVC = 10
BLOCKS = frozenset((HEADERS, CONTINUATION))


@dataclass(frozen=True)
class Difference:
    """`ours`, `theirs`: verdicts; `says`: is in what those that found a fault said."""

    frames: frozenset[int]
    ours: str
    theirs: str
    says: str
    why: str


ALLOWED = (
    Difference(
        frames=BLOCKS,
        ours="stream 1",
        theirs="connection 1",
        says=r"missing mandatory|Trailers must have|zero length|content-length|duplicate"
        r"|empty :path|Illegal character|:author|Connection-specific|custom pseudo|surrounded"
        r"|uppercase|TE header|pseudo-header|depend on itself",
        why="8.1.1: a malformed message is a fault of its stream; h2 ends the connection",
    ),
    Difference(
        frames=frozenset((DATA,)),
        ours="stream 1",
        theirs="connection 1",
        says=r"Expected \d+ bytes, received \d+",
        why="8.1.1: content that is not as long as promised is malformed, a fault of its stream",
    ),
    Difference(
        frames=frozenset((DATA,)),
        ours="stream 3",
        theirs="connection 3",
        says=ANY,
        why="6.9.1: the window of one stream exceeded; either is allowed",
    ),
    Difference(
        frames=BLOCKS,
        ours="stream 1",
        theirs="ok",
        says=r"The (path|scheme|method|authority) is missing or not valid|A field (name|value) is"
        r"|The authority is not valid|Host names something|A CONNECT request",
        why="8.2.1 asks for less than this session, which takes what HTTP/1.1 could carry",
    ),
    Difference(
        frames=BLOCKS,
        ours="stream 1",
        theirs="ok",
        says="content is missing",
        why="8.1.1: less content than promised; h2 compares only when DATA come",
    ),
    Difference(
        frames=BLOCKS | {DATA},
        ours="ok",
        theirs="stream 5",
        says=ANY,
        why="5.1: frames under way to a stream that the server reset are dropped; h2 resets again",
    ),
    Difference(
        frames=BLOCKS | {DATA},
        ours="connection 5",
        theirs="stream 5",
        says=ANY,
        why="5.1: a client that goes on after its own RST_STREAM may lose the connection",
    ),
    Difference(
        frames=BLOCKS | {DATA},
        ours="stream 5",
        theirs="connection 5",
        says=ANY,
        why="5.1: half-closed (remote) is a fault of the stream; h2 ends the connection",
    ),
    Difference(
        frames=BLOCKS | {PUSH_PROMISE},
        ours="connection 1",
        theirs="ok",
        says=r"A client does not push|of a stream that no client opens",
        why="h2 waits for the end of the block; nothing it could hold makes the frame valid",
    ),
    Difference(
        frames=frozenset((CONTINUATION,)),
        ours="connection 1",
        theirs="stream 5",
        says="CONTINUATION comes after nothing",
        why="6.10: without an open block a fault of the connection; h2 looks at the stream first",
    ),
    Difference(
        frames=BLOCKS,
        ours="connection 9",
        theirs="stream 5",
        says="too many size updates",
        why="RFC 7541 section 4.2: two at most; h2 reads any number",
    ),
    Difference(
        frames=frozenset((RST_STREAM,)),
        ours="connection 1",
        theirs="ok",
        says="RST_STREAM is of an idle stream",
        why="6.4 makes it an error; h2 looks the stream up and finds none",
    ),
    Difference(
        frames=frozenset((WINDOW_UPDATE, PRIORITY)),
        ours="stream [136]",
        theirs=ENDS,
        says=ANY,
        why="6.3, 6.9: faults of one stream; h2 ends the connection",
    ),
    Difference(
        frames=frozenset((WINDOW_UPDATE, PRIORITY)),
        ours="ok",
        theirs=ENDS,
        says="depend on itself|non-compliant data|exceed|data missing",
        why="5.1: of a stream that the server reset; it is dropped whatever it says",
    ),
    Difference(
        frames=BLOCKS | {DATA},
        ours="ok|stream [15]",
        theirs=ENDS,
        says="invalid padding",
        why="6.1, 6.2: padding may be all that follows its length; h2 refuses that",
    ),
    Difference(
        frames=frozenset((ALTSVC,)),
        ours="ok",
        theirs=ENDS,
        says=ANY,
        why="5.5: an extension that this session does not know (RFC 7838) is ignored",
    ),
    Difference(
        frames=frozenset((SETTINGS,)),
        ours="ok",
        theirs="connection 3",
        says="May not increment flow control window",
        why="6.9.2: of windows that are there; h2 keeps those of streams that were reset",
    ),
    Difference(
        frames=ALL_FRAMES,
        ours=ANY,
        theirs="connection 1",
        says=r"in state ConnectionState.CLOSED",
        why="6.8: a client's GOAWAY does not forbid it to go on; h2 takes nothing after it",
    ),
)
# Both end the connection, with different codes.
CODES = frozenset(
    (
        ("connection 9", "connection 1"),  # h2 has no COMPRESSION_ERROR
        ("connection 6", "connection 1"),  # nor always a code for lengths
        # A frame that breaks two rules: each looks at another one first.
        ("connection 1", "connection 5"),
        ("connection 1", "connection 6"),
    )
)


def _h2_server() -> h2.connection.H2Connection:
    server = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=False, header_encoding=None)
    )
    server.update_settings({1: 0, 6: LIMITS.max_list_bytes})
    server.initiate_connection()
    server.clear_outbound_data_buffer()
    return server


def _verdict(sent: bytes) -> str:
    frames = parse(sent)
    for found in frames:
        if isinstance(found, GoAwayFrame):
            return f"connection {found.error_code}"
    for found in frames:
        if isinstance(found, RstStreamFrame):
            return f"stream {found.error_code}"
    return "ok"


class Pair:
    """Both, after the same beginning. `said`: their reasons for the last verdicts."""

    def __init__(self, *, acknowledges: bool) -> None:
        self.ours = Session(LIMITS, now_s=0.0)
        self.theirs = _h2_server()
        self.said = ""
        hello = PREFACE + settings_of()
        if acknowledges:
            hello += SETTINGS_ACK + headers(1, lead=REDUCTION)
        self.ours.receive(hello, 0.0)
        self.theirs.receive_data(hello)
        self._drop_output()

    def _drop_output(self) -> None:
        self.ours.take_output()
        self.theirs.clear_outbound_data_buffer()

    def act(self, step: Step) -> bool:
        """Let both servers do something on a stream that is open; whether they still compare."""
        stream_id, ends = step.stream_id, step.action == ANSWER
        try:
            if step.action == GIVE_UP:
                self.ours.reset(stream_id, Code.CANCEL)
                if self.ours.take_output():
                    self.theirs.reset_stream(stream_id, Code.CANCEL)
            elif self.ours.headers(stream_id, b"\x88", ends=ends):
                self.theirs.send_headers(stream_id, [(":status", "200")], end_stream=ends)
        except h2.exceptions.ProtocolError:
            # After the client's GOAWAY, or a second head: h2 looks for faults of the application.
            return False
        self._drop_output()
        return True

    def send(self, octets: bytes) -> tuple[str, str]:
        """Give both the same bytes; their verdicts."""
        self.ours.receive(octets, 0.0)
        ours = _verdict(self.ours.take_output())
        self.said = self.ours.failure.reason if self.ours.failure else ""
        try:
            events = self.theirs.receive_data(octets)
        except h2.exceptions.ProtocolError as exc:
            self.said += f" | {exc}"
            self.theirs.clear_outbound_data_buffer()
            return ours, f"connection {int(exc.error_code)}"
        if ours.startswith("stream"):
            self.said = _fault_in(events)
        return ours, _verdict(self.theirs.data_to_send())


def _fault_in(events: list[h2.events.Event]) -> str:
    """What this side finds in messages that h2 takes."""
    for event in events:
        try:
            if isinstance(event, h2.events.RequestReceived):
                fields = request_fields([(bytes(n), bytes(v)) for n, v in event.headers])
                if event.stream_ended and fields.content_bytes > 0:
                    return "content is missing"
            elif isinstance(event, h2.events.TrailersReceived):
                check_trailers([(bytes(n), bytes(v)) for n, v in event.headers])
                return "content is missing"  # nothing else is left that resets the stream
        except MalformedError as exc:
            return exc.message
    return ""


def _explanation(frame_type: int, ours: str, theirs: str, said: str) -> str:
    for row in ALLOWED:
        if (
            frame_type in row.frames
            and re.fullmatch(row.ours, ours)
            and re.fullmatch(row.theirs, theirs)
            and re.search(row.says, said)
        ):
            return row.why
    return ""


def _compare(steps: list[Step], *, acknowledges: bool) -> None:
    pair = Pair(acknowledges=acknowledges)
    for step in steps:
        if step.action:
            if not pair.act(step):
                return
            continue
        ours, theirs = pair.send(step.octets)
        if ours != theirs:
            why = _explanation(step.octets[3], ours, theirs, pair.said)
            assert why or (ours, theirs) in CODES, (step, ours, theirs, pair.said)
            return  # from here on they are not in the same state
        if pair.ours.failure is not None:
            return


_SETTINGS = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@settings(_SETTINGS, max_examples=150)
@given(SEQUENCES, st.booleans())
def test_verdicts_are_those_of_another_library(steps: list[Step], acknowledges: bool) -> None:
    _compare(steps, acknowledges=acknowledges)


@settings(_SETTINGS, max_examples=60)
@given(SEQUENCES, st.lists(st.integers(1, 40), max_size=20), st.booleans())
def test_no_bytes_in_any_pieces_raise(
    steps: list[Step], cuts: list[int], acknowledges: bool
) -> None:
    """With the limits that are usual, and with what was cut out of the middle of a frame."""
    session = Session(Limits(), now_s=0.0)
    received = PREFACE + settings_of() + (SETTINGS_ACK if acknowledges else b"")
    received += b"".join(step.octets[at % 3 :] for at, step in enumerate(steps))
    at = 0
    for size in [*cuts, len(received)]:
        session.receive(received[at : at + size], 0.0)
        at += size
    parse(session.take_output())
    assert session.open_streams <= len(steps)


@pytest.mark.full
@settings(_SETTINGS, max_examples=6_000)
@given(SEQUENCES, st.booleans())
def test_verdicts_are_those_of_another_library_at_length(
    steps: list[Step], acknowledges: bool
) -> None:
    _compare(steps, acknowledges=acknowledges)

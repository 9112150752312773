"""What the two halves of an HTTP/2 session share: streams, windows, queued control frames, events.

Rules:
1. The receiver changes it for what the client sends, the session for what the application does.
2. Control frames are queued here and leave when the connection takes them; a client that provokes
   more of them than it reads is found by their size.

Units: bytes.
Runs in: worker. Pure.
"""

from __future__ import annotations

from mirror.http.h2_decoder import BlockDecoder
from mirror.http.h2_errors import Code, H2ConnectionError
from mirror.http.h2_events import Event, StreamReset
from mirror.http.h2_frames import ALL_STREAMS, rst_stream
from mirror.http.h2_limits import Guard, Limits
from mirror.http.h2_memo import BlockMemo, Recalled, Recollection
from mirror.http.h2_settings import DEFAULT_WINDOW_BYTES
from mirror.http.h2_streams import StreamTable
from mirror.http.h2_windows import ReceiveWindow, SendWindow


class SharedState:
    """One connection's."""

    __slots__ = (
        "_output",
        "_output_bytes",
        "awaited_ping",
        "decoder",
        "events",
        "guard",
        "has_ack",
        "has_settings",
        "is_peer_going",
        "limits",
        "owes_size_update",
        "peer_initial_bytes",
        "recalled",
        "receive_window",
        "recollection",
        "refused_above",
        "stream_receive_bytes",
        "streams",
        "window",
    )

    def __init__(self, limits: Limits, now_s: float, memo: BlockMemo | None = None) -> None:
        memo = memo or BlockMemo()
        self.limits = limits
        self.guard = Guard(limits, now_s)
        self.decoder = BlockDecoder(
            max_list_bytes=limits.max_list_bytes,
            max_field_lines=limits.max_field_lines,
            reader=memo.reader,
        )
        self.recollection = Recollection(memo)
        self.recalled: dict[int, Recalled] = {}  # by stream; see `h2_session`
        self.has_settings = False  # the client's came
        self.has_ack = False  # of this server's settings
        self.streams = StreamTable()
        self.window = SendWindow(DEFAULT_WINDOW_BYTES)
        self.receive_window = ReceiveWindow()
        self.peer_initial_bytes = DEFAULT_WINDOW_BYTES  # of each stream's window to send into
        self.stream_receive_bytes = DEFAULT_WINDOW_BYTES  # what a client may send on a stream
        self.owes_size_update = False
        self.refused_above = ALL_STREAMS
        self.is_peer_going = False
        self.awaited_ping = b""  # what the answer to a PING of this server says
        self.events: list[Event] = []
        self._output: list[bytes] = []
        self._output_bytes = 0

    def __repr__(self) -> str:
        return f"<SharedState {self.streams!r} output={self._output_bytes}>"

    def put(self, frame: bytes) -> None:
        """Queue a control frame."""
        self._output.append(frame)
        self._output_bytes += len(frame)

    def take_output(self) -> bytes:
        """Return what is queued."""
        output = b"".join(self._output)
        self._output.clear()
        self._output_bytes = 0
        return output

    def check_output(self) -> None:
        """Raises: H2ConnectionError when more is queued than the limit admits."""
        if self._output_bytes > self.limits.max_unsent_bytes:
            raise H2ConnectionError(Code.ENHANCE_YOUR_CALM, "Too many answers were not read.")

    def reset_for_fault(self, stream_id: int, code: Code) -> None:
        """Reset a stream because of its client. Raises: H2ConnectionError when it does so often."""
        stream = self.streams.open[stream_id]
        self.put(rst_stream(stream_id, code))
        self.streams.close(stream_id, is_reset_here=True)
        if stream.is_known:
            self.events.append(StreamReset(stream_id=stream_id, code=code))
        self.guard.wasted_stream()

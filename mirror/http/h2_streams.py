"""The streams of an HTTP/2 connection: those that are open, and what is remembered of others.

Rules:
1. A stream is here from its HEADERS until both sides ended it or one side reset it.
2. Of streams that are over the last ones are remembered: whether this server reset them, after
   which the client's frames may still be under way and are dropped (RFC 9113 section 5.1).
3. An identifier that was passed over is not one that was used: a client that goes back to it
   breaks section 5.1.1, one that goes on with a closed stream breaks section 5.1.

Units: bytes.
Does not: read frames, or decide on errors.
Runs in: worker. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from mirror.http.h2_windows import SendWindow

# Frames of a stream that was reset may come for one round trip; this many streams later they do
# not. They take 0.04 MB. Every request adds one and only faults look for one, which is why they are
# not in a mapping: a look-up takes 10 us, an OrderedDict four times the memory.
REMEMBERED_STREAMS: Final = 1024


class StreamState:
    """One exchange's state."""

    __slots__ = (
        "content_left_bytes",
        "has_ended",
        "is_known",
        "receive_bytes",
        "request_ended",
        "stream_id",
        "window",
    )

    def __init__(self, stream_id: int, *, send_bytes: int, receive_bytes: int) -> None:
        self.stream_id = stream_id
        self.window = SendWindow(send_bytes)
        self.receive_bytes = receive_bytes  # what the client may still send
        self.content_left_bytes = -1  # of what Content-Length promised; -1: it did not
        self.is_known = False  # to the application
        self.request_ended = False  # by the client
        self.has_ended = False  # the response has

    def __repr__(self) -> str:
        names = ("request_ended", "has_ended")
        states = [name for name in names if getattr(self, name)]
        return f"<StreamState {self.stream_id} {' '.join(states) or 'open'}>"


class StreamTable:
    """Streams by identifier."""

    __slots__ = ("_over", "_reset_here", "last_id", "open")

    def __init__(self) -> None:
        self.open: dict[int, StreamState] = {}
        self.last_id = 0  # the highest that the client used
        self._reset_here: deque[int] = deque(maxlen=REMEMBERED_STREAMS)
        self._over: deque[int] = deque(maxlen=REMEMBERED_STREAMS)  # in other ways

    def __repr__(self) -> str:
        return f"<StreamTable open={len(self.open)} last={self.last_id}>"

    def add(self, stream: StreamState) -> None:
        """A stream opens."""
        self.open[stream.stream_id] = stream

    def close(self, stream_id: int, *, is_reset_here: bool) -> None:
        """A stream is over, or never opened because it was refused."""
        self.open.pop(stream_id, None)
        (self._reset_here if is_reset_here else self._over).append(stream_id)

    def close_answered(self, stream_ids: Iterable[int]) -> None:
        """Streams are over that nothing but their identifier was known of."""
        self._over.extend(stream_ids)

    def is_idle(self, stream_id: int) -> bool:
        """Whether nobody has used it: the client not yet, and this server never does."""
        return stream_id > self.last_id or stream_id % 2 == 0

    def is_reset_here(self, stream_id: int) -> bool:
        """Whether this server reset it, so that frames may still be under way."""
        return stream_id in self._reset_here

    def was_used(self, stream_id: int) -> bool:
        """Whether it is one of the last that are over."""
        return stream_id in self._over or stream_id in self._reset_here

    def grow_all(self, delta_bytes: int) -> bool:
        """The initial window changed (section 6.9.2); whether one that was closed no longer is.

        Raises: OverflowError.
        """
        has_opened = False
        for stream in self.open.values():
            has_opened |= stream.window.grow(delta_bytes)
        return has_opened

    def all(self) -> Iterable[StreamState]:
        """The open streams."""
        return self.open.values()

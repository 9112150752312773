"""A body that grows on disk: how far it is, how far it may be sent, and who wants to know.

Rules:
1. Of a known length the last `WITHHELD_BYTES` stay back until the digest agrees; of an unknown
   length always the newest `WITHHELD_BYTES` do.
2. `landed` counts what is on disk from the first byte on, `ahead` are the extents on disk behind
   that; partial responses may read both, verified or not.
3. A file ends once: published, verified but not kept, or failed; after that nothing moves.

Units: byte offsets. Does not: read or write files.
Runs in: keeper. Pure.
"""

from __future__ import annotations

from collections.abc import Callable

from mirror.fill.messages import Failed, FlightState, GrowingAnswer, Progress
from mirror.store.entry import Entry, Stored
from mirror.store.extents import Runs

WITHHELD_BYTES = 65536


class GrowingFile:
    """One flight's file; listeners are called on every move, in the order of subscription."""

    __slots__ = (
        "_listeners",
        "ahead",
        "entry",
        "failure",
        "is_kept",
        "is_over",
        "landed",
        "length",
        "number",
        "on_deserted",
        "path",
        "state",
        "stored",
    )

    def __init__(self, *, number: int, path: str, entry: Entry, length: int, landed: int) -> None:
        self.number = number
        self.path = path
        self.entry = entry
        self.length = length  # -1: unknown until the end
        self.landed = landed
        self.ahead: Runs = ()
        self.is_kept = True  # it becomes a stored response if nothing goes wrong
        self.on_deserted: Callable[[], None] | None = None  # called when the last follower leaves
        self.state = FlightState.RUNNING
        self.stored: Stored | None = None
        self.failure: Failed | None = None
        self.is_over = False
        self._listeners: dict[Callable[[GrowingFile], None], None] = {}

    def __repr__(self) -> str:
        return (
            f"<GrowingFile {self.number} {self.state.value} "
            f"{self.sendable}/{self.landed}/{self.length}>"
        )

    @property
    def sendable(self) -> int:
        if self.state is FlightState.VERIFIED:
            return self.landed
        if self.length >= 0:
            return min(self.landed, max(0, self.length - WITHHELD_BYTES))
        return max(0, self.landed - WITHHELD_BYTES)

    def subscribe(self, listener: Callable[[GrowingFile], None]) -> None:
        self._listeners[listener] = None

    def unsubscribe(self, listener: Callable[[GrowingFile], None]) -> None:
        self._listeners.pop(listener, None)
        if not self._listeners and self.on_deserted is not None:
            self.on_deserted()

    @property
    def is_followed(self) -> bool:
        return bool(self._listeners)

    def land(self, landed: int, ahead: Runs = ()) -> None:
        self.landed = landed
        self.ahead = ahead
        self._moved()

    def verify(self) -> None:
        """The digest of all that landed agrees: everything may be sent."""
        self.state = FlightState.VERIFIED
        self.length = self.landed
        self._moved()

    def publish(self, stored: Stored) -> None:
        self.stored = stored
        self.end()

    def fail(self, failure: Failed) -> None:
        """End without a verified body; a file that is verified or over stays as it is."""
        if self.state is FlightState.RUNNING:
            self.state = FlightState.FAILED
            self.failure = failure
        self.end()

    def end(self) -> None:
        if self.is_over:
            return
        self.is_over = True
        self._moved()
        self._listeners.clear()

    def answer(self, *, collapsed: bool) -> GrowingAnswer:
        return GrowingAnswer(
            flight=self.number,
            path=self.path,
            entry=self.entry,
            sendable=self.sendable,
            landed=self.landed,
            length=self.length,
            collapsed=collapsed,
            is_kept=self.is_kept,
            ahead=self.ahead,
        )

    def progress(self) -> Progress:
        return Progress(
            flight=self.number,
            sendable=self.sendable,
            landed=self.landed,
            length=self.length,
            state=self.state,
            stored=self.stored,
            failure=self.failure,
            ahead=self.ahead,
        )

    def _moved(self) -> None:
        for listener in tuple(self._listeners):
            listener(self)

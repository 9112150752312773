"""Events of refused heads: who sent what, a few a second, however many come.

Rules:
1. At most `EVENTS_PER_SECOND` events in one second of the wheel; the rest are counted, and the next
   event says how many (`unlogged`): a flood costs neither disk nor the reader's patience.
2. What a stranger sent is escaped and bounded.

Runs in: worker.
"""

from __future__ import annotations

from typing import Final

from mirror.events import EventLog
from mirror.http.field_lines import loggable
from mirror.serve.wheel import Wheel

EVENTS_PER_SECOND: Final = 5
SHOWN_BYTES: Final = 256  # of a request line: enough to recognise it


class RefusalLog:
    """One per worker."""

    __slots__ = ("_log", "_logged", "_second", "_unlogged", "_wheel")

    def __init__(self, log: EventLog, wheel: Wheel) -> None:
        self._log = log
        self._wheel = wheel
        self._second = -1
        self._logged = 0
        self._unlogged = 0

    def note(self, client: str, status: int, reason: str, request_line: bytes) -> None:
        """Tell of one refusal, or count it."""
        if self._wheel.second != self._second:
            self._second = self._wheel.second
            self._logged = 0
        if self._logged == EVENTS_PER_SECOND:
            self._unlogged += 1
            return
        self._logged += 1
        unlogged, self._unlogged = self._unlogged, 0
        self._log.warning(
            "request-refused",
            client=client,
            status=status,
            reason=reason,
            request_line=loggable(request_line, SHOWN_BYTES),
            unlogged=unlogged,
        )

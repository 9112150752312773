"""Room for another connection when a worker has as many as it may.

Rules:
1. A connection that was answered and asks for nothing is closed for one that comes: whoever keeps
   it alive may open another (RFC 9112 section 9.5), whoever is turned away gets no answer.
2. The one idle longest goes first. They are looked for once per tick: with none idle, a flood of
   connections costs one look at all of them per tick, not one each.
3. Connections that are closing still count, so those that are let in beside them are at most
   `1 / CLOSING_SHARE` of the limit: a client that does not let go of its connections gains nothing.

Runs in: worker. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

CLOSING_SHARE: Final = 8


class Idle(Protocol):
    """A connection, as it is looked at for being closed."""

    deadline_at: float

    @property
    def is_idle(self) -> bool:
        """Whether it was answered, and nothing has been asked on it since."""

    def make_room(self) -> None:
        """Close, because of another one."""


class Crowd:
    """The idle connections of one worker that may be closed for others."""

    __slots__ = ("_has_looked", "_idle", "_most")

    def __init__(self, max_connections: int) -> None:
        self._most = max_connections + max(1, max_connections // CLOSING_SHARE)
        self._idle: list[Idle] = []
        self._has_looked = False

    def __repr__(self) -> str:
        return f"<Crowd {len(self._idle)} idle>"

    def make_room(self, find_idle: Callable[[], list[Idle]], number: int) -> bool:
        """Close the connection idle longest; False: none is, or too many of `number` close."""
        if number > self._most:
            return False
        if not self._has_looked:
            self._has_looked = True
            # Idle deadlines lie equally far behind the last answers; the last of the list is taken.
            self._idle = sorted(find_idle(), key=lambda each: -each.deadline_at)
        while self._idle:
            idle = self._idle.pop()
            if idle.is_idle:
                idle.make_room()
                return True
        return False

    def tick(self) -> None:
        """Look anew for the next one; hold nothing of connections that may be gone by then."""
        self._has_looked = False
        self._idle.clear()

"""Which growing bodies follow which flight on one connection.

Rules:
1. A flight is forgotten when it is published or failed, or when its last follower left; then the
   streams of all its asks are to be cancelled: whatever the keeper counts, asks or connections,
   it is right.
2. Followers move in the order in which they came.

Runs in: worker.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mirror.fill.bodies import GrowingBody
from mirror.fill.messages import FlightState, Progress


@dataclass(slots=True, kw_only=True, eq=False)
class _Flight:
    number: int
    bodies: dict[GrowingBody, None] = field(default_factory=dict)
    streams: list[int] = field(default_factory=list)


class Followers:
    """Emptied at each loss of the connection: flight numbers are the keeper's, and end with it."""

    def __init__(self) -> None:
        self._flights: dict[int, _Flight] = {}
        self._flight_of: dict[GrowingBody, _Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def follow(self, number: int, body: GrowingBody, stream: int) -> None:
        flight = self._flights.setdefault(number, _Flight(number=number))
        flight.bodies[body] = None
        flight.streams.append(stream)
        self._flight_of[body] = flight

    def advance(self, progress: Progress) -> None:
        """Move every follower; a flight that nobody follows is none of ours."""
        flight = self._flights.get(progress.flight)
        if flight is None:
            return
        if progress.state is FlightState.FAILED or progress.stored is not None:
            del self._flights[progress.flight]
            for body in flight.bodies:
                del self._flight_of[body]
        for body in flight.bodies:
            body.advance(progress)

    def leave(self, body: GrowingBody) -> list[int]:
        """Return the streams to cancel: none while others follow, or when the flight is over."""
        flight = self._flight_of.pop(body, None)
        if flight is None:
            return []
        del flight.bodies[body]
        if flight.bodies:
            return []
        del self._flights[flight.number]
        return flight.streams

    def scatter(self) -> list[GrowingBody]:
        """Forget all flights; return their followers."""
        bodies = list(self._flight_of)
        self._flights.clear()
        self._flight_of.clear()
        return bodies

    def __repr__(self) -> str:
        return f"<Followers {len(self._flight_of)} of {len(self._flights)} flights>"

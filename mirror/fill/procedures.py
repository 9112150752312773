"""Which procedure fills the object of a route.

Rules:
1. A channel's three files are one flight; everything else is a flight of its own.

Runs in: keeper.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mirror.fill.agreement import Agreements
from mirror.fill.blobs import Blobs
from mirror.fill.channel import Channels
from mirror.fill.channel_files import channel_files
from mirror.fill.flights import Flight
from mirror.fill.small import SmallObjects
from mirror.route.policy import states_digest
from mirror.route.proofs import subject
from mirror.route.route import Kind, Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The flight that a route needs."""

    key: str
    keys: tuple[str, ...]
    run: Callable[[Flight], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedures:
    """All of one filler."""

    channels: Channels
    agreements: Agreements
    blobs: Blobs
    small: SmallObjects

    def job_of(self, route: Route) -> Job:
        files = channel_files(route)
        if files is not None:

            def channel(flight: Flight) -> Awaitable[None]:
                return self.channels.fill(flight, files, route.key)

            return Job(key=files.manifest.key, keys=files.keys, run=channel)
        if subject(route) is not None:
            fill = self.agreements.fill
        elif states_digest(route.kind) or route.kind is Kind.CHANNEL_V1:
            fill = self.blobs.fill
        else:
            fill = self.small.fill

        def single(flight: Flight) -> Awaitable[None]:
            return fill(flight, route)

        return Job(key=route.key, keys=(route.key,), run=single)

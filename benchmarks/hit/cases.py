"""What is asked: protocol, objects, kind of request, connections, streams.

Rules:
1. The cases of the table are those of `TABLE`; the whole matrix is every protocol × size × one or
   many URIs, and the requests that are no plain hits.
2. Many URIs are 10,000 where the bytes allow it; fewer, larger ones stay below 1 GB in all.

Units: bytes. Runs in: benchmark. Pure.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from benchmarks.hit.objects import KB, MB, ObjectSet
from benchmarks.hit.servers import Protocol

# Connections of wrk: a build farm's keep-alive clients; few for large bodies, whose windows fill.
_CONNECTIONS: Final = {2 * KB: 32, 40 * KB: 32, MB: 4, 100 * MB: 4}
_NEW_CONNECTIONS: Final = 16
_STREAMS: Final = {2 * KB: 50, 40 * KB: 50, MB: 10, 100 * MB: 2}
_HTTP2_CONNECTIONS: Final = 4
MANY: Final = {2 * KB: 10_000, 40 * KB: 10_000, MB: 200, 100 * MB: 1}
# From this size on, a rate is bytes: so few requests end in a round that they cannot be counted.
BYTES_FROM: Final = MB


class Kind(enum.StrEnum):
    HIT = "hit"
    NOT_MODIFIED = "304"
    NEW_CONNECTION = "new connection per request"
    HANDSHAKE_FULL = "TLS 1.3 handshake, full"
    HANDSHAKE_RESUMED = "TLS 1.3 handshake, resumed"

    @property
    def is_handshake(self) -> bool:
        return self in {Kind.HANDSHAKE_FULL, Kind.HANDSHAKE_RESUMED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    protocol: Protocol
    objects: ObjectSet
    kind: Kind = Kind.HIT

    @property
    def name(self) -> str:
        if self.kind.is_handshake:
            return self.kind.value
        start = f"{self.protocol.value}, {self.objects.name}"
        return start if self.kind is Kind.HIT else f"{start}, {self.kind.value}"

    @property
    def connections(self) -> int:
        if self.kind.is_handshake:
            return 1
        if self.kind is Kind.NEW_CONNECTION:
            return _NEW_CONNECTIONS
        return _HTTP2_CONNECTIONS if self.protocol.is_http2 else _CONNECTIONS[self.objects.size]

    @property
    def streams(self) -> int:
        """Concurrent requests of one connection."""
        return _STREAMS[self.objects.size] if self.protocol.is_http2 else 1

    @property
    def counts_bytes(self) -> bool:
        return self.objects.size >= BYTES_FROM


def one(size: int) -> ObjectSet:
    return ObjectSet(size=size, count=1)


def many(size: int) -> ObjectSet:
    return ObjectSet(size=size, count=MANY[size])


_H1, _H2C, _TLS1, _TLS2 = Protocol
SMALL_H1: Final = Case(protocol=_H1, objects=many(2 * KB))
MIDDLE_H1: Final = Case(protocol=_H1, objects=one(40 * KB))
NOT_MODIFIED: Final = Case(protocol=_H1, objects=one(2 * KB), kind=Kind.NOT_MODIFIED)
MB_H1: Final = Case(protocol=_H1, objects=one(MB))
LARGE_H1: Final = Case(protocol=_H1, objects=one(100 * MB))
SMALL_H2C: Final = Case(protocol=_H2C, objects=many(2 * KB))
MIDDLE_H2C: Final = Case(protocol=_H2C, objects=one(40 * KB))
MB_H2C: Final = Case(protocol=_H2C, objects=one(MB))
SMALL_TLS_H2: Final = Case(protocol=_TLS2, objects=many(2 * KB))
MIDDLE_TLS_H2: Final = Case(protocol=_TLS2, objects=one(40 * KB))
SMALL_TLS_H1: Final = Case(protocol=_TLS1, objects=one(2 * KB))
MB_TLS_H1: Final = Case(protocol=_TLS1, objects=one(MB))
NEW_CONNECTION: Final = Case(protocol=_H1, objects=one(2 * KB), kind=Kind.NEW_CONNECTION)
FULL_HANDSHAKE: Final = Case(protocol=_TLS1, objects=one(2 * KB), kind=Kind.HANDSHAKE_FULL)
RESUMED_HANDSHAKE: Final = Case(protocol=_TLS1, objects=one(2 * KB), kind=Kind.HANDSHAKE_RESUMED)

TABLE: Final = (
    SMALL_H1, MIDDLE_H1, NOT_MODIFIED, MB_H1, LARGE_H1, SMALL_H2C, MIDDLE_H2C, MB_H2C,
    SMALL_TLS_H2, MIDDLE_TLS_H2, SMALL_TLS_H1, MB_TLS_H1, NEW_CONNECTION, FULL_HANDSHAKE,
    RESUMED_HANDSHAKE,
)  # fmt: skip


def matrix() -> tuple[Case, ...]:
    """Return every case: those of the table first."""
    hits = [
        Case(protocol=protocol, objects=objects)
        for protocol in Protocol
        for size in MANY
        for objects in dict.fromkeys((one(size), many(size)))
    ]
    return tuple(dict.fromkeys((*TABLE, *hits)))


def describe(case: Case) -> str:
    """Return one line for `--list`."""
    streams = f" of {case.streams} streams" if case.streams > 1 else ""
    return f"{case.name}: {case.connections} connections{streams}"

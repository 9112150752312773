"""The curve in the state database: its points for whoever asks, its state for the next keeper.

Rules:
1. Points are small and written by the minute; the state (29 bytes for each sampled object and 26
   for each ghost, twice, for it passes through the log) every `STATE_EVERY_S` and at the end.
   Either is replaced at once.
2. A state that this version does not write is none: the curve begins anew, and its old points stay
   until there are others.

    curve_state.blobs   29 bytes for each blob, little-endian: digest (8), length (8), last use in
                        Unix seconds (4), rank in Unix milliseconds (8), probation (1); coldest
                        first
    curve_state.memory  what the policy remembers, in its own form

Units: bytes, Unix seconds.
Does not: open the database (it is `ledger.LedgerDatabase`).
Runs in: keeper, commands (`read_curve`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from mirror.accounting.history import CurvePoint
from mirror.accounting.ledger import LedgerReading
from mirror.accounting.ledger_tables import Statement, Value
from mirror.accounting.small_store import HitSums, KnownBlob, StoreState

CURVE_TABLES: Final = """
CREATE TABLE IF NOT EXISTS curve_point (
    store_bytes INTEGER PRIMARY KEY, byte_hit_ratio REAL NOT NULL, request_hit_ratio REAL NOT NULL
);
DROP TABLE IF EXISTS curve_store;
CREATE TABLE IF NOT EXISTS curve_state (
    store_bytes INTEGER PRIMARY KEY, version INTEGER NOT NULL, saved_at REAL NOT NULL,
    scale_bytes INTEGER NOT NULL, counted_scale_bytes INTEGER NOT NULL,
    told_requests REAL NOT NULL, told_bytes REAL NOT NULL, requests REAL NOT NULL,
    content_bytes REAL NOT NULL, hits REAL NOT NULL, hit_bytes REAL NOT NULL, blobs BLOB NOT NULL,
    memory BLOB NOT NULL
);
"""
STATE_EVERY_S: Final = 900.0
_VERSION: Final = 2
_BLOB: Final = struct.Struct("<8sQIqB")
_READ_POINTS: Final = "SELECT * FROM curve_point ORDER BY store_bytes"
_READ_STORES: Final = """
SELECT store_bytes, scale_bytes, counted_scale_bytes, blobs, memory,
    told_requests, told_bytes, requests, content_bytes, hits, hit_bytes
FROM curve_state WHERE version = ? ORDER BY store_bytes
"""
_READ_SAVED_AT: Final = "SELECT max(saved_at) FROM curve_state"


def read_curve(database: LedgerReading) -> list[CurvePoint]:
    """Return the newest points, the smallest store first. Raises StoreError."""
    return [
        CurvePoint(store_bytes=size, byte_hit_ratio=in_bytes, request_hit_ratio=in_requests)
        for size, in_bytes, in_requests in database.rows(_READ_POINTS)
    ]


def put_points(points: Sequence[CurvePoint]) -> list[Statement]:
    """Return what replaces the points, if there are any."""
    if not points:
        return []
    rows = [(p.store_bytes, p.byte_hit_ratio, p.request_hit_ratio) for p in points]
    return [
        ("DELETE FROM curve_point", [()]),
        ("INSERT INTO curve_point VALUES (?, ?, ?)", rows),
    ]


def put_states(states: Sequence[StoreState], now: float) -> list[Statement]:
    """Return what replaces the state."""
    return [
        ("DELETE FROM curve_state", [()]),
        (
            "INSERT INTO curve_state VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [_row(state, now) for state in states],
        ),
    ]


def read_states(database: LedgerReading) -> list[StoreState]:
    """Raises: StoreError; ValueError for a state that is damaged."""
    rows = database.rows(_READ_STORES, (_VERSION,))
    return [
        _state(size, (scale, counted_scale), (blobs, memory), sums)
        for size, scale, counted_scale, blobs, memory, *sums in rows
    ]


def read_saved_at(database: LedgerReading) -> float | None:
    """Return when the state was written; None: there is none. Raises: StoreError."""
    saved_at: float | None = database.rows(_READ_SAVED_AT)[0][0]
    return saved_at


def _row(state: StoreState, now: float) -> Sequence[Value]:
    sums = state.sums
    blobs = b"".join(
        _BLOB.pack(
            blob.digest,
            blob.length_bytes,
            blob.used_at_ms // 1000,
            blob.rank_ms,
            blob.is_on_probation,
        )
        for blob in state.blobs
    )
    return (
        *(state.size_bytes, _VERSION, now, state.scale_bytes, state.counted_scale_bytes),
        *(sums.told_requests, sums.told_bytes, sums.requests, sums.content_bytes),
        *(sums.hits, sums.hit_bytes, blobs, state.memory),
    )


def _state(
    size: int, scales: tuple[int, int], kept: tuple[bytes, bytes], sums: Sequence[float]
) -> StoreState:
    told_requests, told_bytes, requests, content_bytes, hits, hit_bytes = sums
    try:
        known = tuple(
            KnownBlob(
                digest=digest,
                length_bytes=length,
                used_at_ms=used_at * 1000,
                rank_ms=rank_ms,
                is_on_probation=bool(is_new),
            )
            for digest, length, used_at, rank_ms, is_new in _BLOB.iter_unpack(kept[0])
        )
    except struct.error as exc:
        raise ValueError(f"the curve's blobs cannot be read: {exc}") from exc
    return StoreState(
        size_bytes=size,
        scale_bytes=scales[0],
        counted_scale_bytes=scales[1],
        sums=HitSums(
            told_requests=told_requests, told_bytes=told_bytes, requests=requests,
            content_bytes=content_bytes, hits=hits, hit_bytes=hit_bytes,
        ),
        blobs=known,
        memory=kept[1],
    )  # fmt: skip

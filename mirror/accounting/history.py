"""What the ledger says of a time span: the read side that reports, metrics and dashboard share.

Rules:
1. A span is half-open, `[since, until)`, in Unix seconds; a line counts for the step that it
   begins in.
2. What processes have counted since the last roll-up belongs to the present minute, hour and day:
   `LedgerHistory` adds it, so that figures are of this moment.

Runs in: keeper and commands. Declarations only.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Step(enum.Enum):
    """How finely lines are summed; coarser ones are kept longer."""

    MINUTE = 60
    HOUR = 3600
    DAY = 86400  # of UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedLine:
    """`columns` has every name of `layout.SERVED_COLUMNS`."""

    at: int
    content_class: str
    outcome: str
    group: str
    columns: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedLine:
    """`upstream` is a configured URL; `columns` has every name of `layout.FETCHED_COLUMNS`."""

    at: int
    content_class: str
    upstream: str
    columns: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectLine:
    """One of the most requested objects of a span; figures are lower bounds, off by `error` at
    most (a bounded sketch counts them)."""

    key: str
    requests: int
    content_bytes: int
    error: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadLine:
    """Served downloads of one version of one crate; `day` is its first second."""

    day: int
    crate: str
    version: str
    downloads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """What a store of `store_bytes` would have answered from disk; ratios from 0 to 1."""

    store_bytes: int
    byte_hit_ratio: float
    request_hit_ratio: float


class History(Protocol):
    """`accounting.ledger_history.LedgerHistory`. Raises: StoreError."""

    def served(self, since: float, until: float, step: Step) -> Sequence[ServedLine]: ...

    def fetched(self, since: float, until: float, step: Step) -> Sequence[FetchedLine]: ...

    def served_by_day(self, since: float, until: float) -> Mapping[int, int]:
        """Return the content bytes sent on each complete day, but for what has no content class.

        For spans of years: it is summed where it is kept, and no line is built.
        """

    def objects(self, since: float, until: float, limit: int) -> Sequence[ObjectLine]: ...

    def downloads(self, since: float, until: float) -> Sequence[DownloadLine]: ...

    def curve(self) -> Sequence[CurvePoint]:
        """Return the newest miss-ratio curve; empty while too little was seen."""

    def first_at(self) -> int | None:
        """Return when counting began; None: nothing was counted yet."""

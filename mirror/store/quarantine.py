"""Bytes that disagreed with what their publisher said: kept for a look, bounded, never served.

Rules:
1. The newest stay; the oldest go when the bytes pass the budget or the number `MAX_RECORDS`.
2. Bytes that alone pass the budget are not kept; their reason still is.
3. Quarantining must not fail the caller: what cannot be moved is removed.
4. They go after `keep_s` (`expire`), or as soon as a good object of one of their keys is stored
   (`clear`): then nothing is left to look into that the event does not say.
5. The same bytes for the same keys lie here once, as they came last: an upstream that repeats one
   bad object, every few seconds, does not push out what else is to be looked at.
6. The keys are also held in memory, so that storing an object costs one look into a map.

Units: bytes, Unix seconds.
Runs in: keeper; callers hold the store's lock, except for `concerns`, `summary` and the sizes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from mirror.store.files import Files, read_all, replace_file, unlink_if_there
from mirror.store.layout import RECORD_SUFFIX, Layout
from mirror.store.points import Point, passed
from mirror.store.tally import NoTally, StoreTally

MAX_RECORDS = 1000  # a broken upstream path could otherwise fill a directory
SHOWN_REASONS = 10
_RECORD_LIMIT_BYTES = 65536  # 16 keys of at most 500 characters, twice over


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a file lies here; `got` is the digest of its bytes."""

    keys: tuple[str, ...]
    expected: str
    got: str
    length: int
    reason: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineSummary:
    """What operators see: how much lies there, since when, and the newest reasons."""

    count: int
    used_bytes: int
    oldest_at: float | None
    newest: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """One name; `size` is that of the bytes kept, 0 when only the reason is."""

    size: int
    reason: Reason


class Quarantine:
    """The directory of quarantined files."""

    def __init__(
        self,
        files: Files,
        layout: Layout,
        budget_bytes: int,
        keep_s: float = float("inf"),
        tally: StoreTally | None = None,
    ) -> None:
        self._files = files
        self._layout = layout
        self._budget_bytes = budget_bytes
        self._keep_s = keep_s
        self._tally = tally or NoTally()
        self._records: dict[str, _Record] = {}
        self._names: dict[str, set[str]] = {}  # key -> names

    @property
    def used_bytes(self) -> int:
        return sum(record.size for record in list(self._records.values()))

    def __len__(self) -> int:
        return len(self._records)

    def concerns(self, key: str) -> bool:
        """Say whether bytes that came for `key` lie here."""
        return key in self._names

    def summary(self) -> QuarantineSummary:
        reasons = [record.reason for record in list(self._records.values())]
        newest = sorted(reasons, key=lambda reason: reason.at, reverse=True)
        return QuarantineSummary(
            count=len(reasons),
            used_bytes=self.used_bytes,
            oldest_at=newest[-1].at if newest else None,
            newest=tuple(newest[:SHOWN_REASONS]),
        )

    def load(self) -> None:
        """Count what lies there. Raises OSError."""
        root = self._layout.quarantine
        names = set(self._files.list_directory(root))
        for base in sorted({name.removesuffix(RECORD_SUFFIX) for name in names}):
            size = self._size(f"{root}/{base}") if base in names else 0
            self._add(base, _Record(size=size, reason=self._read_reason(base, size)))
        self._trim()

    def take(self, path: str, reason: Reason) -> None:
        """Move the file at `path` here, or remove it when that cannot be."""
        name = f"{int(reason.at * 1000):015d}-{reason.got[:16] or 'none'}"
        target = f"{self._layout.quarantine}/{name}"
        earlier = self._like(reason) - {name}
        try:
            replace_file(
                self._files, target + RECORD_SUFFIX, msgspec.json.encode(reason), durable=False
            )
            self._add(name, _Record(size=0, reason=reason))
            passed(Point.QUARANTINE_REASONED)
            if reason.length <= self._budget_bytes:
                self._files.rename(path, target)
                self._add(name, _Record(size=reason.length, reason=reason))
            for other in earlier:
                self._remove(other)
        except OSError:
            pass  # rule 3
        with contextlib.suppress(OSError):
            unlink_if_there(self._files, path)
        passed(Point.QUARANTINE_MOVED)
        self._tally.quarantined()
        self._trim()

    def clear(self, keys: Iterable[str], before_at: float) -> list[Reason]:
        """Remove what came for one of `keys` up to `before_at`; return why it lay here.

        The caller has stored a good object under each of `keys`.
        """
        names = {name for key in keys for name in self._names.get(key, ())}
        found = sorted(name for name in names if self._records[name].reason.at <= before_at)
        return [self._remove(name).reason for name in found]

    def expire(self, now: float) -> int:
        """Remove what lies here longer than `keep_s`; return how many."""
        expired = self._expired(now)
        for name in expired:
            self._remove(name)
        return len(expired)

    def count_expired(self, now: float) -> int:
        return len(self._expired(now))

    def _expired(self, now: float) -> list[str]:
        return [
            name for name, record in self._records.items() if record.reason.at + self._keep_s <= now
        ]

    def _like(self, reason: Reason) -> set[str]:
        """Return the names of records of these very bytes for these keys."""
        if not reason.got:
            return set()  # nobody could read them
        names = {name for key in reason.keys for name in self._names.get(key, ())}
        records = {name: self._records[name].reason for name in names}
        return {
            name
            for name, other in records.items()
            if (other.got, other.keys) == (reason.got, reason.keys)
        }

    def _trim(self) -> None:
        used_bytes = self.used_bytes
        for name in sorted(self._records):
            if used_bytes <= self._budget_bytes and len(self._records) <= MAX_RECORDS:
                return
            used_bytes -= self._remove(name).size

    def _add(self, name: str, record: _Record) -> None:
        if name in self._records:  # the same bytes within one millisecond
            self._forget(name)
        self._records[name] = record
        for key in record.reason.keys:
            self._names.setdefault(key, set()).add(name)

    def _remove(self, name: str) -> _Record:
        for path in (name, name + RECORD_SUFFIX):
            with contextlib.suppress(OSError):
                unlink_if_there(self._files, f"{self._layout.quarantine}/{path}")
        return self._forget(name)

    def _forget(self, name: str) -> _Record:
        record = self._records.pop(name)
        for key in record.reason.keys:
            names = self._names.get(key, set())
            names.discard(name)
            if not names:
                self._names.pop(key, None)
        return record

    def _read_reason(self, base: str, size: int) -> Reason:
        """Return the record beside a file; without one, what its name says."""
        path = f"{self._layout.quarantine}/{base}{RECORD_SUFFIX}"
        try:
            content = read_all(self._files, path, _RECORD_LIMIT_BYTES)
            return msgspec.json.decode(content, type=Reason)
        except (OSError, ValueError):  # msgspec's errors are ValueErrors
            at_ms = base.partition("-")[0]
            at = int(at_ms) / 1000 if at_ms.isdigit() and len(at_ms) <= 15 else 0.0
            unknown = "its record is not readable"
            return Reason(keys=(), expected="", got="", length=size, reason=unknown, at=at)

    def _size(self, path: str) -> int:
        try:
            return self._files.identify_path(path).size
        except OSError:
            return 0

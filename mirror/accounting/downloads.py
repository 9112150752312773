"""Served downloads of crates, by day and version: what their authors are told.

Rules:
1. Only numbers: no address, no user agent, no time of day.
2. Counts are written in numbered batches; the number is written in the same transaction. When a
   transaction fails, the kept number says whether it happened all the same: nothing is added twice,
   and a keeper that is killed loses what came since the last batch.
3. A version without a kept day is forgotten: `last_day` says so without looking at all days.
4. At most `pending_max` versions wait for a transaction; more than that are counted as refused.

Units: `day` is its first second in Unix time.
Does not: decide what a download is (`uses.Use.downloads` says), or open the database.
Runs in: keeper (`DownloadCounts`), commands (`read_downloads`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mirror.accounting.history import DownloadLine
from mirror.accounting.ledger import LedgerReading
from mirror.accounting.ledger_tables import Statement
from mirror.accounting.uses import Use

# Versions by number: a row of a day takes some 15 bytes, and names are kept once.
DOWNLOAD_TABLES: Final = """
CREATE TABLE IF NOT EXISTS download_version (
    id INTEGER PRIMARY KEY, crate TEXT NOT NULL, version TEXT NOT NULL,
    last_day INTEGER NOT NULL, UNIQUE (crate, version)
);
CREATE INDEX IF NOT EXISTS download_version_last_day ON download_version (last_day);
CREATE TABLE IF NOT EXISTS download_day (
    day INTEGER NOT NULL, version INTEGER NOT NULL, downloads INTEGER NOT NULL,
    PRIMARY KEY (day, version)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS download_batch (number INTEGER PRIMARY KEY);
"""
PENDING_MAX: Final = 1 << 16  # some 16 MB; a minute of a thousand different versions a second
EXPIRED_AT_ONCE: Final = 20_000  # rows in one transaction; the next minute goes on

_ADD_VERSION: Final = """
INSERT INTO download_version (crate, version, last_day) VALUES (?, ?, ?)
ON CONFLICT (crate, version) DO UPDATE SET last_day = excluded.last_day
WHERE last_day < excluded.last_day
"""
_ADD_DOWNLOADS: Final = """
INSERT INTO download_day SELECT ?, id, ? FROM download_version WHERE crate = ? AND version = ?
ON CONFLICT (day, version) DO UPDATE SET downloads = downloads + excluded.downloads
"""
_PUT_BATCH: Final = "UPDATE download_batch SET number = ?"
_FIRST_BATCH: Final = (
    "INSERT INTO download_batch SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM download_batch)"
)
_READ_BATCH: Final = "SELECT number FROM download_batch"
_EXPIRE: Final = """
DELETE FROM download_day WHERE (day, version) IN (
    SELECT day, version FROM download_day WHERE day < ? LIMIT ?
)
"""
# Only when all expired rows are gone: a number that is given again must not find a former one's.
_EXPIRE_VERSIONS: Final = """
DELETE FROM download_version WHERE id IN (
    SELECT id FROM download_version WHERE last_day < ?1
    AND NOT EXISTS (SELECT 1 FROM download_day WHERE day < ?1) LIMIT ?2
)
"""
_READ: Final = """
SELECT d.day, v.crate, v.version, d.downloads
FROM download_day d JOIN download_version v ON v.id = d.version
WHERE d.day >= ? AND d.day < ? ORDER BY d.day, v.crate, v.version
"""
_PREFIX: Final = "crates:/crates/"
_SUFFIX: Final = ".crate"


@dataclass(frozen=True, slots=True)
class DownloadKey:
    day: int
    crate: str
    version: str


def read_downloads(database: LedgerReading, since: float, until: float) -> list[DownloadLine]:
    """Return the downloads of the days that begin in the span, in order of day, crate, version.

    Raises: StoreError.
    """
    return [
        DownloadLine(day=day, crate=crate, version=version, downloads=downloads)
        for day, crate, version, downloads in database.rows(_READ, (since, until))
    ]


def read_batch(database: LedgerReading) -> int:
    """Return the number of the last batch that was written. Raises StoreError."""
    rows = database.rows(_READ_BATCH)
    return int(rows[0][0]) if rows else 0


class DownloadCounts:
    """What was not written yet; `written_batch` as `read_batch` says."""

    def __init__(self, written_batch: int, pending_max: int = PENDING_MAX) -> None:
        self._pending: Counter[DownloadKey] = Counter()
        self._batch: Counter[DownloadKey] = Counter()  # given to be written, not confirmed yet
        self._written_batch = written_batch
        self._pending_max = pending_max
        self.refused = 0  # rule 4

    def __len__(self) -> int:
        return len(self._pending) + len(self._batch)

    @property
    def is_batch_out(self) -> bool:
        """Whether `settle` must be called before the next `take`."""
        return bool(self._batch)

    def used(self, uses: Sequence[Use], day: int) -> None:
        for use in uses:
            if use.downloads > 0:
                self._add(use, day)

    def take(self) -> list[Statement]:
        """Return what writes the next batch; `settle` says later whether it was written."""
        if self._batch:
            raise RuntimeError("the last batch is not settled")
        self._batch, self._pending = self._pending, Counter()
        if not self._batch:
            return []
        counts = [(k.day, count, k.crate, k.version) for k, count in self._batch.items()]
        return [
            (_FIRST_BATCH, [()]),
            (_PUT_BATCH, [(self._written_batch + 1,)]),
            (_ADD_VERSION, [(k.crate, k.version, k.day) for k in self._batch]),
            (_ADD_DOWNLOADS, counts),
        ]

    def settle(self, written_batch: int) -> None:
        """Give the batch up if it was written, else count it with what waits."""
        if written_batch == self._written_batch:
            self._pending.update(self._batch)
        self._written_batch = written_batch
        self._batch = Counter()

    def _add(self, use: Use, day: int) -> None:
        named = crate_version_of(use.key)
        if named is None:
            return
        key = DownloadKey(day, *named)
        if key in self._pending or len(self) < self._pending_max:
            self._pending[key] += use.downloads
        else:
            self.refused += use.downloads


def crate_version_of(key: str) -> tuple[str, str] | None:
    """Return name and version of a crate's key, `crates:/crates/{name}/{name}-{version}.crate`."""
    if not (key.startswith(_PREFIX) and key.endswith(_SUFFIX)):
        return None
    name, _, file = key[len(_PREFIX) : -len(_SUFFIX)].partition("/")
    if not name or not file.startswith(name + "-"):
        return None
    return name, file[len(name) + 1 :]


def expire_downloads(before_day: int, at_once: int = EXPIRED_AT_ONCE) -> list[Statement]:
    limits = [(before_day, at_once)]
    return [(_EXPIRE, limits), (_EXPIRE_VERSIONS, limits)]

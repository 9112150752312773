"""The most requested objects of each day: counted in a sketch, kept in the state database.

Rules:
1. Each day of UTC has a sketch of its own. What is kept of it are its first `listed` keys and the
   most that any other key may have had (`unlisted`), so that sums over days know their error.
2. Requests that workers could not tell one by one (`LeftOut`) may be anybody's: they belong to the
   error of every key of that day.
3. A keeper that starts goes on with the day's list; the keys below it begin at `unlisted`.
4. A day that has ended is written once more and then let go of.

Units: `day` is its first second in Unix time.
Does not: open the database (it is `ledger.LedgerDatabase`).
Runs in: keeper (`ObjectDays`), commands (`read_objects`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mirror.accounting.frequent import Frequent, FrequentKeys
from mirror.accounting.history import ObjectLine
from mirror.accounting.ledger import LedgerReading
from mirror.accounting.ledger_tables import Statement
from mirror.accounting.uses import LeftOut, Use

OBJECT_TABLES: Final = """
CREATE TABLE IF NOT EXISTS object_day (
    day INTEGER PRIMARY KEY, unlisted INTEGER NOT NULL, left_out INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS object_use (
    day INTEGER NOT NULL, key TEXT NOT NULL, requests INTEGER NOT NULL,
    content_bytes INTEGER NOT NULL, error INTEGER NOT NULL, PRIMARY KEY (day, key)
) WITHOUT ROWID;
"""
# So that a key's error is at most a thousandth of the day's requests, and far less for few keys.
_COUNTED_MIN: Final = 1024
_COUNTED_FOR_ONE_LISTED: Final = 4

_FORGET_USES: Final = "DELETE FROM object_use WHERE day = ?"
_PUT_DAY: Final = "INSERT OR REPLACE INTO object_day VALUES (?, ?, ?)"
_PUT_USE: Final = "INSERT INTO object_use VALUES (?, ?, ?, ?, ?)"
_EXPIRE: Final = (
    "DELETE FROM object_use WHERE day < ?",
    "DELETE FROM object_day WHERE day < ?",
)
_READ_DAY: Final = "SELECT unlisted, left_out FROM object_day WHERE day = ?"
_READ_USES: Final = "SELECT key, requests, content_bytes, error FROM object_use WHERE day = ?"
# For the days on which a key is not listed, it may have had what any unlisted one may have had.
_READ_OBJECTS: Final = """
SELECT u.key, sum(u.requests) AS requests, sum(u.content_bytes),
    sum(u.error - d.unlisted)
    + (SELECT sum(unlisted + left_out) FROM object_day WHERE day >= ?1 AND day < ?2)
FROM object_use u JOIN object_day d ON d.day = u.day
WHERE u.day >= ?1 AND u.day < ?2
GROUP BY u.key ORDER BY requests DESC, u.key LIMIT ?3
"""


def read_objects(
    database: LedgerReading, since: float, until: float, limit: int
) -> list[ObjectLine]:
    """Return the most requested objects of the days that begin in the span. Raises StoreError."""
    return [
        ObjectLine(key=key, requests=requests, content_bytes=content_bytes, error=error)
        for key, requests, content_bytes, error in database.rows(
            _READ_OBJECTS, (since, until, limit)
        )
    ]


@dataclass(slots=True, kw_only=True)
class _Day:
    day: int
    keys: FrequentKeys
    left_out: int = 0
    is_changed: bool = False


class ObjectDays:
    """`listed`: how many keys of a day are kept; 0: none, and nothing is counted."""

    def __init__(self, listed: int) -> None:
        self._listed = listed
        self._capacity = max(_COUNTED_MIN, _COUNTED_FOR_ONE_LISTED * listed)
        self._days: dict[int, _Day] = {}  # the last is the present; the others were not written yet

    def restore(self, database: LedgerReading, day: int) -> None:
        """Go on with what was kept of `day`. Raises StoreError."""
        if not self._listed:
            return
        for unlisted, left_out in database.rows(_READ_DAY, (day,)):
            known = [
                Frequent(key=key, requests=requests, content_bytes=content_bytes, error=error)
                for key, requests, content_bytes, error in database.rows(_READ_USES, (day,))
            ]
            keys = FrequentKeys(self._capacity, known, unlisted)
            self._days[day] = _Day(day=day, keys=keys, left_out=left_out)

    def used(self, uses: Sequence[Use], left_out: LeftOut, day: int) -> None:
        if not self._listed:
            return
        counted = self._days.get(day)
        if counted is None:
            counted = self._days[day] = _Day(day=day, keys=FrequentKeys(self._capacity))
        counted.is_changed = True
        counted.left_out += left_out.requests
        for use in uses:
            counted.keys.add(use.key, use.requests, use.content_bytes)

    def statements(self) -> list[Statement]:
        """Return what writes the days that have changed; call `written` or `not_written` then."""
        statements: list[Statement] = []
        for each in self._days.values():
            if each.is_changed:
                listed, unlisted = each.keys.top(self._listed)
                each.is_changed = False
                statements += [
                    (_FORGET_USES, [(each.day,)]),
                    (_PUT_DAY, [(each.day, unlisted, each.left_out)]),
                    (
                        _PUT_USE,
                        [(each.day, f.key, f.requests, f.content_bytes, f.error) for f in listed],
                    ),
                ]
        return statements

    def written(self, present_day: int) -> None:
        """Let go of days that are over, unless they have changed since `statements`."""
        self._days = {
            day: each for day, each in self._days.items() if each.is_changed or day >= present_day
        }

    def not_written(self) -> None:
        """Have the next `statements` write every day again."""
        for each in self._days.values():
            each.is_changed = True


def expire_objects(before_day: int) -> list[Statement]:
    return [(sql, [(before_day,)]) for sql in _EXPIRE]

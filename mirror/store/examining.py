"""A bounded look at a database file, for whoever wants to know whether it is sound.

Rules:
1. Nothing is written, also not beside the file: one that nobody has open (no log beside it) is read
   as immutable; any other one is read as a worker reads it.
2. Looking ends after the time allowed; what was read until then was sound.

Units: seconds.
Runs in: commands.
"""

from __future__ import annotations

import enum
import os
import time
from dataclasses import dataclass
from urllib.parse import quote

import apsw

from mirror.errors import StoreError
from mirror.store.connections import DatabaseDamagedError, connect_reader, database_errors

_STEPS_PER_ASK = 20_000  # of SQLite's machine: about a millisecond
_BUSY_MS = 1000


class Outcome(enum.Enum):
    SOUND = enum.auto()
    UNFINISHED = enum.auto()
    ABSENT = enum.auto()
    DAMAGED = enum.auto()
    OTHER = enum.auto()
    UNREADABLE = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What was found; `reason` in SQLite's words, or the system's."""

    outcome: Outcome
    reason: str = ""


def examine(path: str, versions: range, limit_s: float) -> Examined:
    """Read every page of the database at `path`, whose `user_version` should be in `versions`."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Examined(outcome=Outcome.ABSENT)
    except OSError as exc:
        return Examined(outcome=Outcome.UNREADABLE, reason=exc.strerror or "cannot be read")
    if not os.access(path, os.R_OK):
        return Examined(outcome=Outcome.UNREADABLE, reason="may not be read by this user")
    try:
        with database_errors(path):
            return _read(path, versions, time.monotonic() + limit_s)
    except DatabaseDamagedError as exc:
        return Examined(outcome=Outcome.DAMAGED, reason=exc.message.partition(path)[2].lstrip(": "))
    except StoreError as exc:
        return Examined(
            outcome=Outcome.UNREADABLE, reason=exc.message.partition(path)[2].lstrip(": ")
        )


def sqlite_version() -> str:
    """Return the version of the SQLite that comes with this program."""
    return apsw.sqlite_lib_version()


def _read(path: str, versions: range, deadline_at: float) -> Examined:
    connection = _opened(path)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchall()[0]
        if version not in versions:
            stated = f"version {version}, this one keeps {versions[-1]}"
            return Examined(outcome=Outcome.OTHER, reason=stated)
        connection.set_progress_handler(lambda: time.monotonic() > deadline_at, _STEPS_PER_ASK)
        rows = connection.execute("PRAGMA quick_check(1)").fetchall()
    except apsw.InterruptError:
        return Examined(outcome=Outcome.UNFINISHED)
    finally:
        connection.close(True)
    if rows != [("ok",)]:
        return Examined(outcome=Outcome.DAMAGED, reason=str(rows[0][0])[:200])
    return Examined(outcome=Outcome.SOUND)


def _opened(path: str) -> apsw.Connection:
    if os.path.exists(f"{path}-wal"):
        connection = connect_reader(path)
        connection.set_busy_timeout(_BUSY_MS)
        return connection
    name = f"file:{quote(path)}?immutable=1"
    return apsw.Connection(name, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)

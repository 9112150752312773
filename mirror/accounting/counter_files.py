"""All counters files of a state directory: reading them, and removing what has served its time.

Rules:
1. A file that cannot be read is told and left out; the others count.
2. Of two files with one id (somebody copied one) the first by name counts, the other is told.
3. A file is removed under the lock that its process would hold, if it is still the one at its path
   and still says what the ledger took in. Who opened it meanwhile sees that it is gone
   (`counters`), and takes another one:
   1. a worker opens the file and waits for nothing
   2. the keeper locks it, finds it unchanged, unlinks it and lets go
   3. the worker gets the lock, and finds another file or none at the path

Runs in: keeper and commands.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass

from mirror.accounting.counters import CounterFile, counter_paths, read_counters
from mirror.errors import StoreError

# In bytes an exabyte, years of a full 100 Gbit/s line; SQLite's integers hold the sum of seven.
MAX_COUNT = 1 << 60


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterFiles:
    """What could be read, by path, and what could not."""

    files: Sequence[CounterFile]
    refused: Sequence[StoreError]


def read_counter_files(state_path: str) -> CounterFiles:
    """Read them all; processes may go on counting meanwhile."""
    files: dict[str, CounterFile] = {}
    refused: list[StoreError] = []
    for path in counter_paths(state_path):
        try:
            file = read_counters(path)
        except StoreError as exc:
            refused.append(exc)
            continue
        if file is None:
            continue
        if max(file.cells, default=0) > MAX_COUNT:
            refused.append(_refused(path, "counts more than there can be", "move it away"))
        elif (first := files.setdefault(file.id, file)) is not file:
            refused.append(_refused(path, f"is a copy of {first.path}", "remove it"))
    return CounterFiles(files=tuple(files.values()), refused=tuple(refused))


def remove_rolled_up(file: CounterFile) -> bool:
    """Remove the file if no process uses it and it says what `file` says, which the ledger has.

    Returns False, and leaves it for another time, where anything stands against it.
    """
    with contextlib.suppress(OSError, StoreError):
        descriptor = os.open(file.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The path is read again under the lock: it may name another file than was opened.
            if read_counters(file.path) != file or not _is_at(file.path, descriptor):
                return False
            os.unlink(file.path)
            return True
        finally:
            os.close(descriptor)
    return False


def _is_at(path: str, descriptor: int) -> bool:
    return os.stat(path).st_ino == os.fstat(descriptor).st_ino


def _refused(path: str, reason: str, hint: str) -> StoreError:
    return StoreError(path, reason, hint=hint, noun="state", retryable=False)

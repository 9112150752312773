"""Opens the ledger for commands, whether a keeper runs or not.

Runs in: commands.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import click

from mirror.accounting.counter_files import read_counter_files
from mirror.accounting.counters import CounterFile
from mirror.accounting.ledger_history import LedgerHistory
from mirror.clock import SystemClock
from mirror.store.state import STATE_NAME
from mirror.store.state_reader import StateReader


@contextlib.contextmanager
def open_history(state_path: str) -> Iterator[LedgerHistory]:
    """Open the history of a state directory; a counters file that cannot be read is warned of.

    Raises: StoreError where no mirror has counted yet, or the database cannot be read.
    """
    warned: set[str] = set()

    def live() -> tuple[CounterFile, ...]:
        found = read_counter_files(state_path)
        for refused in found.refused:
            if refused.source not in warned:
                warned.add(refused.source)
                click.echo(f"warning: not counted: {refused}", err=True)
        return tuple(found.files)

    with StateReader.open(os.path.join(state_path, STATE_NAME)) as database:
        yield LedgerHistory(database, live, SystemClock())

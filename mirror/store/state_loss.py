"""A state database that is gone while the store has objects: told, and remembered.

What is lost with it, precisely:
1. The ledger: what was served and saved before, and the accounts of objects.
2. The newest date per channel. That of a stored manifest is taken from it at the next look; of
   another channel the first manifest that comes is taken.
3. The histories of crates: that a version was deleted, and which checksum it had first. What comes
   first is taken; what is stored stays as it was verified.
4. The noted pins and modes of [trust]: the stored generations are proved anew at this start.
Nothing that is stored becomes unverified by it, and nothing is fetched again.

Does not: bring anything back; that is a backup's.
Runs in: keeper.
"""

from __future__ import annotations

import os

from mirror.clock import Clock
from mirror.events import EventLog
from mirror.store.state import STATE_NAME, StateDatabase

_LOST_FACT = "lost-at"


def is_there(state_path: str) -> bool:
    """Say whether there is a state database; ask before one is opened, which makes it."""
    return os.path.exists(os.path.join(state_path, STATE_NAME))


def note_loss(state: StateDatabase, clock: Clock, log: EventLog) -> None:
    """Tell that this database is an empty one beside a store that is not. Raises StoreError."""
    state.set_fact(_LOST_FACT, str(clock.now()))
    log.warning("state-lost")


def lost_at(state: StateDatabase) -> float | None:
    """Return when it was found lost, in Unix seconds; None: it never was. Raises StoreError."""
    noted = state.fact(_LOST_FACT)
    return None if noted is None else float(noted)

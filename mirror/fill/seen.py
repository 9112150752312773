"""What the keys of an ask name, with files that are the attested ones.

Rules:
1. A file that is not the attested one is hashed: recorded anew, or quarantined.
2. What is returned was looked up in the running turn of the loop. A look-up costs the loop 20 us
   and a wait for the interpreter lock while a commit runs (7 per small miss were a fifth of what
   the keeper does for it), so an ask looks once.

Runs in: keeper.
"""

from __future__ import annotations

from collections.abc import Sequence

from mirror.errors import StoreError
from mirror.events import EventLog
from mirror.fill.desk import StoreDesk
from mirror.store.entry import Stored

Seen = dict[str, Stored | None]


async def see_intact(desk: StoreDesk, keys: Sequence[str], log: EventLog) -> Seen | None:
    """Look up `keys`; None: some file had to be hashed, so look again."""
    seen: Seen | None = {}
    for key in keys:
        stored = desk.lookup(key)
        if stored is None or desk.is_intact(stored):
            if seen is not None:
                seen[key] = stored
            continue
        seen = None
        try:
            await desk.attest(stored)
        except StoreError as exc:
            # Then it is as good as absent, and upstream is asked.
            if exc.trouble is None:
                log.warning("not-attested", key=key, reason=str(exc))
    return seen

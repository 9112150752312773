"""Stored crates that the index does not vouch for.

Rules:
1. A stored crate is disowned unless the index lists its version with its digest.
2. At the keeper's start every crate with a deletion or a change in its history is looked at: a
   crash may have come between the durable word and the withdrawal.

Runs in: keeper.
"""

from __future__ import annotations

from collections.abc import Mapping

from mirror.errors import VerificationError
from mirror.events import EventLog
from mirror.fill.crate_events import tell_withdrawn
from mirror.fill.ports import MetadataDoor, TrustState
from mirror.route.crates import crate_of
from mirror.route.match import route_of_key
from mirror.store.entry import Entry
from mirror.verify.crate_history import CrateHistory, unpack


def prefix_of(name: str) -> str:
    """Return what the keys of a crate begin with; `name` as published, in its own case."""
    return f"crates:/crates/{name}/"


def is_disowned(entry: Entry, versions: Mapping[str, bytes]) -> bool:
    """Whether `versions`, what the index lists, lack the stored crate with this digest."""
    route = route_of_key(entry.key)
    crate = None if route is None else crate_of(route)
    return crate is None or versions.get(crate.version) != entry.digest


def withdraw_disowned(store: MetadataDoor, trust: TrustState, log: EventLog) -> None:
    """Withdraw what histories disown. Blocks on the disk. Raises StoreError."""
    for name in trust.marked_crates():
        record = trust.crate_record(name)
        try:
            history = None if record is None else unpack(record, name)
        except VerificationError as exc:
            # Its index file cannot be judged either, and says so whenever it is asked for.
            log.error("crate-record-damaged", name=name, reason=str(exc))
            continue
        if history is not None:
            _withdraw(store, history, log)


def _withdraw(store: MetadataDoor, history: CrateHistory, log: EventLog) -> None:
    keys = [
        entry.key
        for entry in store.entries_of_prefix(prefix_of(history.name))
        if is_disowned(entry, history.live)
    ]
    if keys:
        store.withdraw(keys)
        tell_withdrawn(log, history.name, keys)

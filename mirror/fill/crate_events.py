"""What operators are told about crates: deletions, returns and withdrawals.

Rules:
1. Lists are cut at `NAMED_MAX`, with the whole count beside them.
2. A version that came back with other bytes is told on its own, with both digests.

Does not: tell of what is held (`fill.held`).
Runs in: keeper.
"""

from __future__ import annotations

from collections.abc import Sequence

from mirror.events import EventLog
from mirror.verify.crate_history import Judgement

NAMED_MAX = 16


def tell_judgement(log: EventLog, judgement: Judgement) -> None:
    """Tell what an index file that is taken over deletes, lifts and registers again."""
    name = judgement.history.name
    if judgement.deleted:
        _tell_versions(log, "crates-deleted", name, judgement.deleted)
    if judgement.lifted:
        _tell_versions(log, "crates-listed-again", name, judgement.lifted)
    for change in judgement.registered_again[:NAMED_MAX]:
        log.warning(
            "crate-reregistered",
            name=name,
            version=change.release.version,
            before=change.before.hex(),
            cksum=change.release.cksum.hex(),
            count=len(judgement.registered_again),
        )


def tell_withdrawn(log: EventLog, name: str, keys: Sequence[str]) -> None:
    log.warning("crates-withdrawn", crate=name, keys=keys[:NAMED_MAX], count=len(keys))


def _tell_versions(log: EventLog, event: str, name: str, versions: Sequence[str]) -> None:
    log.warning(event, name=name, versions=versions[:NAMED_MAX], count=len(versions))

"""What waits to be committed with others: contents, records, and who waits for them.

Does not: write, or decide what goes together (`desk`). Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from mirror.store.entry import Entry, Stored


@dataclass(slots=True, kw_only=True)
class Commit:
    """What one call gives: it is never split."""

    puts: Sequence[tuple[Entry, bytes]] = ()
    records: Sequence[Entry] = ()
    done: asyncio.Future[list[Stored]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def nbytes(self) -> int:
        return sum(len(content) for _, content in self.puts)

    def settle(self, result: list[Stored] | Exception) -> None:
        """Tell who waits, unless they were cancelled."""
        if self.done.done():
            return
        if isinstance(result, Exception):
            self.done.set_exception(result)
            self.done.exception()  # marked as seen: its asker may have been cancelled
        else:
            self.done.set_result(result)


def lasting_records(group: Sequence[Commit]) -> list[Entry]:
    """The records of the group, which are written behind its contents: without those of a key that
    a later commit gives other content."""
    lasting: list[list[Entry]] = []
    replaced: set[str] = set()
    for commit in reversed(group):
        lasting.append([entry for entry in commit.records if entry.key not in replaced])
        replaced.update(entry.key for entry, _ in commit.puts)
    return [entry for records in reversed(lasting) for entry in records]

"""The sum over all counters files: what was served, what was fetched, what that saved.

Rules:
1. Absent files count nothing; a file that cannot be read is an error, for its sums would be
   missing.
2. Saved is content sent minus content received, per class; it is negative while the store warms
   up with objects that nobody asked for twice, and that is said, not hidden.

Units: bytes of content (RFC 9110), and of heads where named so.
Runs in: keeper, commands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from mirror.accounting.counters import counter_paths, read_counters
from mirror.accounting.layout import OTHER, CellName, Outcome
from mirror.route.route import ContentClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    requests: int
    content_bytes: int
    head_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    requests: int
    content_bytes: int
    not_modified: int


class Totals:
    """Sums by name; see `layout`. Whoever asks for rows has them summed then: metrics do not."""

    def __init__(self, named: Mapping[CellName, int]) -> None:
        self.named = named

    @cached_property
    def _served(self) -> Counter[tuple[str, str, str]]:
        """By class, outcome, column."""
        sums: Counter[tuple[str, str, str]] = Counter()
        for name, value in self.named.items():
            if name[0] == "served":
                _, _group, content_class, outcome, column = name
                sums[content_class, outcome, column] += value
        return sums

    @cached_property
    def _fetched(self) -> Counter[tuple[str, str]]:
        """By class, column."""
        sums: Counter[tuple[str, str]] = Counter()
        for name, value in self.named.items():
            if name[0] == "fetched":
                _, _url, content_class, column = name
                sums[content_class, column] += value
        return sums

    def served(self, content_class: ContentClass | None, outcome: Outcome | None = None) -> Served:
        """Return one row, or (outcome None) the sum of the class; class None: no content class."""
        word = OTHER if content_class is None else content_class.value
        outcomes = [each.value for each in (Outcome if outcome is None else (outcome,))]

        def total(column: str) -> int:
            return sum(self._served[word, each, column] for each in outcomes)

        return Served(
            requests=total("requests"),
            content_bytes=total("content_bytes"),
            head_bytes=total("head_bytes"),
        )

    def fetched(self, content_class: ContentClass) -> Fetched:
        word = content_class.value
        return Fetched(
            requests=self._fetched[word, "requests"],
            content_bytes=self._fetched[word, "content_bytes"],
            not_modified=self._fetched[word, "not_modified"],
        )

    def saved_bytes(self, content_class: ContentClass) -> int:
        """Return the content bytes sent that no upstream had to send."""
        sent = self.served(content_class).content_bytes
        return sent - self.fetched(content_class).content_bytes

    def saved_bytes_total(self) -> int:
        return sum(self.saved_bytes(content_class) for content_class in ContentClass)

    def __repr__(self) -> str:
        requests = sum(
            value for (_, _, column), value in self._served.items() if column == "requests"
        )
        return f"<Totals {requests} requests>"


def read_totals(state_path: str) -> Totals:
    """Return the sum of all counters files; processes may go on counting meanwhile.

    Raises: StoreError for a file that cannot be read.
    """
    named: Counter[CellName] = Counter()
    for path in counter_paths(state_path):
        file = read_counters(path)
        if file is not None:
            named.update(file.named())
    return Totals(named)

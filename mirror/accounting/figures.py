"""The figures of one row of a report: sums of the ledger's lines, and what follows from them.

Rules:
1. saved = content sent to clients - content received from upstream; it may be negative.
2. Ratios by requests and by bytes count what was answered; refused and failed requests are shown
   and count in none: nobody saved anything by them. They are None where nothing was answered.
3. `fetched` is None where what was fetched cannot be said of a row: by outcome. Such rows have no
   ratios either.

Units: bytes of content; heads apart.
Runs in: keeper and commands. Pure.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from mirror.accounting.history import FetchedLine, ServedLine
from mirror.accounting.layout import Outcome

LOCAL = frozenset(
    each.value for each in (Outcome.HIT, Outcome.STALE, Outcome.REVALIDATED, Outcome.NEGATIVE)
)
UNANSWERED = frozenset((Outcome.REFUSED.value, Outcome.FAILED.value))


@dataclass(slots=True, kw_only=True)
class Fetched:
    requests: int = 0
    content_bytes: int = 0
    head_bytes: int = 0

    def add(self, requests: int, content_bytes: int, head_bytes: int) -> None:
        self.requests += requests
        self.content_bytes += content_bytes
        self.head_bytes += head_bytes


@dataclass(slots=True, kw_only=True)
class Figures:
    """Sums while lines are added; read them through the properties."""

    columns: Counter[str] = field(default_factory=Counter)
    requests_by_outcome: Counter[str] = field(default_factory=Counter)
    bytes_by_outcome: Counter[str] = field(default_factory=Counter)
    fetched: Fetched | None = field(default_factory=Fetched)

    def add_served(self, line: ServedLine) -> None:
        self.columns.update(line.columns)
        self.requests_by_outcome[line.outcome] += line.columns["requests"]
        self.bytes_by_outcome[line.outcome] += line.columns["content_bytes"]

    def add_fetched(self, line: FetchedLine) -> None:
        if self.fetched is not None:
            columns = line.columns
            self.fetched.add(columns["requests"], columns["content_bytes"], columns["head_bytes"])

    @property
    def requests(self) -> int:
        return self.columns["requests"]

    @property
    def served_bytes(self) -> int:
        return self.columns["content_bytes"]

    @property
    def saved_bytes(self) -> int | None:
        return None if self.fetched is None else self.served_bytes - self.fetched.content_bytes

    @property
    def spared_requests(self) -> int | None:
        """Return how many more requests were answered than upstream was asked."""
        return None if self.fetched is None else self.requests - self.fetched.requests

    @property
    def saved_ratio(self) -> float | None:
        saved = self.saved_bytes
        return None if saved is None else _ratio(saved, self.served_bytes)

    @property
    def request_hit_ratio(self) -> float | None:
        return None if self.fetched is None else _hit_ratio(self.requests_by_outcome)

    @property
    def byte_hit_ratio(self) -> float | None:
        return None if self.fetched is None else _hit_ratio(self.bytes_by_outcome)


def _hit_ratio(amounts: Counter[str]) -> float | None:
    answered = sum(amount for word, amount in amounts.items() if word not in UNANSWERED)
    return _ratio(sum(amounts[word] for word in LOCAL), answered)


def _ratio(part: int, whole: int) -> float | None:
    if not whole:
        return None
    ratio = round(part / whole, 4)
    # Not quite all is not all: who reads 100 % looks no further.
    return 0.9999 if ratio == 1 and part < whole else ratio

"""What upstream traffic is reported to: a Protocol, so that this room knows no ledger.

Rules:
1. One exchange is one request that goes to an upstream and what comes back; a redirect that is
   followed and a second form of an S3 request are exchanges of their own.
2. An exchange counts from the moment that it has a connection, or begins to make one: waiting for
   one of our own asks nothing of the upstream.
3. `error` is said where the exchange gave nothing usable, also when its content broke off; leaving
   before the end of the content is no error.

Units: bytes of content as received (before any content coding is undone); bytes of heads as their
lines are rebuilt.
Runs in: keeper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

LEFT = "left before it answered"  # nobody waited any longer, or the mirror stopped


class Exchange(Protocol):
    """Calls come in this order; those before `begin` count nothing. All are idempotent or sums."""

    def begin(self) -> None: ...

    def answered(self, status: int, head_bytes: int) -> None: ...

    def received(self, content_bytes: int) -> None:
        """More content has come."""

    def finish(self, *, is_complete: bool, error: str = "") -> None:
        """Nothing more comes; only the first call counts."""


class TrafficMeter(Protocol):
    def exchange(self, pool: str, url: str, path: str, *, method: str, attempt: int) -> Exchange:
        """Return the account of one request; never raises.

        `pool` is "releases", "crates" or "index", `url` the configured one without a final slash,
        `attempt` counts from 1 over all URLs.
        """
        ...


class Tally(Protocol):
    """What else is counted, by a name of `accounting.layout.TOTALS`; never raises."""

    def add(self, name: str, count: int = 1) -> None: ...


class NoTally:
    """Counts nothing."""

    def add(self, name: str, count: int = 1) -> None:
        """Nobody reads it."""


NewExchange = Callable[[], Exchange]

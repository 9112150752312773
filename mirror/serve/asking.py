"""Who sends learned heads that are answered at once.

Runs in: worker. Declarations only.
"""

from __future__ import annotations

from typing import Protocol

from mirror.serve.account import Answering
from mirror.serve.tally import Tally


class Asking(Answering, Protocol):
    """Who sent a learned head that is answered at once: `connection.Connection`, or a
    `doorstep.Visitor`."""

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """Where its group's answers are counted, by content class."""

    def send(self, data: bytes) -> bool:
        """Send all of `data`; False when the client is gone."""

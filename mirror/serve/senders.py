"""Makes the sender of one response: paced where its client has a limit of bytes.

Runs in: worker.
"""

from __future__ import annotations

from collections.abc import Callable

from mirror.serve.account import Account
from mirror.serve.sender import Sender
from mirror.serve.sources import Source
from mirror.serve.stream import Stream


def sender_for(
    stream: Stream,
    source: Source,
    at: int,
    account: Account | None,
    sent: Callable[[int], None],
) -> Sender:
    """Return a sender to `stream` from `source`, which it takes over, beginning at `at`."""
    paced = None if account is None else account.paced()
    if paced is None:
        return Sender(stream, source, at, sent)
    sender = Sender(paced, source, at, sent)
    paced.go_on = sender.resume
    return sender

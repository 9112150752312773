"""Crates that were served and whose index entry wants a confirmation, on their way to the keeper.

Rules:
1. A key goes out at most once in `AGAIN_S`, however often it is served meanwhile: one check is one
   conditional request of the keeper, and its answer is the next look-up's.
2. Bounded: beyond `PENDING_MAX` keys in one batch nothing is noted (the next hit is as good); the
   memory of what went out keeps at most `SENT_MAX` keys and forgets all of them at once.

Units: seconds of the monotonic clock, passed in.
Does not: know time, or which crates are due (`plan.decide_crate`).
Runs in: worker. Pure.
"""

from __future__ import annotations

from mirror.fill.messages import Check
from mirror.fill.recency import framed

AGAIN_S = 5.0
PENDING_MAX = 512  # what one message may name
SENT_MAX = 8192  # about 1 MB; a big build fetches some hundred crates


class PendingChecks:
    """`note` while serving, `batches` when there is a connection to send them on."""

    __slots__ = ("_keys", "_sent_at")

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._sent_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def note(self, key: str, monotonic_s: float) -> bool:
        """Return whether `key` waits to be sent because of this call."""
        sent_at = self._sent_at.get(key)
        is_recent = sent_at is not None and monotonic_s - sent_at < AGAIN_S
        if is_recent or key in self._keys or len(self._keys) >= PENDING_MAX:
            return False
        self._keys.add(key)
        return True

    def batches(self, monotonic_s: float) -> list[Check]:
        """Return what waits, as sent at `monotonic_s`."""
        keys, self._keys = self._keys, set()
        if len(self._sent_at) + len(keys) > SENT_MAX:
            self._sent_at.clear()
        self._sent_at.update(dict.fromkeys(keys, monotonic_s))
        return [Check(keys=batch) for batch in framed(keys)]

    def clear(self) -> None:
        """Forget what waits and what was sent: the keeper that got it may be gone."""
        self._keys.clear()
        self._sent_at.clear()

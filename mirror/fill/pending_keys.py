"""Keys that the keeper is to look at in the background, on their way to it: crates whose index
entry wants a confirmation, stale responses, objects whose gzip variant is wanted.

Rules:
1. A key goes out at most once in `AGAIN_S`, a stale one in `STALE_AGAIN_S`, however often it is
   served meanwhile: one check is one conditional request of the keeper, one variant one
   publication; the next look-up sees it.
2. Bounded: beyond `PENDING_MAX` keys in one batch nothing is noted (the next hit is as good); the
   memory of what went out keeps at most `SENT_MAX` keys and forgets all of them at once.

Units: seconds of the monotonic clock, passed in.
Does not: know time, or which keys are due (`plan.decide_crate`, `serve.variants`).
Runs in: worker. Pure.
"""

from __future__ import annotations

from mirror.fill.recency import framed

AGAIN_S = 5.0
STALE_AGAIN_S = 1.0  # it is served for some seconds only; meanwhile one message may be lost
PENDING_MAX = 512  # what one message may name
SENT_MAX = 8192  # about 1 MB; a big build fetches some hundred crates


class PendingKeys:
    """`note` while serving, `batches` when there is a connection to send them on."""

    __slots__ = ("_keys", "_sent_at")

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._sent_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def note(self, key: str, monotonic_s: float, again_s: float = AGAIN_S) -> bool:
        """Return whether `key` waits to be sent because of this call."""
        sent_at = self._sent_at.get(key)
        is_recent = sent_at is not None and monotonic_s - sent_at < again_s
        if is_recent or key in self._keys or len(self._keys) >= PENDING_MAX:
            return False
        self._keys.add(key)
        return True

    def batches(self, monotonic_s: float) -> list[tuple[str, ...]]:
        """Return what waits, as sent at `monotonic_s`."""
        keys, self._keys = self._keys, set()
        if len(self._sent_at) + len(keys) > SENT_MAX:
            self._sent_at.clear()
        self._sent_at.update(dict.fromkeys(keys, monotonic_s))
        return framed(keys)

    def clear(self) -> None:
        """Forget what waits and what was sent: the keeper that got it may be gone."""
        self._keys.clear()
        self._sent_at.clear()

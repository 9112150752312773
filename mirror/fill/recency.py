"""Keys served lately, on their way to the keeper's eviction order; and how keys fit frames.

Rules:
1. Bounded: what exceeds `USED_MAX` between two batches is not noted (the next second is as good).
2. No batch is larger than a frame.

Runs in: worker. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from mirror.fill.frames import MAX_PAYLOAD_BYTES
from mirror.fill.messages import Used

USED_MAX = 512
_BATCH_BYTES = MAX_PAYLOAD_BYTES - 64  # 64: the message's name and array head
_PER_KEY_BYTES = 5  # msgpack's longest string head; keys are ASCII


class Recency:
    """`note` is for the hit path: about 0.1 us."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: set[str] = set()

    def __len__(self) -> int:
        return len(self._keys)

    def note(self, key: str) -> None:
        keys = self._keys
        if len(keys) < USED_MAX:
            keys.add(key)

    def clear(self) -> None:
        self._keys.clear()

    def batches(self) -> list[Used]:
        """Return what was noted and begin anew."""
        keys, self._keys = self._keys, set()
        return [Used(keys=batch) for batch in framed(keys)]


def framed(keys: Iterable[str]) -> list[tuple[str, ...]]:
    """Return `keys` in batches, each of which fits a frame."""
    batches: list[tuple[str, ...]] = []
    batch: list[str] = []
    batch_bytes = 0
    for key in keys:
        key_bytes = len(key) + _PER_KEY_BYTES
        if batch and batch_bytes + key_bytes > _BATCH_BYTES:
            batches.append(tuple(batch))
            batch, batch_bytes = [], 0
        batch.append(key)
        batch_bytes += key_bytes
    if batch:
        batches.append(tuple(batch))
    return batches

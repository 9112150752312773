"""Objects served lately, on their way to the keeper: its eviction order, curve, top objects and
download counts; and how keys fit frames.

Rules:
1. Bounded: beyond `USED_MAX` objects between two batches only those are noted that
   `sampling.is_sampled` keeps and downloads that are to be credited, beyond `KEPT_MAX` none. What
   was left out is counted.
2. No batch is larger than a frame, or names more than `BATCH_MAX` objects.

Runs in: worker. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mirror.accounting.sampling import is_sampled
from mirror.accounting.uses import LeftOut, Use
from mirror.fill.frames import MAX_PAYLOAD_BYTES
from mirror.fill.messages import Uses

USED_MAX: Final = 1024
KEPT_MAX: Final = 8192  # about 2 MB here, and 16 messages
BATCH_MAX: Final = 512
_BATCH_BYTES: Final = MAX_PAYLOAD_BYTES - 64  # 64: the message's name, array heads and sums
_PER_KEY_BYTES: Final = 5  # msgpack's longest string head; keys are ASCII
_PER_USE_BYTES: Final = 1 + 4 * 9  # the array's head, and four integers at their longest


class Recency:
    """What was served since the last batches."""

    __slots__ = ("_left_out_bytes", "_left_out_requests", "_uses")

    def __init__(self) -> None:
        # requests, content bytes, downloads, length of the stored representation
        self._uses: dict[str, list[int]] = {}
        self._left_out_requests = 0
        self._left_out_bytes = 0

    def __len__(self) -> int:
        return len(self._uses)

    def note(
        self, key: str, requests: int, content_bytes: int, downloads: int, length_bytes: int
    ) -> None:
        """Add to what was served of an object; costs about 0.2 us."""
        use = self._uses.get(key)
        if use is not None:
            use[0] += requests
            use[1] += content_bytes
            use[2] += downloads
            use[3] = length_bytes
        elif len(self._uses) < USED_MAX or self._is_kept(key, downloads, length_bytes):
            self._uses[key] = [requests, content_bytes, downloads, length_bytes]
        else:
            self._left_out_requests += requests
            self._left_out_bytes += content_bytes

    def clear(self) -> None:
        self._uses.clear()
        self._left_out_requests = self._left_out_bytes = 0

    def batches(self) -> list[Uses]:
        """Return what was noted and begin anew."""
        left_out = LeftOut(self._left_out_requests, self._left_out_bytes)
        uses, self._uses = self._uses, {}
        self._left_out_requests = self._left_out_bytes = 0
        batches = [
            Uses(uses=tuple(Use(key, *uses[key]) for key in keys))
            for keys in framed(uses, _PER_KEY_BYTES + _PER_USE_BYTES)
        ]
        if batches and any(left_out):  # nothing is left out while there is room
            batches[-1] = Uses(uses=batches[-1].uses, left_out=left_out)
        return batches

    def _is_kept(self, key: str, downloads: int, length_bytes: int) -> bool:
        if len(self._uses) >= KEPT_MAX:
            return False
        return downloads > 0 or is_sampled(key, length_bytes)


def framed(keys: Iterable[str], overhead_bytes: int = _PER_KEY_BYTES) -> list[tuple[str, ...]]:
    """Return `keys` in batches, each of which fits a frame with so much beside each key."""
    batches: list[tuple[str, ...]] = []
    batch: list[str] = []
    batch_bytes = 0
    for key in keys:
        key_bytes = len(key) + overhead_bytes
        if batch and (batch_bytes + key_bytes > _BATCH_BYTES or len(batch) == BATCH_MAX):
            batches.append(tuple(batch))
            batch, batch_bytes = [], 0
        batch.append(key)
        batch_bytes += key_bytes
    if batch:
        batches.append(tuple(batch))
    return batches

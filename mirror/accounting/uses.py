"""What workers tell of the objects they served: the words between `Uses` messages and the keeper's
curve, top objects and download counts.

Rules:
1. A `Use` sums what one worker served of one object since its last message. Only objects with a
   stored (or growing) representation are told; negative answers and answers made here are not.
2. Left out for want of room is only what `sampling.is_sampled` lets go, and it is counted.

Units: bytes.
Runs in: worker and keeper. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Use(NamedTuple):
    """A tuple, because it travels by the hundred.

    requests: those answered 200, 206 or 304. content_bytes: sent. downloads: of a crate, whole, by
    cargo; 0 unless `accounting.downloads` is on. length_bytes: of the stored representation.
    """

    key: str
    requests: int
    content_bytes: int
    downloads: int
    length_bytes: int


class LeftOut(NamedTuple):
    """Sums of the uses that did not fit."""

    requests: int = 0
    content_bytes: int = 0


class UseObserver(Protocol):
    """Called in the keeper's loop, for each message; must not block (`object_accounts`)."""

    def used(self, uses: Sequence[Use], left_out: LeftOut, /) -> None: ...

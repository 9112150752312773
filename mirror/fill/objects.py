"""How procedures of this room get at other objects: through the same flights as clients.

Runs in: keeper. Declarations only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

from mirror.route.route import Route
from mirror.store.entry import Entry, Stored

ANY_TIME: Final = -math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """A small object that upstream has, or had (`is_stale`) when it could be asked last.

    `content` is None when it lies in the store only (`stored`).
    """

    entry: Entry
    is_stale: bool
    content: bytes | None
    stored: Stored | None


class Objects(Protocol):
    async def confirmed(self, route: Route, *, since: float = ANY_TIME) -> Confirmed | None:
        """Return the object, confirmed at `since` (Unix seconds) or later; None: there is none.

        Raises: UpstreamError when nothing is stored and upstream is in trouble.
        """
        ...

    async def content(self, found: Confirmed) -> bytes:
        """Return its bytes. Raises StoreError when the stored copy turns out to be damaged."""
        ...

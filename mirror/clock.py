"""The clock seam: the only two clocks of the product, so that tests can move them.

Units: seconds. `now` is Unix time and may jump; `monotonic` never goes back and is the one for
deadlines (Linux: the same clock in every process of the machine, so it may cross the shared page).

Runs in: worker, keeper, supervisor, commands.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float: ...

    def monotonic(self) -> float: ...


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

"""A child of the supervisor: where it meets the others, and how it learns that it shall end.

Here because both halves of what builds things need it: `app` (supervisor, workers) and
`app_keeper`.

Runs in: worker, keeper, supervisor, commands (the names).
"""

from __future__ import annotations

import asyncio
import signal

# Below the state directory, for this user only.
KEEPER_SOCKET = "keeper.sock"
CONTROL_SOCKET = "control.sock"


def stop_event() -> asyncio.Event:
    """Return an event that SIGTERM sets; must be called inside the running loop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return stop

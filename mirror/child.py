"""A child of the supervisor: where it meets the others, and how it learns that it shall end.

Rules:
1. A worker ends by SIGTERM. The keeper ends by `KEEPER_END`, which the supervisor sends when no
   worker is left: a SIGTERM to the whole process group reaches it first otherwise, and transfers
   that its workers still drain would lose the end of their fills.
2. A SIGTERM that the keeper gets while its supervisor lives is not for it. When the supervisor has
   died (the kernel sends SIGTERM then), it serves as long as workers drain, and ends.

Here because both halves of what builds things need it: `app` (supervisor, workers) and
`app_keeper`.

Runs in: worker, keeper, supervisor, commands (the names).
"""

from __future__ import annotations

import asyncio
import os
import signal

# Below the state directory, for this user only.
KEEPER_SOCKET = "keeper.sock"
CONTROL_SOCKET = "control.sock"

KEEPER_END = signal.SIGRTMIN  # no tool sends it by habit, as it does TERM, HUP, USR1 and USR2


def stop_event(number: int = signal.SIGTERM) -> asyncio.Event:
    """Return an event that the signal sets; must be called inside the running loop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def orphan_event(parent: int) -> asyncio.Event:
    """Return an event that is set when `parent`, who forked this process, has died.

    Takes over SIGTERM; must be called inside the running loop.
    """
    orphaned = asyncio.Event()

    def look() -> None:
        if os.getppid() != parent:
            orphaned.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, look)
    look()  # it may have died before there was a handler
    return orphaned

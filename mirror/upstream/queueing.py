"""Whether a request still waits for one of the pool's own connections.

The library reports one time-out for that wait and for connecting; they mean different things: the
first says that we are busy, the second that the upstream is away.

Runs in: keeper.
"""

from __future__ import annotations

from types import SimpleNamespace

import aiohttp


class Queueing:
    """Goes with one request as its trace context."""

    __slots__ = ("is_waiting",)

    def __init__(self) -> None:
        self.is_waiting = False


def queueing_trace() -> aiohttp.TraceConfig:
    """Return what keeps the `Queueing` of each request up to date."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_queued_start.append(_began)
    trace.on_connection_queued_end.append(_ended)
    trace.freeze()
    return trace


async def _began(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionQueuedStartParams,
) -> None:
    context.trace_request_ctx.is_waiting = True


async def _ended(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionQueuedEndParams,
) -> None:
    context.trace_request_ctx.is_waiting = False

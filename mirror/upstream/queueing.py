"""Whether a request still waits for one of the pool's own connections.

The library reports one time-out for that wait and for connecting; they mean different things: the
first says that we are busy, the second that the upstream is away.

When that wait is over, or there was none, `on_placed` is called: from then on the upstream is
asked. It may be called more than once, for a connection that turned out to be closed.

Runs in: keeper.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import aiohttp


class Queueing:
    """Goes with one request as its trace context."""

    __slots__ = ("is_waiting", "on_placed")

    def __init__(self, on_placed: Callable[[], None]) -> None:
        self.is_waiting = False
        self.on_placed = on_placed


def queueing_trace() -> aiohttp.TraceConfig:
    """Return what keeps the `Queueing` of each request up to date."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_queued_start.append(_began)
    trace.on_connection_queued_end.append(_ended)
    trace.on_connection_create_start.append(_creates)
    trace.on_connection_reuseconn.append(_reuses)
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


async def _creates(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionCreateStartParams,
) -> None:
    context.trace_request_ctx.on_placed()


async def _reuses(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionReuseconnParams,
) -> None:
    context.trace_request_ctx.on_placed()

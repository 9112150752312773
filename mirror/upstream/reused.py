"""The library's own second try, kept to what RFC 9112 section 9.3.1 means by it.

aiohttp sends a GET again, unasked and uncounted, when the connection breaks before the head. That
is right where an idle connection was taken again that the server had closed meanwhile: the request
may never have reached anybody. On a connection made for the request it is a second request to an
upstream that has just dropped one: that the pool decides (back-off, circuit, budget), and the
ledger knows of it.

Runs in: keeper.
"""

from __future__ import annotations

from contextvars import ContextVar
from types import SimpleNamespace

import aiohttp

# Of the task that sends: trace and middleware run in it, and nothing else joins them.
_IS_REUSED: ContextVar[bool] = ContextVar("is_reused", default=False)


class BrokenConnectionError(aiohttp.ClientConnectionError):
    """A connection made for this request broke before the head; not tried again by the library."""


def reuse_trace() -> aiohttp.TraceConfig:
    """Return what notes for `send_once` which kind of connection a request got."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(_made)
    trace.on_connection_reuseconn.append(_reused)
    trace.freeze()
    return trace


async def send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """A middleware of the session."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # the library does not try these again
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as exc:
        if _IS_REUSED.get():
            raise
        raise BrokenConnectionError(str(exc)) from exc


async def _made(
    _session: aiohttp.ClientSession,
    _context: SimpleNamespace,
    _params: aiohttp.TraceConnectionCreateStartParams,
) -> None:
    _IS_REUSED.set(False)


async def _reused(
    _session: aiohttp.ClientSession,
    _context: SimpleNamespace,
    _params: aiohttp.TraceConnectionReuseconnParams,
) -> None:
    _IS_REUSED.set(True)

"""The control listeners: a unix socket for this machine's commands, and a read-only TCP one.

Rules:
1. The unix socket is 0600 and its peer must be root or this user (SO_PEERCRED): the mode alone
   does not hold where the directory was made by somebody else.
2. The TCP listener answers only to its own Host names, else 421 (see `hosts`).
3. Everything here is GET or HEAD, but for the verbs (`verbs`), which only the unix socket has;
   other methods are 405. Nothing is cached.

Runs in: keeper (aiohttp lives only there).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

import orjson
from aiohttp import web

import mirror
from mirror.control.hosts import AllowedHosts
from mirror.errors import StoreError

_PEER = struct.Struct("iII")  # struct ucred: pid, uid, gid
_SHUTDOWN_S = 1.0
_METHODS = ("GET", "HEAD")
_KNOWN = "/ /object /api/overview /api/history /events /metrics /status /version /livez"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Routes(Protocol):
    """`control.dashboard.Dashboard`, `control.metrics.MetricsEndpoint`: on each listener."""

    def add_to(self, app: web.Application) -> None: ...


class VerbRoutes(Routes, Protocol):
    """`control.verbs.Verbs`: on the unix socket only."""

    async def aclose(self) -> None: ...


class ControlServer:
    """Serves the status document; one instance per keeper."""

    def __init__(
        self,
        status: Callable[[], dict[str, Any]],
        hosts: AllowedHosts,
        *,
        dashboard: Routes | None = None,
        metrics: Routes | None = None,
        verbs: VerbRoutes | None = None,
    ) -> None:
        self._verbs = verbs
        self._dashboard = dashboard
        self._metrics = metrics
        self._status = status
        self._hosts = hosts
        self._runners: list[web.AppRunner] = []
        self.bound: list[str] = []  # the addresses of TCP

    async def start(self, unix_path: str, tcp_sockets: Iterable[socket.socket]) -> None:
        """Listen. Raises StoreError when the unix socket cannot be made."""
        await self._serve(_same_user_only, [open_unix(unix_path)], verbs=self._verbs)
        listening = list(tcp_sockets)
        await self._serve(self._own_host_only, listening)
        self.bound = [_address(sock) for sock in listening]

    async def aclose(self) -> None:
        if self._verbs is not None:
            await self._verbs.aclose()
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    async def _serve(
        self, guard: Any, sockets: list[socket.socket], *, verbs: Routes | None = None
    ) -> None:
        first = _read_only if verbs is None else _known_only
        app = web.Application(middlewares=[first, guard])
        if verbs is not None:
            verbs.add_to(app)
        app.router.add_get("/status", self._answer_status)
        app.router.add_get("/version", _answer_version)
        app.router.add_get("/livez", _answer_livez)
        if self._dashboard is not None:
            self._dashboard.add_to(app)
        if self._metrics is not None:
            self._metrics.add_to(app)
        runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S
        )
        self._runners.append(runner)
        await runner.setup()
        for sock in sockets:
            await web.SockSite(runner, sock).start()

    async def _answer_status(self, _request: web.Request) -> web.Response:
        return _json(self._status())

    @web.middleware
    async def _own_host_only(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.headers.get("Host", "") not in self._hosts:
            return _text(421, "This listener does not answer to that host name.\n")
        return await handler(request)


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def open_unix(path: str) -> socket.socket:
    """Return a listening socket at `path`, 0600; a former one is removed (we own the state)."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        former = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(former)
        sock.listen(16)
        sock.setblocking(False)
    except OSError as exc:
        sock.close()
        raise StoreError(
            path, f"cannot listen: {exc.strerror}", retryable=False, noun="state"
        ) from exc
    return sock


@web.middleware
async def _read_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.method not in _METHODS:
        response: web.StreamResponse = _text(405, "Only GET and HEAD.\n")
        response.headers["Allow"] = ", ".join(_METHODS)
        return response
    return await _known_only(request, handler)


@web.middleware
async def _known_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return _text(404, f"Known here: {_KNOWN}\n")


@web.middleware
async def _same_user_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    sock = request.transport.get_extra_info("socket") if request.transport else None
    if sock is None:
        return _text(403, "The peer is gone.\n")
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _pid, uid, _gid = _PEER.unpack(credentials)
    if uid not in (0, os.geteuid()):
        return _text(403, "Only root and the mirror's own user.\n")
    return await handler(request)


async def _answer_version(_request: web.Request) -> web.Response:
    return _json({"name": "rust-edge-mirror", "version": mirror.__version__})


async def _answer_livez(_request: web.Request) -> web.Response:
    return _text(200, "ok\n")


def _json(document: dict[str, Any]) -> web.Response:
    body = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE, default=str)
    return web.Response(
        body=body, content_type="application/json", headers={"Cache-Control": "no-store"}
    )


def _text(status: int, sentence: str) -> web.Response:
    return web.Response(status=status, text=sentence, headers={"Cache-Control": "no-store"})

"""One worker process: its sockets, its tick, its drain.

Rules:
1. Every `TICK_S`: clocks, heartbeat, epoch acknowledgement, deadlines; once a second a look whether
   the index file was replaced, and the keeper is told what was served.
2. An epoch is acknowledged by the tick alone, because every request reads the page itself: what was
   looked up under another epoch is not used again once the page shows this one.
3. Drain: stop accepting (the supervisor holds the sockets, so what waits in their queues is served
   by the successor), close idle connections, let busy ones end, at most `drain_timeout`.

Does not: build its parts, handle signals, or talk to the supervisor but by the page.
Runs in: worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Final

from mirror.clock import Clock, SystemClock
from mirror.config import Config
from mirror.events import EventLog
from mirror.serve.accounts import Accounts
from mirror.serve.answers import Answers
from mirror.serve.connection import Connection
from mirror.serve.h2_connection import H2Connection
from mirror.serve.local_answers import LocalAnswers
from mirror.serve.plaintext import RestrictedConnection, plaintext_rule
from mirror.serve.ports import Counting, GroupTable, Keeper, Page, RequestLog, StoreView
from mirror.serve.request_path import RequestPath
from mirror.serve.shared import Shared, tune
from mirror.serve.tls_listening import TlsAcceptor, TlsListening
from mirror.serve.wheel import Wheel

TICK_S: Final = 0.25
HANDSHAKES_LOOK_S: Final = 0.02
_REFRESH_TICKS: Final = 4  # the reader asks to be refreshed about once a second
# Connections that arrive within one busy turn; the kernel clips it to somaxconn.
BACKLOG: Final = 4096


class Worker:
    """Serves the given listening sockets until told to stop."""

    def __init__(
        self,
        config: Config,
        slot: int,
        sockets: Sequence[socket.socket],
        reader: StoreView,
        client: Keeper,
        counters: Counting,
        page: Page,
        log: EventLog,
        *,
        loop_token: str,
        clock: Clock | None = None,
        tls: TlsListening | None = None,
        groups: GroupTable | None = None,
        request_log: RequestLog | None = None,
    ) -> None:
        """Takes over nothing: what it is given is closed by whoever made it."""
        self._config = config
        self._slot = slot
        self._sockets = tuple(sockets)
        self._page = page
        self._log = log
        self._wheel = Wheel(clock or SystemClock(), config.serve)
        self._shared = Shared(
            config,
            reader=reader,
            keeper=client,
            counters=counters,
            page=page,
            wheel=self._wheel,
            log=log,
            loop_token=loop_token,
            groups=groups,
            request_log=request_log,
        )
        answers = Answers(self._shared)
        self._path = RequestPath(
            self._shared,
            answers,
            LocalAnswers(self._shared, answers),
            plaintext=plaintext_rule(self._shared, 0 if tls is None else tls.port),
        )
        self._tls = None if tls is None else TlsAcceptor(tls, self._shared, self._path)
        self._tls_sockets = () if tls is None else tls.sockets
        self._ticks = 0
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        state = "draining" if self._shared.is_draining else "serving"
        shaking = f" {len(self._tls)} handshakes" if self._tls else ""
        return f"<Worker {self._slot} {state} {len(self._wheel)} connections{shaking}>"

    @property
    def hot_bytes(self) -> int:
        """What the memory tier holds."""
        return self._shared.hot.used_bytes

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain. Cancelled: cut everything."""
        loop = asyncio.get_running_loop()
        servers: list[asyncio.Server] = []
        self._shared.accounts.start()
        self._tick_again()
        try:
            for listening in (*self._sockets, *self._tls_sockets):
                tune(listening)
            for listening in self._sockets:
                servers.append(
                    await loop.create_server(self.connect, sock=listening, backlog=BACKLOG)
                )
            if self._tls is not None:
                self._tls.open(BACKLOG)
            self._log.info("worker-ready", slot=self._slot)
            await stop.wait()
            await self._drain(servers)
        finally:
            for server in servers:
                server.close()
            if self._tls is not None:
                self._tls.close()
                self._tls.abort()
            for connection in self.connections:
                connection.abort()
                # `connection_lost` comes when the counters may be closed.
                connection.end_accounts()
            self._shared.accounts.stop()
            if self._timer is not None:
                self._timer.cancel()
            self._shared.pages.close()
            self._shared.sequences.close()

    @property
    def accounts(self) -> Accounts:
        """What was answered."""
        return self._shared.accounts

    def connect(self) -> Connection:
        """Return the protocol of a connection that was accepted."""
        if self._config.serve.plaintext != "serve":
            return RestrictedConnection(self._shared, self._path)
        return Connection(self._shared, self._path)

    def tick(self) -> None:
        """Do what is due; see rule 1."""
        self._wheel.tick()
        # Read before anything else is done with it: later moves are the next tick's.
        epoch = self._page.epoch
        self._page.beat(self._slot, int(self._wheel.monotonic_s * 1000))
        self._page.saw_epoch(self._slot, epoch)
        self._ticks += 1
        if self._ticks % _REFRESH_TICKS == 0:
            self._shared.accounts.tell()
            self._shared.reader.refresh()

    def _tick_again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick_again)
        self.tick()

    async def _drain(self, servers: Sequence[asyncio.Server]) -> None:
        shared = self._shared
        shared.is_draining = True
        # Learned heads are answered without looking at the flag: from here on none is.
        shared.memo.stop()
        for server in servers:
            server.close()
        if self._tls is not None:
            self._tls.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.serve.drain_timeout):
                await self._all_gone()
        self._log.info("worker-drained", slot=self._slot, cut=len(self._wheel))

    async def _all_gone(self) -> None:
        """Drain the connections that there are, and those whose handshake ends meanwhile."""
        while self._tls:
            for connection in self.connections:
                connection.drain()
            await asyncio.sleep(HANDSHAKES_LOOK_S)
        for connection in self.connections:
            connection.drain()
        all_gone = asyncio.Event()
        self._wheel.on_empty = all_gone.set
        if len(self._wheel):
            await all_gone.wait()

    @property
    def connections(self) -> list[Connection | H2Connection]:
        kinds = (Connection, H2Connection)
        return [timed for timed in self._wheel.members() if isinstance(timed, kinds)]

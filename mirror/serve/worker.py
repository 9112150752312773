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
from collections.abc import Callable, Sequence
from typing import Final

from mirror.clock import Clock, SystemClock
from mirror.config import Config
from mirror.events import EventLog
from mirror.serve.acceptor import Acceptor
from mirror.serve.accounts import Accounts
from mirror.serve.answers import Answers
from mirror.serve.client_limits import ClientLimits, has_limits
from mirror.serve.client_memory import ClientMemory
from mirror.serve.connection import Connection
from mirror.serve.doorstep import Doorstep
from mirror.serve.h2_connection import H2Connection
from mirror.serve.limited_path import LimitedAccount, LimitedPath
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
_INTERNET: Final = (socket.AF_INET, socket.AF_INET6)


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
        clients: ClientMemory | None = None,
    ) -> None:
        """Takes over nothing: what it is given is closed by whoever made it.

        `clients` None: what other workers have of a client is not known here.
        """
        self._config = config
        self._slot = slot
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
        self._limits = self._limits_of(clients) if has_limits(config.limits) else None
        self._path = self._make_path(0 if tls is None else tls.port)
        is_direct = config.serve.plaintext == "serve" and not config.serve.proxy_protocol
        at_door = [each for each in sockets if is_direct and each.family in _INTERNET]
        # What the loop accepts itself: on unix sockets, and where a connection begins otherwise.
        self._sockets = [each for each in sockets if each not in at_door]
        self._acceptors: list[Acceptor] = [Doorstep(at_door, self._shared, self._path)]
        self._tls = None if tls is None else TlsAcceptor(tls, self._shared, self._path)
        if self._tls is not None:
            self._acceptors.append(self._tls)
        self._tuned = [*sockets, *(() if tls is None else tls.sockets)]
        self._ticks = 0
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        state = "draining" if self._shared.is_draining else "serving"
        shaking = f" {len(self._tls)} handshakes" if self._tls else ""
        return f"<Worker {self._slot} {state} {len(self._wheel)} connections{shaking}>"

    @property
    def hot_bytes(self) -> int:
        """What the memory tier holds."""
        return self._shared.hot.used_bytes + self._shared.contents.used_bytes

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] | None = None) -> None:
        """Serve until `stop` is set, then drain. Cancelled: cut everything.

        `ready` is called when connections are accepted.
        """
        loop = asyncio.get_running_loop()
        servers: list[asyncio.Server] = []
        self._shared.accounts.start()
        self._tick_again()
        try:
            for listening in self._tuned:
                tune(listening)
            for listening in self._sockets:
                servers.append(
                    await loop.create_server(self.connect, sock=listening, backlog=BACKLOG)
                )
            for acceptor in self._acceptors:
                acceptor.open(BACKLOG)
            self._log.info("worker-ready", slot=self._slot)
            if ready is not None:
                ready()
            await stop.wait()
            await self._drain(servers)
        finally:
            for server in servers:
                server.close()
            for acceptor in self._acceptors:
                acceptor.close()
                acceptor.abort()
            for connection in self.connections:
                connection.abort()
                # `connection_lost` comes when the counters may be closed.
                connection.end_accounts()
            self._shared.accounts.stop()
            if self._timer is not None:
                self._timer.cancel()
            self._shared.writability.close()
            self._shared.pages.close()
            self._shared.sequences.close()
            if self._limits is not None:
                self._limits.close()

    @property
    def limits(self) -> ClientLimits | None:
        """What clients have asked; None: nothing is limited per client."""
        return self._limits

    @property
    def accounts(self) -> Accounts:
        """What was answered."""
        return self._shared.accounts

    def connect(self) -> Connection:
        """Return the protocol of a connection that was accepted."""
        if self._config.serve.plaintext != "serve":
            return RestrictedConnection(self._shared, self._path)
        return Connection(self._shared, self._path)

    def _make_path(self, tls_port: int) -> RequestPath:
        shared = self._shared
        answers = Answers(shared)
        local = LocalAnswers(shared, answers)
        rule = plaintext_rule(shared, tls_port)
        if self._limits is None:
            return RequestPath(shared, answers, local, plaintext=rule)
        shared.accounts.account_type = LimitedAccount
        return LimitedPath(shared, answers, local, plaintext=rule, limits=self._limits)

    def _limits_of(self, clients: ClientMemory | None) -> ClientLimits:
        settings, slot = self._config.limits, self._slot
        if clients is None:
            clients, slot = ClientMemory(1, settings.tracked_clients), 0
        table = clients.table(slot, self._page.sequence_key)
        count = self._shared.accounts.count
        return ClientLimits(
            settings,
            self._shared.networks,
            table,
            self._wheel.monotonic_s,
            count_wait=lambda: count("paced_responses"),
        )

    def tick(self) -> None:
        """Do what is due; see rule 1."""
        self._wheel.tick()
        self._shared.crowd.tick()
        if self._limits is not None:
            self._limits.tick(self._wheel.monotonic_s)
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
        for acceptor in self._acceptors:
            acceptor.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.serve.drain_timeout):
                await self._all_gone()
        self._log.info("worker-drained", slot=self._slot, cut=len(self._wheel))

    async def _all_gone(self) -> None:
        """Drain the connections that there are, and those that are made meanwhile."""
        while any(self._acceptors):
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

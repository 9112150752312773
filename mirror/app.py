"""Builds every concrete thing: what the supervisor needs, a worker, the keeper. Only here.

Rules:
1. `serve` refuses what cannot work before anything is forked: directories, locks, addresses, names
   that lead back to this machine.
2. Nothing here imports aiohttp at module level: this module is loaded in the process that forks the
   workers. The keeper's side is `app_keeper`, imported in the keeper only.
3. What children need is imported before the fork as far as rule 2 allows, so that a restart is
   short.

Runs in: supervisor (serve), worker (run_worker), keeper (run_keeper).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import os
import re
import resource
import secrets
import signal
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import uvloop

import mirror
from mirror import app_upgrade
from mirror.accounting.access_log import open_access_log
from mirror.accounting.configured import ConfiguredGroups, configured_layout
from mirror.accounting.counters import Counters
from mirror.addresses import parse_listen
from mirror.child import KEEPER_SOCKET, stop_event
from mirror.clock import SystemClock
from mirror.config import Config
from mirror.config_rules import MAX_WORKERS
from mirror.errors import StoreError
from mirror.events import EventLog, open_events
from mirror.fill.client import KeeperClient
from mirror.serve.client_memory import ClientMemory
from mirror.serve.tls_listening import TlsListening
from mirror.serve.worker import Worker
from mirror.store.files import RealFiles
from mirror.store.layout import Layout
from mirror.store.owner import claim
from mirror.store.page import PAGE_NAME, SharedPage
from mirror.store.reader import StoreReader
from mirror.supervisor.children import Ready, Report
from mirror.supervisor.crew import Seams, Station, Upgrading
from mirror.supervisor.fixed import check_listeners
from mirror.supervisor.handover import Handover, taken_over
from mirror.supervisor.listeners import Listeners, inherited_sockets, open_control
from mirror.supervisor.posts import process_name
from mirror.supervisor.supervisor import Supervisor
from mirror.supervisor.tls_watch import CertificateWatch

_INSTANCE = "instance"  # the name of this mirror among others, made once
SUPERVISOR_LOCK = "supervisor.lock"
_PAGE_SLOTS = 2 * MAX_WORKERS  # every worker beside its successor
_SPARE_FDS = 256  # databases, the keeper's socket, files being sent beyond one per connection


def serve(load: Callable[[], Config], *, running: str = "") -> int:
    """Run the mirror until it is told to stop; return the exit code.

    `load` is called again at SIGHUP. `running`: only try whether this program could take over from
    one with these records, and say so.
    Raises: ConfigError, StoreError for what makes a start pointless.
    """
    groups = ConfiguredGroups()
    load = groups.read_with(load)
    if running:
        return app_upgrade.try_handover(load, running)
    handed = taken_over(os.environ)
    config, differing = _first_config(load, handed)
    with contextlib.ExitStack() as stack:
        ground = _take_ground(config, handed, stack)
        listeners = ground.listeners
        events = open_events("supervisor", config.state.path)
        if differing:
            events.warning("reload-needs-restart", keys=differing)
        _raise_open_files(config, events)
        bound = {"listen": listeners.bound, "tls_listen": listeners.bound_tls}
        events.info("starting", version=mirror.__version__, **bound)
        certificates = CertificateWatch(SystemClock(), events)
        tls = certificates.load(config.serve)
        check_listeners(listeners, tls)
        seams = Seams(
            listeners=listeners,
            keeper_sockets=ground.control,
            page=ground.page,
            programs=_Programs(
                ground.page,
                ground.control,
                (*listeners.bound, *listeners.bound_tls),
                _loop_token(config.state.path),
                groups,
                _client_memory(config, events),
            ),
            reread=load,
            clock=SystemClock(),
            events=events,
            certificates=certificates,
            tls=tls,
            upgrading=_upgrading(ground, handed),
        )
        _load_for_keeper()
        # What is loaded so far is shared with the children; the collector must not touch it there.
        gc.collect()
        gc.freeze()
        return Supervisor(config, seams).run()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What is made once and lives as long as the mirror, whatever program runs it."""

    lock_fd: int
    listeners: Listeners
    control: tuple[socket.socket, ...]
    page: SharedPage


def _upgrading(ground: _Ground, handed: Handover | None) -> Upgrading:
    return Upgrading(
        command=app_upgrade.own_command(),
        environment=os.environ,
        lock_fd=ground.lock_fd,
        records=app_upgrade.RECORDS,
        taken_over=handed,
    )


def _first_config(load: Callable[[], Config], handed: Handover | None) -> tuple[Config, list[str]]:
    config = load()
    return (config, []) if handed is None else app_upgrade.keep_former(config, handed)


def _take_ground(config: Config, handed: Handover | None, stack: contextlib.ExitStack) -> _Ground:
    """Make it, or take over what the former program of this process has left."""
    if handed is None:
        lock_fd = _only_supervisor(config)
        stack.callback(os.close, lock_fd)
        claim(RealFiles(), Layout(root=config.store.path), config.state.path).release()
        listeners = Listeners(
            [parse_listen(text) for text in config.serve.listen],
            inherited_sockets(os.environ),
            tls=[parse_listen(text) for text in config.serve.tls_listen],
        )
    else:
        lock_fd = handed.lock_fd
        stack.callback(os.close, lock_fd)
        listeners = app_upgrade.take_listeners(config, handed)
    stack.callback(listeners.close)
    control: list[socket.socket] = []
    if handed is not None:
        control = app_upgrade.take_control(handed)
    elif config.control.listen:
        control = [open_control(parse_listen(config.control.listen))]
    for sock in control:
        stack.enter_context(sock)
    if handed is None:
        page = SharedPage.create(os.path.join(config.state.path, PAGE_NAME), _PAGE_SLOTS)
    else:
        page = app_upgrade.take_page(config, handed, _PAGE_SLOTS)
    return _Ground(lock_fd=lock_fd, listeners=listeners, control=tuple(control), page=page)


class _Programs:
    """What the supervisor forks."""

    def __init__(
        self,
        page: SharedPage,
        control: tuple[socket.socket, ...],
        listen: tuple[str, ...],
        loop_token: str,
        groups: ConfiguredGroups,
        clients: ClientMemory | None,
    ) -> None:
        self.clients = clients
        self.loop_token = loop_token
        self.groups = groups
        self.page = page
        self._supervisor_pid = os.getpid()  # an upgrade does not change it
        self._control = control
        self._listen = listen

    def run_worker(self, config: Config, slot: int, station: Station, ready: Ready) -> int:
        return _run(_worker(config, slot, station, self, ready))

    def run_keeper(self, config: Config, ready: Ready, *, is_first: bool) -> int:
        # Until it can tell who dies (`orphan_event`): one to the whole group is not for the keeper.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        from mirror import app_keeper

        inherited = app_keeper.Inherited(
            page=self.page,
            control=self._control,
            listen=self._listen,
            loop_token=self.loop_token,
            groups=self.groups.of(config),
            is_first=is_first,
            supervisor_pid=self._supervisor_pid,
            ready=ready,
        )
        return _run(app_keeper.run_keeper(config, inherited))

    def reporter(self, config: Config, slot: int) -> Report:
        def report(event: str, /, **fields: object) -> None:
            open_events(process_name(slot), config.state.path).error(event, **fields)

        return report


def _run(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` in a loop that is not closed: the process ends right after it.

    Closing waits for the loop's threads, and one that waits for a resolver waits for long.
    """
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(main)


async def _worker(
    config: Config, slot: int, station: Station, programs: _Programs, ready: Ready
) -> int:
    events = open_events(process_name(slot), config.state.path)
    clock = SystemClock()
    groups = programs.groups.of(config)
    counters = Counters.open(config.state.path, slot, configured_layout(config, groups))
    access_log = open_access_log(config, counters, clock, events)
    page = programs.page
    reader = StoreReader(config.store.path, page=page)
    client = KeeperClient(
        os.path.join(config.state.path, KEEPER_SOCKET),
        slot,
        store_path=config.store.path,
        wait_s=config.serve.keeper_wait,
        clock=clock,
        log=events,
    )
    worker = Worker(
        config,
        slot,
        [item.sock for item in station.listening if not item.is_tls],
        reader,
        client,
        counters,
        page,
        events,
        loop_token=programs.loop_token,
        tls=_tls_of(station),
        groups=groups,
        request_log=access_log,
        clients=programs.clients,
    )
    stop = stop_event()
    client.start()
    try:
        await worker.run(stop, ready)
    finally:
        await client.aclose()
        if access_log is not None:
            await access_log.aclose()
        reader.close()
        counters.close()
    return 0


def _client_memory(config: Config, events: EventLog) -> ClientMemory | None:
    """Return what the workers count their clients in together, whether there are limits or not."""
    try:
        return ClientMemory(_PAGE_SLOTS, config.limits.tracked_clients)
    except OSError as exc:
        events.warning("client-memory-missing", reason=str(exc))
        return None


def _tls_of(station: Station) -> TlsListening | None:
    if station.tls is None:
        return None
    sockets = tuple(item.sock for item in station.listening if item.is_tls)
    return TlsListening(context=station.tls.context, sockets=sockets)


def _loop_token(state_path: str) -> str:
    """Return this mirror's name in CDN-Loop (RFC 8586), made at the first start.

    Sent upstream and refused from clients. A name of its own for each mirror: one that is another
    one's upstream must not take that one's requests for its own.
    """
    path = os.path.join(state_path, _INSTANCE)
    try:
        with open(path, encoding="ascii") as file:
            token = file.read().strip()
    except (OSError, UnicodeDecodeError):
        token = ""
    if re.fullmatch(r"rust-mirror-[0-9a-f]{16}", token) is None:
        token = f"rust-mirror-{secrets.token_hex(8)}"
        with open(path, "w", encoding="ascii") as file:
            file.write(f"{token}\n")
    return token


def _only_supervisor(config: Config) -> int:
    """Hold the state directory for this family of processes; return what must stay open.

    The children inherit the descriptor on purpose: workers that outlive a killed supervisor go on
    counting until they have drained, and nobody else may use their files before.
    """
    path = os.path.join(config.state.path, SUPERVISOR_LOCK)
    try:
        os.makedirs(config.state.path, mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        hint = "name a directory that this user can write: --set state.path=…"
        reason = exc.strerror or "cannot be opened"
        raise StoreError(path, reason, hint=hint, noun="state") from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(fd)
        hint = "stop that one, or give this one another [state] path and [store] path"
        reason = "another running mirror owns it"
        raise StoreError(config.state.path, reason, hint=hint, noun="state") from exc
    # For `rust-mirror upgrade`, which looks whether that process holds this file.
    with contextlib.suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _load_for_keeper() -> None:
    """Import most of the keeper's side before the fork: it starts in 0.2 s instead of 0.4 s.

    Not aiohttp (`app_upstreams` loads it behind the serving) and not `app_keeper`, nor
    `cryptography` and `filler`: workers are forked from here too.
    """
    import mirror.fill.crates
    import mirror.fill.dates
    import mirror.fill.server
    import mirror.store.store  # noqa: F401


def _raise_open_files(config: Config, events: EventLog) -> None:
    """Allow one socket and one file per connection, as far as the hard limit goes."""
    needed = 2 * config.serve.max_connections + _SPARE_FDS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        events.warning("open-files-limited", limit=allowed, wanted=needed)

"""The keeper: store, upstreams, filler, the workers' socket and the control listeners.

Rules:
1. The heartbeat starts before the store is opened: recovery may take long, and a beating process
   is not replaced.
2. What is opened is closed in reverse, so that the last commit is made by an open store.
3. An upstream name that leads back here is refused at the first start. Later it is told as an
   event only: serving what is stored is worth more, and CDN-Loop stops the loop itself. The same
   holds for a release key file that is not the pinned key: it verifies nothing.

Runs in: keeper (the only process that loads aiohttp).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import socket
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mirror.accounting.access_log import open_access_log
from mirror.accounting.configured import configured_layout
from mirror.accounting.counters import KEEPER_SLOT, Counters
from mirror.accounting.groups import GroupTable
from mirror.accounting.keeper_totals import CountingEvents, KeeperTotals
from mirror.accounting.traffic import UpstreamTraffic
from mirror.app_books import KeeperBooks, open_books
from mirror.app_care import CareParts, open_care
from mirror.app_upstreams import LateUpstreams
from mirror.child import CONTROL_SOCKET, KEEPER_END, KEEPER_SOCKET, orphan_event, stop_event
from mirror.clock import Clock, SystemClock
from mirror.config import Config
from mirror.errors import ConfigError
from mirror.events import EventLog, open_events
from mirror.fill.disowned import withdraw_disowned
from mirror.fill.filler import Filler
from mirror.fill.release_key import check_key_file
from mirror.fill.server import KeeperServer
from mirror.jobs.repairing import keep_repaired
from mirror.loops import find_loops
from mirror.store.files import RealFiles
from mirror.store.page import SharedPage
from mirror.store.reader import StoreReader
from mirror.store.state_loss import is_there, note_loss
from mirror.store.store import Store
from mirror.supervisor.children import Ready

if TYPE_CHECKING:
    from mirror.app_control import KeeperParts
    from mirror.upstream.pools import Pools

BEAT_S = 0.25
SWEEP_S = 3600.0
ORPHAN_LOOK_S = 0.25  # longer than a worker takes to connect to a keeper that has just come
ORPHAN_GRACE_S = 2.0  # beyond the workers' own deadline
LOOP_CHECK_S = 2.0  # how long a start waits for the resolver; without a network it answers late


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """What the supervisor hands over: the page, the control listeners, the bound addresses.

    `ready` is called when workers are served.
    """

    page: SharedPage
    control: tuple[socket.socket, ...]
    listen: tuple[str, ...]
    loop_token: str
    groups: GroupTable
    is_first: bool
    supervisor_pid: int
    ready: Ready


async def run_keeper(config: Config, inherited: Inherited) -> int:
    """Serve the workers until `KEEPER_END`; orphaned, as long as workers drain.

    Raises: StoreError, ConfigError for what makes this keeper useless.
    """
    events = open_events("keeper", config.state.path)
    stop, orphaned = stop_event(KEEPER_END), orphan_event(inherited.supervisor_pid)
    async with contextlib.AsyncExitStack() as stack:
        beating = asyncio.create_task(_beat(inherited.page), name="heartbeat")
        stack.push_async_callback(_cancel, beating)
        loop_check = asyncio.create_task(_find_loops(config, inherited, events), name="loop check")
        stack.push_async_callback(_cancel, loop_check)
        server = await _open(config, inherited, events, stack)
        # What lives from here on is per request; the collector need not look at the rest again.
        gc.freeze()
        if inherited.is_first:
            await _refuse_loops(loop_check)
        inherited.ready()
        await _stay(stop, orphaned, server, config.serve.drain_timeout)
    return 0


async def _stay(
    stop: asyncio.Event, orphaned: asyncio.Event, server: KeeperServer, drain_s: float
) -> None:
    """Return when the keeper shall end: told so, or orphaned and no worker drains any more."""
    told = asyncio.create_task(stop.wait(), name="told to end")
    alone = asyncio.create_task(orphaned.wait(), name="orphaned")
    try:
        await asyncio.wait((told, alone), return_when=asyncio.FIRST_COMPLETED)
        limit_s = drain_s + ORPHAN_GRACE_S
        while not told.done() and limit_s > 0:
            limit_s -= ORPHAN_LOOK_S
            await asyncio.wait((told,), timeout=ORPHAN_LOOK_S)
            if not server.connections:
                return
    finally:
        await _cancel(told)
        await _cancel(alone)


async def _open(
    config: Config, inherited: Inherited, events: EventLog, stack: contextlib.AsyncExitStack
) -> KeeperServer:
    clock, state_path = SystemClock(), config.state.path
    started_at = clock.now()
    counters, traffic = _open_counters(config, inherited, clock, events, stack)
    totals = KeeperTotals(counters)
    events = CountingEvents(events, totals)
    await _check_key_file(config, inherited, events)
    store = await asyncio.to_thread(_open_store, config, inherited.page, clock, events, totals)
    stack.callback(store.close)
    reader = StoreReader(config.store.path, page=inherited.page)
    stack.callback(reader.close)
    has_state = is_there(state_path)
    books = await open_books(config, counters.layout, clock, events, stack)
    state = books.state
    if not has_state and store.has_objects:
        await asyncio.to_thread(note_loss, state, clock, events)
    await asyncio.to_thread(withdraw_disowned, store, state, events)
    opening = partial(_open_pools, config, inherited.loop_token, traffic, clock, events, totals)
    upstreams = LateUpstreams(opening)
    stack.push_async_callback(upstreams.aclose)
    filler = Filler(
        store, upstreams.by_name, config, clock, events, reader=reader, trust=state, tally=totals
    )
    stack.push_async_callback(filler.aclose)
    await filler.reprove()
    server = await _serve_workers(filler, books, state_path, events, stack)
    # From here on a miss of what is stored is answered: the rest is imported and begun behind it.
    pools = await upstreams.opened()
    _look_after(store, events, stack)
    books.bookkeeper.start()
    care = open_care(
        CareParts(
            config=config, store=store, filler=filler, clock=clock, events=events, totals=totals
        ),
        stack,
    )
    # Much of what this process imports is the control plane's; no miss waits for that.
    await asyncio.to_thread(importlib.import_module, "mirror.app_control")
    from mirror.app_control import KeeperParts

    parts = KeeperParts(
        config=config, page=inherited.page, clock=clock, events=events, listen=inherited.listen,
        started_at=started_at, store=store, reader=reader, books=books, pools=pools,
        filler=filler, server=server, groups=inherited.groups, care=care,
    )  # fmt: skip
    await _start_control(parts, inherited.control, stack)
    return server


def _open_pools(
    config: Config,
    own_token: str,
    traffic: UpstreamTraffic,
    clock: Clock,
    events: EventLog,
    totals: KeeperTotals,
) -> Pools:
    from mirror.upstream.pools import open_pools

    return open_pools(
        config.upstream, own_token=own_token, meter=traffic, clock=clock, log=events,
        queue_wait_s=float(config.limits.queue_wait), tally=totals,
    )  # fmt: skip


def _look_after(store: Store, events: EventLog, stack: contextlib.AsyncExitStack) -> None:
    """Begin what is done for an open store as long as it is open."""
    repairing = asyncio.create_task(keep_repaired(store.repair, events), name="repair")
    stack.push_async_callback(_cancel, repairing)
    sweeping = asyncio.create_task(_expire_quarantine(store), name="quarantine")
    stack.push_async_callback(_cancel, sweeping)


async def _start_control(
    parts: KeeperParts, listeners: tuple[socket.socket, ...], stack: contextlib.AsyncExitStack
) -> None:
    from mirror.app_control import make_control

    control = make_control(parts)
    stack.push_async_callback(control.aclose)
    await control.start(os.path.join(parts.config.state.path, CONTROL_SOCKET), listeners)
    parts.events.info("control-ready", listen=control.bound)


async def _serve_workers(
    filler: Filler,
    books: KeeperBooks,
    state_path: str,
    events: EventLog,
    stack: contextlib.AsyncExitStack,
) -> KeeperServer:
    path = os.path.join(state_path, KEEPER_SOCKET)
    server = KeeperServer(filler, path, log=events, observer=books.accounts)
    stack.push_async_callback(server.aclose)
    await server.start()
    return server


def _open_counters(
    config: Config,
    inherited: Inherited,
    clock: Clock,
    events: EventLog,
    stack: contextlib.AsyncExitStack,
) -> tuple[Counters, UpstreamTraffic]:
    """Return the counters, and what counts and logs requests to upstreams."""
    layout = configured_layout(config, inherited.groups)
    counters = Counters.open(config.state.path, KEEPER_SLOT, layout)
    stack.callback(counters.close)
    access_log = open_access_log(config, counters, clock, events)
    if access_log is not None:
        stack.push_async_callback(access_log.aclose)
    return counters, UpstreamTraffic(counters, clock, access_log)


def _open_store(
    config: Config, page: SharedPage, clock: Clock, events: EventLog, totals: KeeperTotals
) -> Store:
    return Store.open(
        config.store,
        config.state,
        RealFiles(),
        clock,
        page,
        log=events,
        tally=totals,
        repairs_later=True,
    )


async def _expire_quarantine(store: Store) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)  # opening the store was the first time
        await asyncio.to_thread(store.quarantined.expire)


async def _beat(page: SharedPage) -> None:
    clock = SystemClock()
    while True:
        page.beat(KEEPER_SLOT, int(clock.monotonic() * 1000))
        await asyncio.sleep(BEAT_S)


async def _find_loops(config: Config, inherited: Inherited, events: EventLog) -> list[ConfigError]:
    ports = frozenset(
        int(port) for item in inherited.listen if (port := item.rpartition(":")[2]).isdigit()
    )
    errors = await asyncio.to_thread(find_loops, config, ports)
    for error in errors:
        events.error("upstream-is-this-mirror", key=error.key, reason=error.message)
    return errors


async def _check_key_file(config: Config, inherited: Inherited, events: EventLog) -> None:
    """Raises ConfigError for a wrong `trust.release_key_file` at the first start; see rule 3."""
    try:
        await asyncio.to_thread(check_key_file, config.trust)
    except ConfigError as exc:
        if inherited.is_first:
            raise
        events.error("release-key-refused", key=exc.key, reason=exc.message)


async def _refuse_loops(loop_check: asyncio.Task[list[ConfigError]]) -> None:
    """Raises ConfigError when an upstream leads back to this machine."""
    await asyncio.wait((loop_check,), timeout=LOOP_CHECK_S)
    if loop_check.done():
        for error in loop_check.result():
            raise error


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

"""How this program takes over from another version of itself, and what it says about itself first.

Rules:
1. The versions of everything that living processes share are named here, in one place.
2. A trial run finds what would keep this program from starting, before the running one is given up:
   a module that does not load, a configuration or certificate that is refused, a store or state of
   a version that this program does not keep.
3. What is taken over is taken as it is: the lock, every listening socket, the control listeners.

Runs in: supervisor; the trial run.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import socket
import sys
from collections.abc import Callable

import mirror
from mirror.addresses import parse_listen
from mirror.config import Config
from mirror.errors import ConfigError, StoreError
from mirror.fill.frames import PROTOCOL_VERSION
from mirror.store.layout import FORMAT
from mirror.store.page import PAGE_NAME, PAGE_VERSION, SharedPage
from mirror.store.schema import INDEX_VERSION
from mirror.store.state import STATE_VERSION
from mirror.supervisor.fixed import keep_fixed, with_fixed
from mirror.supervisor.handover import HANDOVER_VERSION, HandedSocket, Handover
from mirror.supervisor.listeners import Listeners, Listening
from mirror.supervisor.tls_context import load_credentials

RECORDS: dict[str, str | int] = {
    "page": PAGE_VERSION,
    "protocol": PROTOCOL_VERSION,
    "index": INDEX_VERSION,
    "store": FORMAT.strip(),
    "state": STATE_VERSION,
}
# The rooms that a worker or the keeper may load a part of late.
_ROOMS = (
    *("accounting", "control", "fill", "http", "jobs", "route", "serve", "store", "supervisor"),
    *("upstream", "verify"),
)


def try_handover(load: Callable[[], Config], running: str) -> int:
    """Say whether this program could take over from one whose records are `running` (JSON).

    Raises: ConfigError, StoreError for what a person must repair; anything else: it is broken.
    """
    records = json.loads(running)
    if records.get("store") != RECORDS["store"]:
        raise StoreError(
            "store",
            f"the running mirror keeps {records.get('store')!r}, this version {RECORDS['store']!r}",
            hint="no upgrade in place: start this version with another [store] path",
        )
    if int(records.get("state", 0)) > STATE_VERSION:
        raise StoreError(
            "state.db",
            f"it has version {records['state']}, this program keeps {STATE_VERSION}",
            hint="install a version that is not older than the one that runs",
            noun="state",
        )
    config = load()
    load_credentials(config.serve)
    for room in _ROOMS:
        for module in pkgutil.iter_modules([os.path.join(os.path.dirname(__file__), room)]):
            importlib.import_module(f"mirror.{room}.{module.name}")
    importlib.import_module("mirror.app_keeper")
    answer = {
        "version": mirror.__version__,
        "handover": HANDOVER_VERSION,
        "is_seamless": all(
            records.get(name) == RECORDS[name] for name in ("page", "protocol", "index")
        ),
    }
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


def own_command() -> tuple[str, ...]:
    """Return what starts this program again, whatever is then on disk; empty when unknown."""
    if not sys.executable or len(sys.orig_argv) < 2:
        return ()
    return (sys.executable, *sys.orig_argv[1:])


def keep_former(config: Config, handed: Handover) -> tuple[Config, list[str]]:
    """Return `config` with what the former program's sockets are bound to; see `fixed`."""
    return keep_fixed(config, with_fixed(config, handed.fixed))


def take_listeners(config: Config, handed: Handover) -> Listeners:
    """Return the lanes of the former program; more of them can be opened."""
    return Listeners(
        [parse_listen(text) for text in config.serve.listen],
        [_listening(item) for item in handed.inherited],
        tls=[parse_listen(text) for text in config.serve.tls_listen],
        lanes={
            number: [_listening(item) for item in lane] for number, lane in handed.lanes.items()
        },
    )


def take_control(handed: Handover) -> list[socket.socket]:
    return [socket.socket(fileno=fd) for fd in handed.control]


def take_page(config: Config, handed: Handover, slots: int) -> SharedPage:
    """Return the page that the former program's children live by, or a fresh one for ours."""
    path = os.path.join(config.state.path, PAGE_NAME)
    if handed.is_seamless(RECORDS):
        with contextlib.suppress(StoreError):
            return SharedPage.attach(path)
    return SharedPage.create(path, slots)


def _listening(item: HandedSocket) -> Listening:
    try:
        return Listening(sock=socket.socket(fileno=item.fd), is_tls=item.is_tls)
    except OSError as exc:
        raise ConfigError("handover", str(item.fd), f"a listening socket ({exc})") from exc

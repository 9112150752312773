"""A program for the supervisor's tests: a real supervisor with children that only answer their pid.

Usage: `python -m tests.unit.supervisor.supervised STATE_DIRECTORY WORKERS`. The file `mode` in the
directory is read by every child when it starts ("refuse", "crash") and `reload` at SIGHUP: the
number of workers, or a text that is no number for a wrong configuration. After the number may stand
who cannot start with that configuration: "keeper", or "second" (every worker but the first one).

Each worker writes one line per accepted connection: its slot and pid.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType

import msgspec

from mirror.addresses import parse_listen
from mirror.child import KEEPER_END
from mirror.clock import SystemClock
from mirror.config import Config, Duration, Serve, State
from mirror.errors import ConfigError
from mirror.events import open_events
from mirror.store.page import KEEPER_SLOT, SharedPage
from mirror.supervisor.children import Exit, Ready, Report
from mirror.supervisor.crew import Seams, Station
from mirror.supervisor.listeners import Listeners, inherited_sockets
from mirror.supervisor.posts import process_name
from mirror.supervisor.supervisor import Supervisor
from mirror.supervisor.tls_watch import CertificateWatch

SLOTS = 16


class Children:
    def __init__(self, state: Path, page: SharedPage) -> None:
        self._state = state
        self._page = page

    def run_worker(self, config: Config, slot: int, station: Station, ready: Ready) -> int:
        if config.upstream.contact == "second":
            try:
                (self._state / "started").touch(exist_ok=False)
            except FileExistsError as exc:
                raise ConfigError("a.key", "second", "something else") from exc
        return self._live(slot, [item.sock for item in station.listening], ready)

    def run_keeper(self, config: Config, ready: Ready, *, is_first: bool) -> int:
        if config.upstream.contact == "keeper":
            raise ConfigError("a.key", "keeper", "something else")
        return self._live(KEEPER_SLOT, [], ready)

    def reporter(self, config: Config, slot: int) -> Report:
        return open_events(process_name(slot), None).error

    def _live(self, slot: int, sockets: list[socket.socket], ready: Ready) -> int:
        mode_file = self._state / "mode"
        mode = mode_file.read_text() if mode_file.exists() else ""
        if mode == "refuse":
            raise ConfigError("a.key", "x", "something else")
        if mode == "crash" and slot != KEEPER_SLOT:
            return int(Exit.FAILED)
        stopping: list[int] = []

        def stop(number: int, _frame: FrameType | None) -> None:
            stopping.append(number)

        for number in (signal.SIGTERM, KEEPER_END):
            signal.signal(number, signal.SIG_IGN if mode == "deaf" else stop)
        ready()
        while not stopping:
            self._page.beat(slot, int(time.monotonic() * 1000))
            for sock in select.select(sockets, [], [], 0.02)[0]:
                with contextlib.suppress(BlockingIOError):
                    connection, _address = sock.accept()
                    with connection:
                        connection.sendall(f"{slot} {os.getpid()}\n".encode())
        return int(Exit.CLEAN)


def main() -> None:
    state, workers = Path(sys.argv[1]), int(sys.argv[2])

    def reread() -> Config:
        text = (state / "reload").read_text()
        count, _, refusing = text.partition(" ")
        if not count.isdigit():
            raise ConfigError("serve.workers", text, "a whole number")
        config = with_workers(int(count))
        upstream = msgspec.structs.replace(config.upstream, contact=refusing)
        return msgspec.structs.replace(config, upstream=upstream)

    def with_workers(count: int) -> Config:
        serve = Serve(listen=("127.0.0.1:0",), workers=count, drain_timeout=Duration(0.5))
        return msgspec.structs.replace(Config(), serve=serve, state=State(path=str(state)))

    listeners = Listeners([parse_listen("127.0.0.1:0")], inherited_sockets(os.environ))
    page = SharedPage.create(str(state / "page"), SLOTS)
    seams = Seams(
        listeners=listeners,
        keeper_sockets=(),
        page=page,
        programs=Children(state, page),
        reread=reread,
        clock=SystemClock(),
        events=open_events("supervisor", None),
        certificates=CertificateWatch(SystemClock(), open_events("supervisor", None)),
    )
    sys.exit(Supervisor(with_workers(workers), seams).run())


if __name__ == "__main__":
    main()

"""Events: one JSON line each on standard error, and the latest ones kept for `status`.

Rules:
1. An event has a name in kebab-case and fields. A warning or error that needs a person says what
   to do in its field `hint`: the caller's, or that of `event_hints`.
2. Rooms take an `EventLog`; only `app.py`, the supervisor and commands make one.
3. A line is ASCII: control and non-ASCII characters of outside input are escaped, so that nothing
   a client or upstream sends can forge a line or drive a terminal.
4. Each process keeps its latest lines in a bounded file of its own,
   `<state>/events/<process>.jsonl` with one predecessor `.old`: they survive its death, and
   reading them needs no live process.
5. Telling is never a reason to fail or to wait: a full disk, a closed standard error, or a pipe
   that nobody reads loses the line. Lines lost on standard error are counted, and the next one that
   passes follows an `events-lost` with their number.

Units: `time` is UTC in ISO 8601 with microseconds.
Runs in: worker, keeper, supervisor, commands.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

from mirror.event_hints import HINTS

KEPT_BYTES = 65536  # per file, two files per process: a few hundred lines
SHOWN_EVENTS = 100
MAX_LINE_BYTES = 4000  # one write up to PIPE_BUF (4096) is not torn by another process


class EventLog(Protocol):
    def info(self, event: str, /, **fields: object) -> None: ...

    def warning(self, event: str, /, **fields: object) -> None: ...

    def error(self, event: str, /, **fields: object) -> None: ...


class EventSink:
    """Writes finished lines to `stderr_fd` and to the bounded file of one process."""

    def __init__(self, directory: Path | None, process: str, *, stderr_fd: int = 2) -> None:
        self._path = None if directory is None else directory / f"{process}.jsonl"
        self._process = process
        self._stderr_fd = stderr_fd
        self._lost_total = 0  # since the last line that passed

    def info(self, line: str) -> None:
        """Write one line; the level is already inside it."""
        content = _content(line)
        self._tell(content)
        with contextlib.suppress(OSError):  # rule 5
            self._keep(content)

    warning = error = info

    def _tell(self, content: bytes) -> None:
        lost_total = self._lost_total
        try:
            if lost_total:
                write_at_once(self._stderr_fd, self._loss(lost_total))
                self._lost_total = 0
            write_at_once(self._stderr_fd, content)
        except OSError:
            self._lost_total += 1

    def _loss(self, lost_total: int) -> bytes:
        named = {"level": "warning", "event": "events-lost", "process": self._process}
        return _content(_rendered(None, "", named | {"pid": os.getpid(), "lost": lost_total}))

    def _keep(self, content: bytes) -> None:
        # Opened for each line: events are rare, and a worker then holds no descriptor for them.
        if self._path is None:
            return
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, content)
            is_full = os.fstat(fd).st_size >= KEPT_BYTES
        finally:
            os.close(fd)
        if is_full:
            os.replace(self._path, self._path.with_suffix(".old"))


def write_at_once(fd: int, content: bytes) -> None:
    """Write to what `fd` is, all of it or nothing, without ever waiting for its reader.

    `fd` itself stays blocking: it is shared with other programs. Up to PIPE_BUF (4096) bytes.
    Raises: OSError, also when it would have to wait.
    """
    kind = os.fstat(fd).st_mode
    if stat.S_ISSOCK(kind):  # as systemd gives it; a socket cannot be opened again
        with socket.socket(fileno=os.dup(fd)) as sock:
            sock.send(content, socket.MSG_DONTWAIT)
    elif stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
        own_fd = _opened_again(fd)
        try:
            os.write(fd if own_fd is None else own_fd, content)
        finally:
            if own_fd is not None:
                os.close(own_fd)
    else:
        os.write(fd, content)


def _opened_again(fd: int) -> int | None:
    """Return a non-blocking descriptor of its own for a pipe or terminal.

    None when this user may not open it (a pipe made by root before it gave up its rights); then
    there is room at this moment, and only a process that fills it in between can make us wait.
    Asking for room is not enough where it can be avoided: our processes share one pipe, and
    1. this process and another one ask, both are told that there is room for one line
    2. the other one writes its line
    3. this one writes and waits, for ever when nobody reads.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        return os.open(f"/proc/self/fd/{fd}", flags)
    poller = select.poll()
    poller.register(fd, select.POLLOUT)
    if not poller.poll(0):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return None


def _content(line: str) -> bytes:
    return line.encode("ascii", "backslashreplace") + b"\n"


def open_events(process: str, state_path: str | None, *, stderr_fd: int = 2) -> EventLog:
    """Return the event log of this process; `state_path` None keeps nothing on disk.

    Call it after a fork, in the process that will use it: the lines carry its pid.
    """
    structlog = _import_structlog()
    directory = None if state_path is None else Path(state_path) / "events"
    logger = structlog.wrap_logger(
        EventSink(directory, process, stderr_fd=stderr_fd),
        processors=[structlog.processors.add_log_level, _rendered],
        wrapper_class=structlog.make_filtering_bound_logger(20),  # INFO
    )
    return cast(EventLog, logger.bind(process=process, pid=os.getpid()))


def latest_events(state_path: str, count: int = SHOWN_EVENTS) -> list[dict[str, Any]]:
    """Return the latest events of all processes, oldest first; unreadable lines are left out."""
    events: list[dict[str, Any]] = []
    for path in sorted((Path(state_path) / "events").glob("*.*")):
        events.extend(_read(path, count))
    events.sort(key=lambda event: str(event.get("time", "")))
    return events[-count:]


def events_stamp(state_path: str) -> object:
    """Return what differs from what it was when an event has been kept since."""
    stamp = []
    for path in sorted((Path(state_path) / "events").glob("*.*")):
        with contextlib.suppress(FileNotFoundError):  # replaced while we looked: its name is new
            status = path.stat()
            stamp.append((path.name, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(stamp)


def _read(path: Path, count: int) -> Iterator[dict[str, Any]]:
    """Yield a file's newest events; its lines are in their order."""
    try:
        content = path.read_bytes()
    except OSError:
        return  # replaced or removed while we looked: its lines are in the other file
    for line in content.splitlines()[-count:]:
        try:
            event = json.loads(line)
        except ValueError:
            continue  # a line cut by a crash or a full disk
        if isinstance(event, dict):
            yield event


def _rendered(_logger: object, _method: str, fields: dict[str, Any]) -> str:
    """Return the line, the fixed fields first."""
    fixed = {
        "time": datetime.now(UTC).isoformat(timespec="microseconds"),
        "level": fields.pop("level"),
        "event": fields.pop("event"),
        "process": fields.pop("process"),
        "pid": fields.pop("pid"),
    }
    if fixed["level"] != "info" and not fields.get("hint") and fixed["event"] in HINTS:
        fields["hint"] = HINTS[fixed["event"]]
    line = json.dumps(fixed | fields, default=str)
    if len(line) > MAX_LINE_BYTES:
        shown = {name: str(value)[:200] for name, value in list(fields.items())[:12]}
        line = json.dumps(fixed | {"cut": True} | shown)[:MAX_LINE_BYTES]
    return line


def _import_structlog() -> ModuleType:
    """Import structlog without rich, which it would import for tracebacks that are not used here.

    Workers must not carry rich (memory, start time); `None` in `sys.modules` makes the import of
    that name fail, which structlog expects and handles.
    """
    hides_rich = "rich" not in sys.modules
    if hides_rich:
        sys.modules["rich"] = cast(ModuleType, None)
    try:
        import structlog
    finally:
        if hides_rich:
            del sys.modules["rich"]
    return structlog

"""Whether the machine grants what the configuration may ask of it: files, queues, memory.

Units: bytes; files are counted per process, as the kernel does.
Runs in: commands. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mirror.doctor.findings import Finding
from mirror.doctor.said import good, note, risk, size, wrong

UNLIMITED = -1
SPARE_FILES = 256  # as the supervisor counts: databases, sockets between the processes
_PROCESS_BYTES = 48 << 20  # an idle worker, measured
_KEEPER_BYTES = 128 << 20  # the keeper with its accounts, measured under load
_PLAIN_BYTES, _TLS_BYTES = 3 << 10, 40 << 10  # an idle connection (config/default.toml)
_FEW = 1024  # a queue below it drops connections when a build farm starts at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the configuration asks for; `backlog` is what the listening sockets ask."""

    workers: int
    max_connections: int
    has_tls: bool
    hot_memory_bytes: int
    backlog: int

    @property
    def files(self) -> int:
        return 2 * self.max_connections + SPARE_FILES


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """`UNLIMITED` where there is no limit, None where nobody could tell.

    `is_mirrors`: the limits of open files are those of the running mirror, not of this shell.
    """

    soft_files: int | None
    hard_files: int | None
    all_files: int | None
    somaxconn: int | None
    memory_bytes: int | None
    is_mirrors: bool


def judge_limits(wanted: Wanted, granted: Granted) -> Iterator[Finding]:
    yield _open_files(wanted, granted)
    yield from _all_files(wanted, granted)
    yield from _queue(wanted, granted)
    yield _memory(wanted, granted)


def _open_files(wanted: Wanted, granted: Granted) -> Finding:
    subject, hard, soft = "open files", granted.hard_files, granted.soft_files
    if hard is None or soft is None:
        return note(
            subject, "the limit could not be read", "run it as root or as the mirror's user"
        )
    seen = f"nofile {_number(soft)} soft, {_number(hard)} hard"
    least = soft if granted.is_mirrors else hard  # a mirror that runs has raised its own
    if least == UNLIMITED or least >= wanted.files:
        return good(subject, f"a process may have the {wanted.files:,} that it may need", seen)
    fitting = max(1, (least - SPARE_FILES) // 2)
    remedy = f"LimitNOFILE={wanted.files} in the unit, or [serve] max_connections = {fitting}"
    sentence = (
        f"a process may have {least:,}; {wanted.max_connections:,} connections need "
        f"{wanted.files:,}"
    )
    if granted.is_mirrors:
        return risk(subject, sentence, remedy, seen)
    return risk(subject, f"{sentence} (read here: under systemd the unit's counts)", remedy, seen)


def _all_files(wanted: Wanted, granted: Granted) -> Iterator[Finding]:
    total = wanted.files * (wanted.workers + 1)
    if granted.all_files is not None and granted.all_files < total:
        sentence = f"the machine allows {granted.all_files:,}; all workers may need {total:,}"
        yield risk("open files", sentence, f"sysctl fs.file-max={2 * total}", "fs.file-max")


def _queue(wanted: Wanted, granted: Granted) -> Iterator[Finding]:
    depth = granted.somaxconn
    if depth is None or depth >= wanted.backlog:
        return
    sentence = (
        f"the kernel queues {depth:,} connections that wait, {wanted.backlog:,} are asked for"
    )
    remedy, seen = f"sysctl net.core.somaxconn={wanted.backlog}, and restart", "net.core.somaxconn"
    say = risk if depth < _FEW else note
    yield say("accept queue", sentence, remedy, seen)


def _memory(wanted: Wanted, granted: Granted) -> Finding:
    subject, memory = "memory", granted.memory_bytes
    if memory is None:
        return note(subject, "could not be read", "see that /proc is mounted")
    each = _TLS_BYTES if wanted.has_tls else _PLAIN_BYTES
    hot = wanted.workers * wanted.hot_memory_bytes
    base = wanted.workers * _PROCESS_BYTES + _KEEPER_BYTES + hot
    most = base + wanted.workers * wanted.max_connections * each
    seen = f"{wanted.workers} workers"
    told = f"{size(base)} with hot objects, {size(most)} with every connection, of {size(memory)}"
    remedy = "lower [serve] hot_memory, workers or max_connections"
    if base > memory:
        return wrong(subject, f"{told}: the kernel will kill processes", remedy, seen)
    if most > memory:
        return risk(subject, f"{told}: a crowd may exhaust it", remedy, seen)
    return good(subject, told, seen)


def _number(limit: int) -> str:
    return "unlimited" if limit == UNLIMITED else f"{limit:,}"

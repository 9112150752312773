"""What `doctor` reads of the machine: disks, mounts, owners, limits, clock.

Rules:
1. Nothing stays behind but for the time of a trial file in the two directories.
2. Where a mirror runs, limits, user and mounts are those of its processes.

Units: bytes, seconds.
Runs in: commands.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import re
import resource
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass

from mirror.config import Config
from mirror.doctor.disks import Volume
from mirror.doctor.machine_limits import UNLIMITED, Granted
from mirror.doctor.permissions import Ownership, Role, User
from mirror.store.files import RealFiles, replace_file, unlink_if_there
from mirror.store.layout import Layout
from mirror.store.state import STATE_NAME

_TRIAL_BYTES = 4096
_TIME_ERROR, _UNSYNCHRONISED = 5, 0x40  # adjtimex(2): TIME_ERROR, STA_UNSYNC
_ESCAPED = re.compile(r"\\([0-7]{3})")
_CGROUPS = "/sys/fs/cgroup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    point: str
    file_system: str
    options: frozenset[str]


def mount_of(path: str, pid: int | None = None) -> Mount:
    """Return the mount that `path` is on, as the process `pid` sees it. Raises: OSError."""
    real = os.path.realpath(path)
    found = Mount(point="", file_system="", options=frozenset())
    with open(f"/proc/{pid or 'self'}/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            head, _, tail = line.partition(" - ")
            cells, ends = head.split(), tail.split()
            if len(cells) < 6 or len(ends) < 2:
                continue
            point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), cells[4])
            is_below = f"{real}/".startswith(f"{point.rstrip('/')}/")
            if is_below and len(point) >= len(found.point):  # the last of equals covers the others
                options = {*cells[5].split(","), *(ends[2].split(",") if len(ends) > 2 else ())}
                found = Mount(point=point, file_system=ends[0], options=frozenset(options))
    return found


def volume_of(noun: str, path: str) -> Volume:
    """Return the file system of `path`, or of where it would be made. Raises: OSError."""
    there = path
    while not os.path.lexists(there) and os.path.dirname(there) != there:
        there = os.path.dirname(there)
    figures, mount = os.statvfs(there), mount_of(there)
    options = mount.options | {"ro"} if figures.f_flag & os.ST_RDONLY else mount.options
    return Volume(
        noun=noun,
        path=path,
        file_system=mount.file_system,
        options=frozenset(options),
        device=os.stat(there).st_dev,
        free_bytes=figures.f_bavail * figures.f_frsize,
        total_bytes=figures.f_blocks * figures.f_frsize,
        free_inodes=figures.f_favail,
        inodes=figures.f_files,
    )


def is_directory(path: str) -> bool:
    """Raises: OSError where this user may not even look."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def write_trial(path: str) -> tuple[float, str]:
    """Write, sync and rename a file in `path`, as publishing does; return seconds and trouble."""
    files, name = RealFiles(), f"{path}/doctor-{os.getpid()}"
    began_at = time.monotonic()
    try:
        try:
            replace_file(files, name, bytes(_TRIAL_BYTES), durable=True)
            files.sync_directory(path)
        finally:
            unlink_if_there(files, name)
    except OSError as exc:
        return time.monotonic() - began_at, exc.strerror or type(exc).__name__
    return time.monotonic() - began_at, ""


def user_of(pid: int | None, state_path: str) -> User:
    """Return whom the mirror runs as: the process, else the owner of its state, else this user."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        if pid is not None:
            lines = _lines(f"/proc/{pid}/status")
            uid, gid = int(lines["Uid"].split()[1]), int(lines["Gid"].split()[1])
            groups = {int(text) for text in lines["Groups"].split()}
            return User(name=_name(uid), uid=uid, groups=frozenset({gid, *groups}))
        return _account(os.stat(state_path).st_uid)
    return _account(os.geteuid())


def owners(config: Config, config_file: str) -> list[Ownership]:
    """Return what stat says of every path that matters."""
    layout, state = Layout(root=config.store.path), config.state.path
    found = [_stat(Role.STORE, layout.root, "store.path"), _stat(Role.STATE, state, "state.path")]
    own = [layout.format, layout.lock, layout.index, layout.blobs, layout.partials, layout.heads]
    own += [layout.quarantine, f"{state}/{STATE_NAME}", f"{state}/supervisor.lock"]
    found += [_stat(Role.OWN, path) for path in own]
    if config.log.access:
        found.append(_stat(Role.OWN, os.path.dirname(config.log.access) or ".", "log.access"))
    if config_file:
        found.append(_stat(Role.CONFIG, config_file))
    tls, upstream = config.serve.tls, config.upstream
    named = [
        (Role.PRIVATE, tls.private_key, "serve.tls.private_key"),
        (Role.NAMED, tls.certificate, "serve.tls.certificate"),
        (Role.NAMED, tls.client_ca, "serve.tls.client_ca"),
        (Role.NAMED, upstream.ca_file, "upstream.ca_file"),
        (Role.NAMED, config.trust.release_key_file, "trust.release_key_file"),
        (Role.NAMED, config.accounting.groups, "accounting.groups"),
        (Role.NAMED, config.accounting.prices, "accounting.prices"),
    ]
    for name in ("releases", "crates", "index"):
        key = f"upstream.{name}.s3.secret_access_key_file"
        named.append((Role.PRIVATE, getattr(upstream, name).s3.secret_access_key_file, key))
    return found + [_stat(role, path, key) for role, path, key in named if path]


def granted(pid: int | None) -> Granted:
    """Return what the kernel allows the mirror; `pid` None: what it allows this command."""
    limits = None if pid is None else _open_files(pid)
    soft, hard = limits or resource.getrlimit(resource.RLIMIT_NOFILE)
    return Granted(
        soft_files=UNLIMITED if soft == resource.RLIM_INFINITY else soft,
        hard_files=UNLIMITED if hard == resource.RLIM_INFINITY else hard,
        all_files=_number("/proc/sys/fs/file-max"),
        somaxconn=_number("/proc/sys/net/core/somaxconn"),
        memory_bytes=_memory_bytes(pid),
        is_mirrors=limits is not None,
    )


def elsewhere(pid: int, paths: tuple[str, ...]) -> list[str]:
    """Return which `paths` are other directories for the process `pid`. Raises: OSError."""
    other = []
    for path in paths:
        here = os.stat(path)
        try:
            there = os.stat(f"/proc/{pid}/root{os.path.realpath(path)}")
        except FileNotFoundError:
            other.append(path)
            continue
        if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
            other.append(path)
    return other


class _Timex(ctypes.Structure):
    """struct timex, as far as `status`; the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def is_synchronised() -> bool | None:
    """Ask the kernel whether somebody keeps its clock right; None: it does not say."""
    timex = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    return not (state == _TIME_ERROR or timex.status & _UNSYNCHRONISED)


def _stat(role: Role, path: str, key: str = "") -> Ownership:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Ownership(role=role, path=path, key=key, is_absent=True)
    except OSError as exc:
        trouble = exc.strerror or "cannot be read"
        return Ownership(role=role, path=path, key=key, trouble=trouble)
    return Ownership(
        role=role, path=path, key=key, mode=found.st_mode, uid=found.st_uid, gid=found.st_gid
    )


def _account(uid: int) -> User:
    try:
        account = pwd.getpwuid(uid)
        groups = os.getgrouplist(account.pw_name, account.pw_gid)
    except (KeyError, OSError):
        return User(name=str(uid), uid=uid, groups=frozenset())
    return User(name=account.pw_name, uid=uid, groups=frozenset(groups))


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _lines(path: str) -> dict[str, str]:
    with open(path, encoding="utf-8", errors="replace") as file:
        pairs = (line.partition(":") for line in file)
        return {name: rest.strip() for name, _, rest in pairs}


def _open_files(pid: int) -> tuple[int, int] | None:
    try:
        with open(f"/proc/{pid}/limits", encoding="ascii") as file:
            line = next(line for line in file if line.startswith("Max open files"))
    except (OSError, StopIteration, UnicodeDecodeError):
        return None
    soft, hard = line.split()[3:5]
    return _limit(soft), _limit(hard)


def _limit(text: str) -> int:
    return int(text) if text.isdigit() else resource.RLIM_INFINITY


def _number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _memory_bytes(pid: int | None) -> int | None:
    """Return the machine's memory, or what the control groups of the process leave of it."""
    sizes = list(_group_limits(pid))
    with contextlib.suppress(OSError, KeyError, ValueError):
        sizes.append(int(_lines("/proc/meminfo")["MemTotal"].split()[0]) * 1024)
    return min(sizes, default=None)


def _group_limits(pid: int | None) -> Iterator[int]:
    try:
        with open(f"/proc/{pid or 'self'}/cgroup", encoding="utf-8") as file:
            groups = [line.rstrip("\n").split(":", 2) for line in file]
    except (OSError, ValueError):
        return
    for _, controllers, path in (cells for cells in groups if len(cells) == 3):
        if controllers not in ("", "memory"):
            continue
        root = f"{_CGROUPS}/memory" if controllers else _CGROUPS
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        while True:
            limit = _number(f"{root}{path.rstrip('/')}/{name}")
            if limit is not None:
                yield limit
            if path in ("", "/"):
                break
            path = os.path.dirname(path)

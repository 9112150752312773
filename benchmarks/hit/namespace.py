"""A private network namespace with a congestion control of our choice.

Why: a machine's default may be BBR, which paces loopback and punishes `sendfile`: large bodies then
measure the pacing. reno and cubic do not pace.

Rules:
1. Only this process and its children see the namespace; the machine's own settings stay.
2. Where it is not allowed, the caller learns why and may go on with the machine's default.
3. Enter it before any thread exists: the kernel moves only the calling thread.

Runs in: benchmark.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from pathlib import Path

_CLONE_NEWUSER = 0x10000000  # <linux/sched.h>
_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS = 0x8913  # <linux/sockios.h>
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_SETTINGS = Path("/proc/sys/net/ipv4")
# A connection per request leaves each port waiting for a minute: use all that there are.
_PORT_RANGE = "2000 65000"


class NamespaceError(Exception):
    """Why there is no private namespace."""


class CongestionError(Exception):
    """The kernel does not have this congestion control."""


def enter(congestion: str) -> None:
    """Move this process into a new network namespace with loopback up and that control.

    Raises: NamespaceError when the kernel or the machine's policy does not allow it;
        CongestionError as `set_congestion`.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        _unshare(libc, _CLONE_NEWUSER)
        _map_self(uid, gid)
    _unshare(libc, _CLONE_NEWNET)
    try:
        _bring_loopback_up()
        (_SETTINGS / "ip_local_port_range").write_text(_PORT_RANGE)
    except OSError as exc:
        raise NamespaceError(f"loopback could not be set up: {exc.strerror}") from exc
    set_congestion(congestion)


def set_congestion(name: str) -> None:
    """Choose the congestion control of sockets made from here on.

    Raises: CongestionError when the kernel does not have it.
    """
    try:
        (_SETTINGS / "tcp_congestion_control").write_text(name)
    except OSError as exc:
        raise CongestionError(
            f"no {name} here: {exc.strerror} (modprobe tcp_{name} as root adds it)"
        ) from exc


def congestion() -> str:
    return (_SETTINGS / "tcp_congestion_control").read_text().strip()


def _unshare(libc: ctypes.CDLL, flags: int) -> None:
    if libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        hint = " (run as root, or allow user namespaces)" if number == errno.EPERM else ""
        raise NamespaceError(f"unshare: {os.strerror(number)}{hint}")


def _map_self(uid: int, gid: int) -> None:
    """Stay the same user inside: a server that sees itself as root would try to become another."""
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    except OSError as exc:
        raise NamespaceError(f"user namespace: {exc.strerror}") from exc


def _bring_loopback_up() -> None:
    with socket.socket() as any_socket:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("H", answer, 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", flags | _IFF_UP, b""))

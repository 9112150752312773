"""What one supervisor leaves to the program that takes its place in the same process.

Rules:
1. It is written by one version and read by another: JSON, a version of its own, and no object of
   the program in it. A reader refuses a version that it does not know.
2. It names descriptors that stay open across the exec: the state directory's lock, every listening
   socket, the control listeners, the pipe by which each child says that it serves.
3. It is ours only when it names this process: the variable would survive into a child.
4. `records` are the versions of what processes share. Where they differ, processes of both versions
   cannot live beside each other; `is_seamless` says so.

Does not: make a descriptor survive, or start anything.
Units: seconds of the monotonic clock, which an exec does not touch.
Runs in: supervisor, and the trial run of a program that may take over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass

from mirror.errors import ConfigError

HANDOVER_VERSION = 1
VARIABLE = "RUST_MIRROR_HANDOVER"
_SHARED = ("page", "protocol", "index")  # what living processes read of each other
Records = Mapping[str, str | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedSocket:
    fd: int
    is_tls: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedChild:
    """A living child; `end_signal` makes it end, at most `drain_s` later."""

    pid: int
    lane: int
    slot: int
    ready_fd: int
    phase: str
    started_at: float
    kill_at: float | None
    drain_s: float
    end_signal: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """`lanes` by number, empty where `inherited` sockets belong to every lane.

    `fixed`: values of the configuration that sockets and records are bound to.
    """

    pid: int
    product_version: str
    records: dict[str, str | int]
    was_ready: bool
    fixed: dict[str, str | list[str]]
    lock_fd: int
    inherited: tuple[HandedSocket, ...]
    lanes: dict[int, tuple[HandedSocket, ...]]
    control: tuple[int, ...]
    children: tuple[HandedChild, ...]

    def is_seamless(self, records: Records) -> bool:
        """Whether processes with `records` can live beside those that are handed over."""
        return all(self.records.get(name) == records.get(name) for name in _SHARED)

    @property
    def descriptors(self) -> list[int]:
        """Every descriptor that it names."""
        sockets = [*self.inherited, *(item for lane in self.lanes.values() for item in lane)]
        ready = [child.ready_fd for child in self.children]
        return [self.lock_fd, *(item.fd for item in sockets), *self.control, *ready]

    def to_bytes(self) -> bytes:
        return json.dumps({"handover": HANDOVER_VERSION} | asdict(self)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Handover:
        """Raises: ValueError for what is not a handover of this version."""
        document = json.loads(content)
        if not isinstance(document, dict) or document.pop("handover", 0) != HANDOVER_VERSION:
            raise ValueError(f"not a handover of version {HANDOVER_VERSION}")
        try:
            return cls(
                **document
                | {
                    "inherited": _sockets(document["inherited"]),
                    "lanes": {
                        int(lane): _sockets(items) for lane, items in document["lanes"].items()
                    },
                    "control": tuple(document["control"]),
                    "children": tuple(HandedChild(**child) for child in document["children"]),
                }
            )
        except (KeyError, TypeError, AttributeError) as exc:
            raise ValueError(f"not a handover of version {HANDOVER_VERSION}: {exc!r}") from exc


def leave(handover: Handover) -> tuple[int, str]:
    """Return a descriptor that holds `handover`, and what `VARIABLE` must say to find it."""
    fd = os.memfd_create("handover", 0)  # survives the exec
    os.write(fd, handover.to_bytes())
    return fd, f"{os.getpid()}:{fd}"


def taken_over(environ: MutableMapping[str, str]) -> Handover | None:
    """Return what the former program of this process left, and forget the variable.

    Raises: ConfigError for a handover that this version cannot read.
    """
    pid, _, fd_text = environ.pop(VARIABLE, "").partition(":")
    if pid != str(os.getpid()) or not fd_text.isdigit():
        return None
    try:
        with open(int(fd_text), "rb") as file:
            file.seek(0)
            found = Handover.from_bytes(file.read())
    except (OSError, ValueError) as exc:
        raise ConfigError(VARIABLE, fd_text, f"what a running mirror left ({exc})") from exc
    for fd in found.descriptors:
        os.set_inheritable(fd, False)
    return found


def _sockets(items: list[dict[str, int]]) -> tuple[HandedSocket, ...]:
    return tuple(HandedSocket(fd=item["fd"], is_tls=bool(item["is_tls"])) for item in items)

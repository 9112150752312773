"""What `status` shows: one document made from files, so that it can be made without the keeper.

Rules:
1. Heartbeats and pids come from the shared page, events from each process's file, traffic from the
   counters: all outlive the processes that wrote them.
2. What only the keeper knows (bytes used, upstream health) comes in as `KeeperView`, or is absent.
3. Every number has its unit in its name.

Runs in: keeper and commands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import mirror
from mirror.clock import Clock
from mirror.config import Config
from mirror.control.care import CareView, scrub_section
from mirror.control.recovery import RecoveryView, add_recovery
from mirror.control.trust import TrustView, trust_section
from mirror.events import latest_events
from mirror.store.page import KEEPER_SLOT, SharedPage
from mirror.store.trouble import StoreTrouble

SILENT_S = 5.0  # the supervisor replaces a process that is silent for so long


class StoreView(Protocol):
    """The sizes of the store."""

    @property
    def used_bytes(self) -> int: ...

    @property
    def budget_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperView:
    """What the living keeper adds. `upstreams` is a list of plain values for JSON: per upstream its
    name and, for each of its URLs, how it behaves.
    """

    store: StoreView
    listen: tuple[str, ...]
    started_at: float
    upstreams: Callable[[], list[dict[str, Any]]]
    channels: Callable[[], Mapping[str, str]]  # the newest date that each has had here
    trust: TrustView | None = None
    trouble: StoreTrouble | None = None  # whether the disk takes what is to be stored
    care: CareView | None = None
    recovery: RecoveryView | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSource:
    """Where the document's parts come from; `traffic` reads the counters."""

    config: Config
    page: SharedPage
    clock: Clock
    traffic: Callable[[], Mapping[str, Any]]
    keeper: KeeperView | None = None


def build_status(source: StatusSource) -> dict[str, Any]:
    """Return the document, ready for JSON."""
    processes = list(process_states(source.page, source.clock))
    document: dict[str, Any] = {
        "version": mirror.__version__,
        "is_healthy": bool(processes) and all(item["is_alive"] for item in processes),
        "processes": processes,
        "store": {"path": source.config.store.path, "budget_bytes": source.config.store.budget},
        "state": {"path": source.config.state.path},
        "trust": _trust(source),
        "traffic": source.traffic(),
        "events": latest_events(source.config.state.path),
    }
    if source.keeper is not None:
        _add_keeper(document, source.keeper, source.clock)
    return document


def _trust(source: StatusSource) -> dict[str, Any]:
    view = None if source.keeper is None else source.keeper.trust
    return trust_section(source.config, view, source.clock.now())


def _add_keeper(document: dict[str, Any], keeper: KeeperView, clock: Clock) -> None:
    document["listen"] = list(keeper.listen)
    document["channels"] = dict(keeper.channels())
    document["uptime_s"] = round(clock.now() - keeper.started_at, 1)
    document["store"]["used_bytes"] = keeper.store.used_bytes
    document["store"]["budget_bytes"] = keeper.store.budget_bytes
    document["upstreams"] = keeper.upstreams()
    if keeper.trouble is not None:
        document["store"] |= trouble_section(keeper.trouble)
    if keeper.recovery is not None:
        add_recovery(document, keeper.recovery)
    if keeper.care is not None:
        document["scrub"] = scrub_section(keeper.care, clock.now())


def trouble_section(trouble: StoreTrouble) -> dict[str, Any]:
    """Return what is said of the store's disk: `trouble` only while there is one."""
    ailment = trouble.ailment
    if ailment is None:
        return {"is_storing": True}
    told = {
        "kind": ailment.kind.value,
        "reason": ailment.reason,
        "hint": ailment.hint,
        "began_at": ailment.began_at,
    }
    return {"is_storing": False, "trouble": told}


def process_states(page: SharedPage, clock: Clock) -> Iterator[dict[str, Any]]:
    """Yield what the shared page says of each process, the keeper first."""
    now = clock.monotonic()
    for slot in (KEEPER_SLOT, *range(page.slots)):
        pid, beat_ms = page.pid(slot), page.heartbeat(slot)
        if not pid and slot != KEEPER_SLOT:
            continue
        age_s = round(now - beat_ms / 1000, 3) if beat_ms else None
        is_beating = age_s is not None and 0 <= age_s < SILENT_S
        yield {
            "name": "keeper" if slot == KEEPER_SLOT else f"worker-{slot}",
            "pid": pid,
            "is_alive": is_beating and _exists(pid),
            "heartbeat_age_s": age_s,
            "restarts_total": page.restarts(slot),
        }


def _exists(pid: int) -> bool:
    """Say whether a process has this pid and is not a zombie; the page outlives its writers."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] != b"Z"
    except OSError:
        return True

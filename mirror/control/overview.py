"""What the dashboard shows of this moment: one document of sections.

Rules:
1. What the keeper's loop owns (fills, upstreams, trust) is read on the loop; what lies in files
   (counters, events, sizes) is read by a thread, so that no request waits for a disk.
2. Every list is bounded, and its whole length is told beside it. Keys come from requests: the
   longest has 512 characters, see `route.match`.
3. Sums are cumulative: who looks takes differences. Every number has its unit in its name.
4. Events that say that bytes were not what they should be are also told apart (`refused`), so that
   a busy log cannot push them out of sight.

Units: `_s` seconds, `_at` Unix seconds, `_bytes` bytes.
Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import mirror
from mirror.accounting.layout import LATENCY_BOUNDS_S, LATENCY_COLUMNS, OTHER, Path
from mirror.accounting.totals import Totals
from mirror.control.status import KeeperView, StatusSource, process_states
from mirror.control.traffic import traffic_of
from mirror.control.trust import trust_section
from mirror.control.usage import usage_of
from mirror.errors import MirrorError
from mirror.events import events_stamp, latest_events

SHOWN_FILLS: Final = 24  # more do not fit a screen
SHOWN_EVENTS: Final = 40
SHOWN_REFUSED: Final = 12
_READ_EVENTS: Final = 2000  # of all that is kept: refusals may be older than the last forty

# Bytes or signatures that were not what their publisher says, and what was withdrawn for it.
REFUSALS: Final = frozenset(
    (
        *("digest-mismatch", "signature-mismatch", "content-refused", "proof-refused"),
        *("upstream-checksum-differs", "crate-cksum-changed", "crate-reregistered"),
        *("channel-rollback", "channel-ahead", "channel-frozen", "rustup-release-rollback"),
        *("generations-withdrawn", "unsigned-withdrawn", "crates-withdrawn", "blob-condemned"),
        *("release-key-refused", "dated-differs"),
    )
)


class FileView(Protocol):
    """A body that lands; `length` -1: unknown."""

    landed: int
    length: int

    @property
    def sendable(self) -> int: ...


class FillView(Protocol):
    """One fill under way."""

    key: str
    keys: tuple[str, ...]
    began_at_s: float

    @property
    def file(self) -> FileView | None: ...


class FillsView(Protocol):
    """`flights` can be joined; `waiting` of them wait for a place at an upstream's gate."""

    @property
    def flights(self) -> Iterable[FillView]: ...

    @property
    def waiting(self) -> int: ...


class RecentEvents:
    """The section of events; its files are read again only when one of them has changed.

    With many processes they have a megabyte: 30 ms, which a page that stays open would cost each
    second. Threads may share it: the worst that they do to each other is to read twice.
    """

    def __init__(self, state_path: str) -> None:
        self._state_path = state_path
        self._kept: tuple[object, dict[str, Any]] = (None, {})

    def section(self) -> dict[str, Any]:
        stamp = events_stamp(self._state_path)
        before, section = self._kept
        if stamp != before:
            section = _events(self._state_path)
            self._kept = (stamp, section)  # of before the reading: what came since is read next
        return section


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewSource:
    """Where the parts come from. `totals` is called in a thread and may raise MirrorError."""

    status: StatusSource
    fills: FillsView
    totals: Callable[[], Totals]
    events: RecentEvents


async def build_overview(source: OverviewSource) -> dict[str, Any]:
    """Return the sections, ready for JSON."""
    status = source.status
    keeper = status.keeper
    sections: dict[str, Any] = {
        "mirror": _mirror(status),
        "fills": fills_section(source.fills, status.clock.monotonic()),
        "upstreams": [] if keeper is None else keeper.upstreams(),
        "trust": trust_section(
            status.config, None if keeper is None else keeper.trust, status.clock.now()
        ),
    }
    return sections | await asyncio.to_thread(_from_files, source)


def _mirror(status: StatusSource) -> dict[str, Any]:
    keeper = status.keeper
    return {
        "version": mirror.__version__,
        "now_at": round(status.clock.now(), 3),
        "listen": [] if keeper is None else list(keeper.listen),
        "started_at": None if keeper is None else round(keeper.started_at, 3),
    }


def fills_section(fills: FillsView, now_s: float) -> dict[str, Any]:
    """Return the fills under way, the oldest first; `now_s` of the monotonic clock."""
    running = list(fills.flights)
    return {
        "count": len(running),
        "waiting": fills.waiting,
        "shown": [fill_entry(fill, now_s) for fill in running[:SHOWN_FILLS]],
    }


def fill_entry(fill: FillView, now_s: float) -> dict[str, Any]:
    """Return one fill; lengths are None while upstream has not said them."""
    file = fill.file
    is_known = file is not None and file.length >= 0
    return {
        "key": fill.key,
        "age_s": round(max(0.0, now_s - fill.began_at_s), 1),
        "landed_bytes": None if file is None else file.landed,
        "sendable_bytes": None if file is None else file.sendable,
        "length_bytes": file.length if file is not None and is_known else None,
    }


def _from_files(source: OverviewSource) -> dict[str, Any]:
    status = source.status
    processes = [_process(item) for item in process_states(status.page, status.clock)]
    sections: dict[str, Any] = {
        "processes": {
            "is_healthy": bool(processes) and all(item["is_alive"] for item in processes),
            "shown": processes,
        },
        "events": source.events.section(),
        "store": _store(status),
    }
    try:
        totals = source.totals()
    except MirrorError as exc:
        return sections | {"traffic": {"trouble": str(exc)}}
    return sections | {"traffic": traffic_section(totals)}


def _events(state_path: str) -> dict[str, Any]:
    events = latest_events(state_path, _READ_EVENTS)
    refused = [event for event in events if event.get("event") in REFUSALS]
    return {
        "shown": events[: -SHOWN_EVENTS - 1 : -1],
        "refused": refused[: -SHOWN_REFUSED - 1 : -1],
        "refused_total": len(refused),
    }


def _process(state: dict[str, Any]) -> dict[str, Any]:
    usage = usage_of(int(state["pid"])) if state["is_alive"] else None
    return state | {
        "cpu_s": None if usage is None else usage.cpu_s,
        "resident_bytes": None if usage is None else usage.resident_bytes,
    }


def traffic_section(totals: Totals) -> dict[str, Any]:
    """Return all sums since the state directory was made."""
    return {
        **traffic_of(totals),
        "latency": {"bounds_s": LATENCY_BOUNDS_S, "paths": dict(_latencies(totals.named))},
        "totals": {name[1]: value for name, value in totals.named.items() if name[0] == "total"},
    }


def _latencies(named: Mapping[tuple[str, ...], int]) -> Iterator[tuple[str, list[int]]]:
    """Per path, how many answers took at most each bound and more than the one before."""
    columns = LATENCY_COLUMNS[:-1]
    for path in Path:
        counts = dict.fromkeys(columns, 0)
        for name, value in named.items():
            is_named = name[0] == "latency" and name[1] == path.value and name[2] != OTHER
            if is_named and name[-1] in counts:
                counts[name[-1]] += value
        yield path.value, list(counts.values())


def _store(status: StatusSource) -> dict[str, Any]:
    keeper: KeeperView | None = status.keeper
    section: dict[str, Any] = {
        "path": status.config.store.path,
        "budget_bytes": status.config.store.budget,
        "used_bytes": None,
        "disk_free_bytes": _free_bytes(status.config.store.path),
    }
    if keeper is not None:
        section["used_bytes"] = keeper.store.used_bytes
        section["budget_bytes"] = keeper.store.budget_bytes
    return section


def _free_bytes(path: str) -> int | None:
    try:
        disk = os.statvfs(path)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize

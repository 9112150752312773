"""What `rust-mirror status` prints.

Runs in: commands (rich is imported here; `serve` never imports this).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mirror.cli.status_care import care_lines
from mirror.cli.status_recovery import recovery_lines
from mirror.cli.status_trust import print_trust
from mirror.cli.tables import printable, size_text, span_text, traffic_table

_SHOWN_EVENTS = 10


def print_status(document: dict[str, Any], console: Console | None = None) -> None:
    """Print the document as tables; outside text is escaped."""
    console = console or Console(highlight=False)
    health = "healthy" if document["is_healthy"] else "NOT HEALTHY"
    console.print(f"rust-mirror {document['version']}: {health}")
    if "listen" in document:
        console.print(f"listening on {escape(', '.join(document['listen']))}")
    store = document["store"]
    used = size_text(store["used_bytes"]) if "used_bytes" in store else "unknown (keeper away)"
    budget = size_text(store["budget_bytes"])
    console.print(f"store {escape(store['path'])}: {used} of {budget}")
    if not store.get("is_storing", True):
        console.print(f"[bold]STORES NOTHING[/]: {escape(_trouble_line(store))}", soft_wrap=True)
    for line in recovery_lines(document):
        console.print(line, soft_wrap=True)
    if "scrub" in document:
        for line in care_lines(document["scrub"], datetime.now(UTC).timestamp()):
            console.print(line, soft_wrap=True)
    console.print(_processes(document["processes"]))
    if "upstreams" in document:
        console.print(_upstreams(document["upstreams"], datetime.now(UTC).timestamp()))
    else:
        console.print("upstreams: unknown (keeper away)")
    if "trust" in document:  # a keeper that is about to be replaced by this version has none
        print_trust(console, document["trust"], datetime.now(UTC).timestamp())
    for channel, date in _other_channels(document).items():
        console.print(f"channel {escape(printable(channel))}: newest manifest of {escape(date)}")
    console.print(traffic_table(document["traffic"], "traffic since the state directory was made"))
    for event in document["events"][-_SHOWN_EVENTS:]:
        console.print(escape(_line(event)), soft_wrap=True)


def _trouble_line(store: dict[str, Any]) -> str:
    trouble = store["trouble"]
    since = span_text(max(0.0, datetime.now(UTC).timestamp() - trouble["began_at"]))
    told = f"{trouble['kind']} for {since}, bodies pass through"
    return printable(f"{told}; {trouble['reason']} ({trouble['hint']})")


def _other_channels(document: dict[str, Any]) -> dict[str, str]:
    """Return those that the trust section does not tell of: releases by their version."""
    told = {channel["name"] for channel in document.get("trust", {}).get("channels", ())}
    return {name: date for name, date in document.get("channels", {}).items() if name not in told}


def _processes(processes: list[dict[str, Any]]) -> Table:
    table = Table(title="processes", title_justify="left")
    for heading in ("process", "pid", "alive", "last heartbeat", "restarts"):
        table.add_column(heading, justify="left" if heading == "process" else "right")
    for item in processes:
        age_s = item["heartbeat_age_s"]
        table.add_row(
            item["name"],
            str(item["pid"] or "-"),
            "yes" if item["is_alive"] else "NO",
            "-" if age_s is None else f"{age_s:.1f} s ago",
            str(item["restarts_total"]),
        )
    return table


def _upstreams(upstreams: list[dict[str, Any]], now: float) -> Table:
    table = Table(title="upstreams, in order of preference", title_justify="left")
    for heading in ("upstream", "url", "state", "last failure"):
        table.add_column(heading, overflow="fold")
    for upstream in upstreams:
        for health in upstream["urls"]:
            cells = (health["url"], _state(health), _failure(health, now))
            table.add_row(upstream["name"], *(escape(printable(cell)) for cell in cells))
    return table


def _state(health: dict[str, Any]) -> str:
    rests_for_s = health["rests_for_s"]
    if health["is_left_alone"]:
        return f"NOT ASKED for {rests_for_s:.0f} s: it said so"
    if health["circuit"] == "open":
        return f"CIRCUIT OPEN, tried again in {rests_for_s:.0f} s"
    if health["circuit"] == "half-open":
        return "CIRCUIT HALF-OPEN, one request at a time"
    if not health["is_failing"]:
        return "ok" if health["is_preferred"] else "ok again, on trial"
    return f"FAILING, asked last for {rests_for_s:.0f} s" if rests_for_s else "FAILING"


def _failure(health: dict[str, Any], now: float) -> str:
    if not health["last_error"]:
        return "-"
    return f"{span_text(now - health['last_error_at'])} ago: {health['last_error']}"


def _line(event: dict[str, Any]) -> str:
    known = ("time", "level", "event", "process", "pid")
    fields = " ".join(f"{name}={value}" for name, value in event.items() if name not in known)
    time = str(event.get("time", ""))[:19]
    line = f"{time} {event.get('level')} {event.get('process')} {event.get('event')} {fields}"
    return printable(line)

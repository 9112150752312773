"""What `rust-mirror status` prints.

Runs in: commands (rich is imported here; `serve` never imports this).
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mirror.cli.tables import size_text, traffic_table

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
    console.print(_processes(document["processes"]))
    console.print(traffic_table(document["traffic"], "traffic since the state directory was made"))
    for event in document["events"][-_SHOWN_EVENTS:]:
        console.print(escape(_line(event)), soft_wrap=True)


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


def _line(event: dict[str, Any]) -> str:
    known = ("time", "level", "event", "process", "pid")
    fields = " ".join(f"{name}={value}" for name, value in event.items() if name not in known)
    time = str(event.get("time", ""))[:19]
    line = f"{time} {event.get('level')} {event.get('process')} {event.get('event')} {fields}"
    # Values are plain text again after JSON: a terminal must not act on what is in them.
    return "".join(c if c.isprintable() else "?" for c in line)

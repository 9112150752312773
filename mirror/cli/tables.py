"""The traffic table, for `status` and the demo.

Runs in: commands (rich is imported here; `serve` never imports this).
"""

from __future__ import annotations

from typing import Any

from rich.table import Table

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def traffic_table(traffic: dict[str, Any], title: str) -> Table:
    """Return requests, bytes served, fetched and saved per class, and the hit ratio."""
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    for heading in ("requests", "served", "upstream requests", "fetched", "saved", "hit ratio"):
        table.add_column(heading, justify="right")
    for name, entry in traffic["classes"].items():
        table.add_row(name, *_cells(entry))
    table.add_section()
    table.add_row("total", *_cells(traffic["total"]))
    return table


def size_text(size_bytes: int) -> str:
    """Return a size for people: 3 digits and a unit."""
    amount, unit = float(abs(size_bytes)), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    digits = 0 if unit == 0 or amount >= 100 else 1
    sign = "-" if size_bytes < 0 else ""
    return f"{sign}{amount:.{digits}f} {_UNITS[unit]}"


def span_text(seconds: float) -> str:
    """Return a time for people: seconds, minutes, hours or days, below 100 where it can be."""
    for size_s, unit in ((1, "s"), (60, "min"), (3600, "h")):
        if seconds < 100 * size_s:
            return f"{max(0.0, seconds) / size_s:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def printable(text: str) -> str:
    """Return text that a terminal only shows, and does not act on."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _cells(entry: dict[str, Any]) -> list[str]:
    ratio = entry["hit_ratio"]
    return [
        f"{entry['requests']:,}",
        size_text(entry["served_bytes"]),
        f"{entry['upstream_requests']:,}",
        size_text(entry["fetched_bytes"]),
        size_text(entry["saved_bytes"]),
        "-" if ratio is None else f"{ratio:.1%}",
    ]

"""The figures for people: one block per case while it runs, the table of rows at the end.

Runs in: benchmark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.hit.cases import Case
from benchmarks.hit.round import Round, median_round, scatter
from benchmarks.hit.verdict import Row

_WIDTHS = (56, 16, 16, 10, 8, 8)


def print_case(case: Case, attempt: Mapping[str, Sequence[Round]]) -> None:
    """Print the medians of the last attempt."""
    unit, read = ("MB/s", "mb_per_s") if case.counts_bytes else ("requests/s", "requests_per_s")
    cost = "cpu_us_per_mb" if case.counts_bytes else "cpu_us_per_request"
    print(f"{case.name:<78}")
    print(f"  {'':<14}{unit:>12}{'spread':>8}{'CPU µs':>10}{'p50 µs':>10}"
          f"{'server':>8}{'client':>8}")  # fmt: skip
    for name, rounds in attempt.items():
        middle = median_round(rounds)
        spread = scatter([getattr(item, read) for item in rounds])
        rate, used = getattr(middle, read), getattr(middle, cost)
        print(
            f"  {name:<14}{rate:>12,.0f}{spread:>8.0%}{used:>10.1f}"
            f"{middle.p50_us:>10.0f}{middle.server_busy_ratio:>8.0%}{middle.client_busy_ratio:>8.0%}"
        )


def print_table(rows: Sequence[Row]) -> None:
    """Print what was required and what was measured."""
    print()
    print(_line("", "beside", "required", "measured", "spread", "client") + "outcome")
    for row in rows:
        cells = (row.label, row.rival, row.required, row.measured, row.spread, row.client)
        print(_line(*cells) + row.outcome)


def _line(*cells: str) -> str:
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))

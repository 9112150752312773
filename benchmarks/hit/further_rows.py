"""The rows that are no hits: a cold fill, and memory; measured by the benchmarks of those names.

Runs in: benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.hit.verdict import ATTEMPTS, SCATTER_LIMIT, Outcome, Row
from benchmarks.memory import idle
from benchmarks.miss import cold_fill


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherRow:
    """The rows that another benchmark gave, and all that it said."""

    name: str
    rows: tuple[Row, ...]
    figures: dict[str, object]


def further_rows(say: Callable[[str], None]) -> list[FurtherRow]:
    """Run the other benchmarks of the table, one after the other."""
    return [_cold_fill(say), _memory(say)]


def _cold_fill(say: Callable[[str], None]) -> FurtherRow:
    found: list[dict[str, object]] = []
    while not found or (_spread(found[-1]) > SCATTER_LIMIT and len(found) < ATTEMPTS):
        say(f"cold fill, attempt {len(found) + 1}")
        found.append(cold_fill.measure())
    fill = cold_fill_row(found[-1], attempts=len(found))
    return FurtherRow(name="cold fill", rows=(fill,), figures={"attempts": found})


def _memory(say: Callable[[str], None]) -> FurtherRow:
    say(f"memory with {idle.CONNECTIONS:,} idle connections")
    figures = idle.measure()
    return FurtherRow(name="memory", rows=memory_rows(figures), figures=figures)


def cold_fill_row(figures: Mapping[str, object], *, attempts: int) -> Row:
    """Judge a cold fill by the ratio to the smaller of disk and sha256 in the same run."""
    ratio, required = _number(figures["ratio"]), _number(figures["required_ratio"])
    outcome = Outcome.MET if ratio >= required else Outcome.MISSED
    if _spread(figures) > SCATTER_LIMIT:
        outcome = Outcome.SCATTERED
    rate = _number(figures["mb_per_s"])
    return Row(
        label=f"cold fill of 100 MB to {figures['followers']} followers, hashed and fsynced",
        rival="disk or sha256",
        figure="MB/s",
        required=f"≥ {required:g}",
        measured=f"{ratio:.2f}",
        mirror=f"{rate:,.0f}",
        other=f"{rate / max(ratio, 1e-9):,.0f}",
        spread=f"{_spread(figures):.0%}",
        client="-",
        outcome=outcome.value,
        attempts=attempts,
    )


def memory_rows(figures: Mapping[str, object]) -> tuple[Row, ...]:
    """Judge memory by its limits; there is no rival and no ratio."""
    return (
        _limit_row("worker at rest, Pss", figures, "idle_mb", "idle_limit_mb"),
        _limit_row(
            f"{figures['connections']:,} idle connections, more Pss",
            figures, "more_mb", "more_limit_mb",
        ),
    )  # fmt: skip


def _limit_row(label: str, figures: Mapping[str, object], name: str, limit_name: str) -> Row:
    value, limit = _number(figures[name]), _number(figures[limit_name])
    return Row(
        label=label,
        rival="a limit",
        figure="MB",
        required=f"≤ {limit:g}",
        measured=f"{value:.1f}",
        mirror=f"{value:.1f}",
        other=f"{limit:g}",
        spread="-",
        client="-",
        outcome=(Outcome.MET if value <= limit else Outcome.MISSED).value,
        attempts=1,
    )


def _spread(figures: Mapping[str, object]) -> float:
    return _number(figures["spread_ratio"])


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"no figure: {value!r}")
    return float(value)

"""The scrub section of `status`, and its figures for metrics.

Units: `_s` seconds, `_at` Unix seconds, `_bytes` bytes.
Runs in: keeper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from mirror.errors import StoreError
from mirror.jobs.scrub import ScrubFigures


class ScrubView(Protocol):
    """`jobs.scrub.Scrub`."""

    def figures(self) -> ScrubFigures: ...


class HealerView(Protocol):
    """`fill.healing.Healer`; its length is what it still has to do."""

    healed_total: int
    failed_total: int

    def __len__(self) -> int: ...


class ChecksView(Protocol):
    """`store.scrubbing.Scrubber`."""

    def oldest_check_ms(self) -> int | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CareView:
    """What takes care of the stored bytes; `scrub` None: it is turned off."""

    scrub: ScrubView | None
    healer: HealerView
    checks: ChecksView


@dataclass(frozen=True, slots=True, kw_only=True)
class CareFigures:
    """`oldest_check_at` None: nothing is stored; 0: something was never hashed since it came."""

    scrub: ScrubFigures | None
    oldest_check_at: float | None
    healing: int


def care_figures(view: CareView) -> CareFigures:
    return CareFigures(
        scrub=None if view.scrub is None else view.scrub.figures(),
        oldest_check_at=_oldest_check_at(view.checks),
        healing=len(view.healer),
    )


def scrub_section(view: CareView, now: float) -> dict[str, Any]:
    """Return the section, ready for JSON. Counts are since this keeper started."""
    figures = care_figures(view)
    oldest_at = figures.oldest_check_at
    section: dict[str, Any] = {
        "is_enabled": figures.scrub is not None,
        "oldest_check_age_s": None if oldest_at is None else round(max(0.0, now - oldest_at)),
        "healed_total": view.healer.healed_total,
        "not_healed_total": view.healer.failed_total,
        "healing": figures.healing,
    }
    if figures.scrub is not None:
        section |= _scrub(figures.scrub)
    return section


def _scrub(figures: ScrubFigures) -> dict[str, Any]:
    return {
        "is_reading": figures.is_reading,
        "bytes_per_s": round(figures.bytes_per_s),
        "checked_blobs_total": figures.blobs,
        "checked_bytes_total": figures.size_bytes,
        "found_total": figures.found,
        "undecided_total": figures.undecided,
        "pass_began_at": figures.pass_began_at,
        "last_pass_ended_at": figures.pass_ended_at,
        "last_pass_duration_s": figures.pass_duration_s,
    }


def _oldest_check_at(checks: ChecksView) -> float | None:
    try:
        oldest_ms = checks.oldest_check_ms()
    except StoreError:
        return None
    return None if oldest_ms is None else oldest_ms / 1000

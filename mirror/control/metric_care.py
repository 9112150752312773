"""The metrics of the scrub and of healing.

Runs in: keeper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mirror.control.care import CareFigures
from mirror.control.metric import Kind, Metric, Row, Snapshot
from mirror.jobs.scrub import ScrubFigures


def _gauge(name: str, help: str, read: Callable[[CareFigures], float | None]) -> Metric:
    """One value; nothing is said where there is none."""

    def rows(snapshot: Snapshot) -> list[Row]:
        value = None if snapshot.care is None else read(snapshot.care)
        return [] if value is None else [((), value)]

    return Metric(name=f"rust_mirror_{name}", kind=Kind.GAUGE, help=help, read=rows)


def _of_scrub(name: str, help: str, read: Callable[[ScrubFigures], float | None]) -> Metric:
    return _gauge(name, help, lambda care: None if care.scrub is None else read(care.scrub))


def _total(name: str, help: str) -> Metric:
    def rows(snapshot: Snapshot) -> list[Row]:
        return [] if snapshot.sums is None else [((), snapshot.sums.total[name])]

    return Metric(name=f"rust_mirror_{name}_total", kind=Kind.COUNTER, help=help, read=rows)


CARE_METRICS: Final = (
    _of_scrub(
        "scrub_bytes_per_second",
        "How fast stored files are read and hashed again; 0 while nothing is due.",
        lambda scrub: scrub.bytes_per_s,
    ),
    _of_scrub(
        "scrub_last_pass_timestamp_seconds",
        "When all that is stored had been hashed again, in Unix seconds; 0: not yet.",
        lambda scrub: scrub.pass_ended_at or 0.0,
    ),
    _of_scrub(
        "scrub_last_pass_duration_seconds",
        "How long before that the pass began.",
        lambda scrub: scrub.pass_duration_s or 0.0,
    ),
    _gauge(
        "oldest_check_timestamp_seconds",
        "All that is stored has been hashed since, in Unix seconds; 0: something never was.",
        lambda care: care.oldest_check_at,
    ),
    _gauge(
        "healing",
        "Keys that wait to be fetched anew because their file was damaged.",
        lambda care: float(care.healing),
    ),
    _total("scrubbed_blobs", "Stored files that the scrub hashed again."),
    _total("scrubbed_bytes", "Bytes of them."),
    _total("scrub_found", "Files that it found damaged or missing."),
    _total("healed", "Keys fetched anew because their file was damaged."),
)

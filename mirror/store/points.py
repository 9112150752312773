"""The crash points: the places between two steps of a change at which a process may die.

Rules:
1. Each operation is one ordered sequence; a point is passed when the step that it names is done.
2. A process that dies at any point leaves the state before the operation, or the one after it, or
   what the next start settles without reading a blob. The module of each operation says which.
3. Passing a point does nothing. Fault tests put a function in the place of `on_passed` before the
   processes are forked; nothing of the product does.

Runs in: keeper (any thread).
"""

from __future__ import annotations

import enum
from collections.abc import Callable


class Point(enum.Enum):
    """`<operation>.<what is done>`."""

    FILL_BEGUN = "fill.begun"  # temp and record are there, nothing of the content
    FILL_LANDING = "fill.landing"  # a piece of the content was written
    FILL_NOTED = "fill.noted"  # the prefix is durable, and the record says so
    FILL_LANDED = "fill.landed"  # all of the content is here and verified
    PUBLISH_ANNOUNCED = "publish.announced"  # the index expects the files
    PUBLISH_RENAMED = "publish.renamed"
    PUBLISH_SYNCED = "publish.synced"  # names are durable
    PUBLISH_HEADED = "publish.headed"  # the records for a rescan are written
    PUBLISH_COMMITTED = "publish.committed"
    PUBLISH_TOLD = "publish.told"  # the epoch moved, where it must
    RECORD_HEADED = "record.headed"  # metadata alone: refreshed times, absences
    RECORD_COMMITTED = "record.committed"
    EVICT_COMMITTED = "evict.committed"  # rows are gone, the files are condemned
    EVICT_UNLINKED = "evict.unlinked"
    EVICT_FORGOTTEN = "evict.forgotten"  # nothing condemns the files any more
    QUARANTINE_DROPPED = "quarantine.dropped"  # a stored blob's rows are gone
    QUARANTINE_REASONED = "quarantine.reasoned"  # the reason is written
    QUARANTINE_MOVED = "quarantine.moved"
    PURGE_BEHEADED = "purge.beheaded"  # no record would bring the entries back
    PURGE_COMMITTED = "purge.committed"
    PURGE_TOLD = "purge.told"  # the epoch moved


def _nothing(point: Point) -> None:
    """What passing a point does."""


on_passed: Callable[[Point], None] = _nothing


def passed(point: Point) -> None:
    on_passed(point)

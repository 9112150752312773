"""Whether what lies in the store and the state directory can be used.

Rules:
1. A damaged or absent index costs a rescan, not a download; the state database is never made anew
   by itself, and its loss costs what it names.
2. What the running mirror says of its own store (`status`) is repeated here, with its remedy.

Units: bytes, seconds.
Runs in: commands. Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mirror.doctor.findings import Finding
from mirror.doctor.said import good, note, risk, size, span, wrong

_OLD_PART_S = 7 * 86400.0
_LATE = 3  # times [scrub] every


class Condition(enum.Enum):
    """Of a database file."""

    SOUND = "every page is sound"
    UNFINISHED = "no damage found in the time allowed"
    ABSENT = "is not there"
    DAMAGED = "is damaged"
    OTHER = "is of another version"
    UNREADABLE = "could not be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """`trouble` says what SQLite said; `counted` what is in it, if that is told."""

    path: str
    condition: Condition
    trouble: str = ""
    counted: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a look through the directories found; `is_whole` False: it was cut short.

    `format_found` None: there is no such file. `has_blobs`: something is stored.
    """

    path: str
    format_found: str | None
    format_wanted: str
    has_blobs: bool
    parts: int = 0
    part_bytes: int = 0
    oldest_part_s: float = 0.0
    quarantined: int = 0
    quarantine_bytes: int = 0
    trouble: str = ""
    is_whole: bool = True


def judge_contents(found: Contents, quarantine_budget_bytes: int) -> Iterator[Finding]:
    subject = "store"
    if found.trouble:
        remedy = "run it as root or as the mirror's user"
        yield note(subject, f"could not be looked through: {found.trouble}", remedy, found.path)
        return
    if found.format_found is not None and found.format_found != found.format_wanted:
        sentence = f"says {found.format_found[:60]!r}, this version keeps {found.format_wanted!r}"
        remedy = "use another [store] path, or the version of rust-mirror that made this one"
        yield wrong("store format", sentence, remedy, found.path)
    elif found.format_found is None and found.has_blobs:
        sentence = "has no file `format`: is this a store, and whole?"
        yield risk("store format", sentence, "start the mirror: it writes one", found.path)
    yield from _parts(found)
    if found.quarantined:
        sentence = (
            f"{found.quarantined} files that disagreed with their publisher are kept for a look "
            f"({size(found.quarantine_bytes)} of {size(quarantine_budget_bytes)})"
        )
        remedy = "`rust-mirror status` says why each; then `rust-mirror gc --yes`"
        yield note("quarantine", sentence, remedy, f"{found.path}/quarantine")


def _parts(found: Contents) -> Iterator[Finding]:
    if found.parts and found.oldest_part_s > _OLD_PART_S:
        sentence = (
            f"{found.parts} unfinished downloads take {size(found.part_bytes)}; the oldest has not "
            f"grown for {span(found.oldest_part_s)}"
        )
        yield note("unfinished downloads", sentence, "rust-mirror gc --yes", found.path)


def judge_index(found: Database, *, has_blobs: bool) -> Finding:
    subject = "store index"
    restart = "start the mirror (again): it reads the files anew, and downloads nothing again"
    if found.condition in (Condition.SOUND, Condition.UNFINISHED):
        return good(subject, ", ".join(filter(None, (found.condition.value, found.counted))))
    cause = f"{found.condition.value}{': ' * bool(found.trouble)}{found.trouble}"
    if found.condition is Condition.ABSENT:
        if has_blobs:
            return risk(subject, f"{cause}, while objects are stored", restart, found.path)
        return good(subject, "there is none yet: nothing is stored", found.path)
    if found.condition is Condition.UNREADABLE:
        return note(subject, cause, "run it as root or as the mirror's user", found.path)
    return wrong(subject, cause, restart, found.path)


def judge_state(found: Database, *, has_blobs: bool) -> Finding:
    subject = "state database"
    backup = "restore it from a backup, or move it away and begin with an empty one"
    if found.condition in (Condition.SOUND, Condition.UNFINISHED):
        return good(subject, found.condition.value, found.path)
    cause = f"{found.condition.value}{': ' * bool(found.trouble)}{found.trouble}"
    if found.condition is Condition.ABSENT:
        if has_blobs:
            sentence = f"{cause}, while objects are stored: newest dates, checksums and counters"
            remedy = "restore it from a backup before the next start, if there is one"
            return wrong(subject, f"{sentence} are lost", remedy, found.path)
        return good(subject, "there is none yet: nothing is stored", found.path)
    if found.condition is Condition.UNREADABLE:
        return note(subject, cause, "run it as root or as the mirror's user", found.path)
    if found.condition is Condition.OTHER:
        remedy = "run the version that wrote it, or restore a backup of before"
        return wrong(subject, cause, remedy, found.path)
    return wrong(subject, cause, backup, found.path)


def judge_told(status: Mapping[str, Any], every_s: float) -> Iterator[Finding]:
    """Repeat what the running mirror says of its store."""
    store = _section(status, "store")
    trouble = store.get("trouble")
    if store.get("is_storing") is False and isinstance(trouble, Mapping):
        sentence = f"nothing is stored at the moment: {trouble.get('reason', '')}"
        remedy = str(trouble.get("hint", "")) or "rust-mirror status"
        yield wrong("storing", sentence, remedy, str(trouble.get("kind", "")))
    elif store.get("is_storing"):
        yield good("storing", "the disk takes what is to be stored")
    if "repair" in store:
        sentence = "the index is being compared with the files, behind the requests"
        yield note("repair", sentence, "wait: `rust-mirror status` says how far it is")
    if "lost_at" in _section(status, "state"):
        sentence = "the state database was lost: newest dates and checksums began anew"
        yield risk("state database", sentence, "restore a backup, if there is one, and restart")
    yield from _scrub(_section(status, "scrub"), every_s)


def _scrub(scrub: Mapping[str, Any], every_s: float) -> Iterator[Finding]:
    if not scrub:
        return
    found, age_s = int(scrub.get("found_total") or 0), scrub.get("oldest_check_age_s")
    if found or scrub.get("not_healed_total"):
        sentence = (
            f"{found} stored files were not what they should be; "
            f"{scrub.get('healed_total', 0)} were fetched anew"
        )
        remedy = "see the disk's health (smartctl, kernel messages); the events name the files"
        yield risk("scrub", sentence, remedy)
    if not scrub.get("is_enabled"):
        sentence = "is off: what rots on the disk is found when it is asked for, or not at all"
        yield note("scrub", sentence, "[scrub] enabled = true")
    elif isinstance(age_s, int | float) and age_s > _LATE * every_s:
        sentence = f"the oldest check is {span(age_s)} old: it does not keep up"
        yield note("scrub", sentence, "raise [scrub] rate, or [scrub] every")
    elif not found:
        yield good("scrub", "keeps up, and has found nothing wrong")


def _section(status: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = status.get(name)
    return section if isinstance(section, Mapping) else {}

"""Whether the mirror that runs is well, and of the version that is installed.

Units: seconds.
Runs in: commands. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mirror.doctor.findings import Finding
from mirror.doctor.said import good, note, risk, wrong

_MANY = 3  # restarts of one process; a single one may have been somebody's kill
_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """`running` "": no mirror runs, or it does not say."""

    installed: str
    running: str
    python: tuple[int, ...]
    sqlite: str


def judge_versions(versions: Versions) -> Iterator[Finding]:
    python = ".".join(str(part) for part in versions.python)
    if versions.python[:2] < _PYTHON:
        remedy = "install Python 3.11 or later, and rust-mirror with it"
        yield wrong("versions", f"Python {python} is too old", remedy)
    if versions.running and versions.running != versions.installed:
        sentence = f"{versions.running} runs, {versions.installed} is installed"
        yield risk("versions", sentence, "rust-mirror upgrade")
    seen = f"rust-mirror {versions.installed}, Python {python}, SQLite {versions.sqlite} (bundled)"
    yield good("versions", "what this command runs on", seen)


def judge_status(status: Mapping[str, Any]) -> Iterator[Finding]:
    """Say what the mirror's own report says of its processes and upstreams."""
    processes = [each for each in _rows(status.get("processes")) if "name" in each]
    dead = [str(each["name"]) for each in processes if not each.get("is_alive")]
    events = "read its last events: `rust-mirror status`, or the journal"
    if dead:
        sentence = f"{', '.join(dead)} died or is silent"
        yield wrong("processes", sentence, events)
    for each in processes:
        restarts = int(each.get("restarts_total") or 0)
        if restarts >= _MANY:
            yield risk("processes", f"{each['name']} was restarted {restarts} times", events)
        elif restarts:
            yield note("processes", f"{each['name']} was restarted {restarts} times", events)
    if not dead:
        alive = ", ".join(str(each["name"]) for each in processes)
        yield good("processes", f"all are alive: {alive}")


def judge_absence(trouble: str) -> Finding:
    """No mirror was found; `trouble`: why that is not known for sure."""
    subject = "running mirror"
    if trouble:
        sentence = f"could not be asked: {trouble}"
        return note(subject, sentence, "run it as root or as the mirror's user")
    remedy = "start it (`systemctl start rust-mirror`), or name its [state] path: --config, --set"
    return note(subject, "none runs with this state directory", remedy)


def judge_elsewhere(paths: Sequence[str]) -> Iterator[Finding]:
    """`paths` are other directories for the mirror's processes than for this command."""
    for path in paths:
        sentence = f"the mirror's processes see another directory at {path} than this command"
        remedy = (
            "a sandbox (PrivateTmp=, ProtectHome=, a container) is between: choose another path"
        )
        yield risk("sandbox", sentence, remedy, path)


def judge_sandbox(noun: str, path: str, options: frozenset[str]) -> Iterator[Finding]:
    """`options` are those of the mount that the mirror's processes have at `path`."""
    if "ro" in options:
        sentence = f"{path} is read-only for the mirror's processes"
        directory = "CacheDirectory=" if noun == "store" else "StateDirectory="
        remedy = f"add ReadWritePaths={path} to the unit (or use {directory}), and restart"
        yield wrong("sandbox", sentence, remedy, f"[{noun}] path")


def _rows(value: object) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []

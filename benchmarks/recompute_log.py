"""An access log as the script of `recompute` reads it: lines, hours, and who took what was fetched.

Rules:
1. Nothing of the mirror is imported.
2. A line counts for the hour that its `date_time` lies in.

Units: bytes; times in Unix seconds. Runs in: command, tests.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

HOUR_S = 3600
POOL_OF_CLASS = {"release": "releases", "rustup": "releases", "crate": "crates", "index": "index"}
Key = tuple[str, ...]
Name = TypeVar("Name")


class LogError(Exception):
    """The log cannot give the figures; the text says why."""


class Log:
    """The lines of an access log: responses, and what upstream was asked."""

    def __init__(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Raises: LogError."""
        self.served: list[Mapping[str, Any]] = []
        self.fetched: list[Mapping[str, Any]] = []
        for line in lines:
            if line["weight"] != 1 and line["type"] == "request":
                raise LogError("the log is sampled: figures can only be estimated from it")
            if line["type"] == "fetch":
                self.fetched.append(line)
            elif line["status"]:  # 0: the connection ended before there was a response
                self.served.append(line)
        self.first_at = min((at_of(line) for line in self.all()), default=None)

    def all(self) -> Iterator[Mapping[str, Any]]:
        yield from self.served
        yield from self.fetched

    def between(self, since: float, until: float) -> Log:
        return Log(line for line in self.all() if since <= at_of(line) < until)


def read_log(path: Path) -> Log:
    """Read a log file. Raises: LogError."""
    with path.open("rb") as file:
        return Log(json.loads(line) for line in file)


def row_key(by: tuple[str, ...], content_class: str, group: str) -> Key:
    names = {"class": content_class, "group": group, "upstream": POOL_OF_CLASS[content_class]}
    return tuple(names[each] for each in by)


def fetched_by_hour(log: Log) -> dict[tuple[int, str, str], Counter[str]]:
    """Sum what was asked by hour, URL and class."""
    sums: defaultdict[tuple[int, str, str], Counter[str]] = defaultdict(Counter)
    for line in log.fetched:
        status = line["status"]
        sums[hour_of(line), line["upstream_url"], line["class"]].update(
            requests=1,
            content_bytes=line["bytes"],
            head_bytes=line["head_bytes"],
            not_modified=int(status == 304),
            ranged=int(status == 206),
            retried=int(line["attempt"] > 1),
            throttled=int(status == 429),
            failed=int(bool(line["error"])),
        )
    return dict(sums)


def fetched_by_group(log: Log, by: tuple[str, ...]) -> Iterator[tuple[str, str, str, Counter[str]]]:
    """Yield group, URL, class and sums: what an hour fetched is divided by what groups took of it.

    A class that no group took anything of in the hour is divided as in the whole span, else it is
    "other"'s.
    """
    in_hour: defaultdict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    in_span: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line in log.served:
        in_hour[hour_of(line), line["class"]][line["group"]] += line["bytes"]
        in_span[line["class"]][line["group"]] += line["bytes"]
    for (hour, url, content_class), columns in fetched_by_hour(log).items():
        if "group" not in by:
            yield "", url, content_class, columns
            continue
        found = (in_hour[hour, content_class], in_span[content_class], Counter({"other": 1}))
        weights = next(each for each in found if each.total())
        for group in sorted(weights):
            parts = {name: _divide(amount, weights)[group] for name, amount in columns.items()}
            yield group, url, content_class, Counter(parts)


def _divide(amount: int, weights: Counter[str]) -> dict[str, int]:
    whole = weights.total()
    return share_out(
        amount, {name: Fraction(amount * weights[name], whole) for name in sorted(weights)}
    )


def share_out(whole: int, exact: Mapping[Name, Fraction]) -> dict[Name, int]:
    """Return the shares in whole numbers; what is left over goes to the largest remainders."""
    parts = {name: math.floor(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: parts[name] - exact[name])
    for name in by_remainder[: whole - sum(parts.values())]:
        parts[name] += 1
    return parts


def at_of(line: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(line["date_time"]).timestamp()


def hour_of(line: Mapping[str, Any]) -> int:
    return int(at_of(line) // HOUR_S) * HOUR_S


def time_text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def month_begin(at: float) -> float:
    first = datetime.fromtimestamp(at, UTC).replace(day=1, hour=0, minute=0, second=0)
    return first.replace(microsecond=0).timestamp()

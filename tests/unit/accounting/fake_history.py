"""A ledger that is a list: `History` for tests of what is made of it.

Rules:
1. It keeps lines by the hour; asked for days it sums them, as the ledger does.
2. `traffic` makes believable lines from a seed: days of the week differ, and it grows.

Runs in: pytest.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mirror.accounting.history import (
    CurvePoint,
    DownloadLine,
    FetchedLine,
    ObjectLine,
    ServedLine,
    Step,
)
from mirror.accounting.layout import FETCHED_COLUMNS, SERVED_COLUMNS

RELEASES, CRATES, INDEX = (
    "https://static.rust-lang.org",
    "https://static.crates.io",
    "https://index.crates.io",
)
URLS = {"release": RELEASES, "rustup": RELEASES, "crate": CRATES, "index": INDEX, "other": RELEASES}
DAY_S = 86400
HOUR_S = 3600


@dataclass
class FakeHistory:
    served_lines: list[ServedLine] = field(default_factory=list)
    fetched_lines: list[FetchedLine] = field(default_factory=list)
    object_lines: list[ObjectLine] = field(default_factory=list)
    download_lines: list[DownloadLine] = field(default_factory=list)
    points: list[CurvePoint] = field(default_factory=list)
    began_at: int | None = None

    def serve(
        self,
        at: int,
        content_class: str = "crate",
        outcome: str = "hit",
        group: str = "other",
        **columns: int,
    ) -> None:
        """Count; `requests` is 1 unless given."""
        self.began_at = at if self.began_at is None else min(at, self.began_at)
        self.served_lines.append(
            ServedLine(
                at=at,
                content_class=content_class,
                outcome=outcome,
                group=group,
                columns=_columns(SERVED_COLUMNS, columns),
            )
        )

    def fetch(
        self, at: int, content_class: str = "crate", upstream: str = "", **columns: int
    ) -> None:
        """Count; the upstream is the class's own unless given."""
        self.began_at = at if self.began_at is None else min(at, self.began_at)
        self.fetched_lines.append(
            FetchedLine(
                at=at,
                content_class=content_class,
                upstream=upstream or URLS[content_class],
                columns=_columns(FETCHED_COLUMNS, columns),
            )
        )

    def served(self, since: float, until: float, step: Step) -> Sequence[ServedLine]:
        sums: defaultdict[tuple[int, str, str, str], Counter[str]] = defaultdict(Counter)
        for line in self.served_lines:
            if since <= _begin(line.at, step) < until:
                key = (_begin(line.at, step), line.content_class, line.outcome, line.group)
                sums[key].update(line.columns)
        return [
            ServedLine(
                at=at,
                content_class=content_class,
                outcome=outcome,
                group=group,
                columns={name: columns[name] for name in SERVED_COLUMNS},
            )
            for (at, content_class, outcome, group), columns in sorted(sums.items())
        ]

    def fetched(self, since: float, until: float, step: Step) -> Sequence[FetchedLine]:
        sums: defaultdict[tuple[int, str, str], Counter[str]] = defaultdict(Counter)
        for line in self.fetched_lines:
            if since <= _begin(line.at, step) < until:
                sums[_begin(line.at, step), line.content_class, line.upstream].update(line.columns)
        return [
            FetchedLine(
                at=at,
                content_class=content_class,
                upstream=upstream,
                columns={name: columns[name] for name in FETCHED_COLUMNS},
            )
            for (at, content_class, upstream), columns in sorted(sums.items())
        ]

    def served_by_day(self, since: float, until: float) -> Mapping[int, int]:
        sums: Counter[int] = Counter()
        for line in self.served_lines:
            day = _begin(line.at, Step.DAY)
            if since <= day < until and line.content_class != "other":
                sums[day] += line.columns["content_bytes"]
        return dict(sums)

    def objects(self, since: float, until: float, limit: int) -> Sequence[ObjectLine]:
        return self.object_lines[:limit]

    def downloads(self, since: float, until: float) -> Sequence[DownloadLine]:
        return [line for line in self.download_lines if since <= line.day < until]

    def curve(self) -> Sequence[CurvePoint]:
        return self.points

    def first_at(self) -> int | None:
        return self.began_at


def traffic(now: int, days: int, *, seed: int = 1, growth: float = 0.5) -> FakeHistory:
    """Return `days` days of CI-shaped traffic up to `now`, growing by `growth` a year."""
    chance = random.Random(seed)
    history = FakeHistory()
    today = now // DAY_S * DAY_S
    for at in range(today - days * DAY_S, today + 1, DAY_S):
        part = 1.0 if at < today else (now - today) / DAY_S
        weekday = 0.35 if (at // DAY_S + 3) % 7 >= 5 else 1.0
        scale = math.exp(math.log1p(growth) * (at - today) / (365.2425 * DAY_S))
        scale *= weekday * part * chance.uniform(0.85, 1.15)
        for content_class, whole_bytes, mean_bytes in (
            ("release", 900e9, 40_000_000),
            ("rustup", 30e9, 12_000_000),
            ("crate", 160e9, 90_000),
            ("index", 22e9, 4_000),
        ):
            for group, share in (("github-actions", 0.6), ("azure", 0.3), ("other", 0.1)):
                for outcome, part_of in (("hit", 0.95), ("collapsed", 0.03), ("miss", 0.02)):
                    sent = int(whole_bytes * scale * share * part_of)
                    requests = max(1, sent // mean_bytes)
                    history.serve(
                        at,
                        content_class,
                        outcome,
                        group,
                        requests=requests,
                        content_bytes=sent,
                        head_bytes=requests * 320,
                        ranged=requests // 50,
                        not_modified=requests // 3 if content_class == "index" else 0,
                        cut=requests // 2000,
                    )
            received = int(whole_bytes * scale * 0.022)
            requests = max(1, received // mean_bytes)
            history.fetch(
                at,
                content_class,
                requests=requests,
                content_bytes=received,
                head_bytes=requests * 600,
                not_modified=requests // 2 if content_class == "index" else 0,
                retried=requests // 900,
            )
        history.serve(at, "other", "refused", requests=400, content_bytes=30_000)
    history.began_at = today - days * DAY_S + 5 * HOUR_S
    return history


def _columns(names: Sequence[str], given: Mapping[str, int]) -> dict[str, int]:
    unknown = set(given) - set(names)
    if unknown:
        raise ValueError(f"no such columns: {unknown}")
    return {**dict.fromkeys(names, 0), "requests": 1, **given}


def _begin(at: int, step: Step) -> int:
    return at // step.value * step.value

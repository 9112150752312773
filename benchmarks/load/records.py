"""Counts of a run: per name of a request, what was right, failed and wrong; and the verdict.

Rules:
1. A run is good when nothing failed, nothing was wrong, no job crashed, and every kind of job was
   seen to end.
2. The first `_EXAMPLES` reasons of each name are kept word by word; all are counted.

Units: bytes. Runs in: benchmark, both environments. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from benchmarks.load.answers import Answer, Verdict, judge

JOBS = ("install", "fetch", "update", "slow")
_EXAMPLES = 5


class Record(Protocol):
    """Judges and counts an answer; returns whether it is right."""

    def __call__(self, name: str, answer: Answer) -> bool: ...


class Counts:
    """What has been seen so far."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Counter[Verdict]] = {}
        self.statuses: Counter[int] = Counter()
        self.received_bytes = 0
        self.examples: dict[str, list[str]] = {}
        self.jobs: Counter[str] = Counter()
        self.crashes: Counter[str] = Counter()
        self.jobs_under_way = 0
        self.most_jobs_under_way = 0

    def __repr__(self) -> str:
        return (
            f"<Counts {self.total()} requests, {self.total(Verdict.FAILED)} failed, "
            f"{self.total(Verdict.WRONG)} wrong>"
        )

    def add(self, name: str, answer: Answer) -> tuple[Verdict, str]:
        """Judge and count; return the verdict and its reason."""
        verdict, reason = judge(answer)
        self.verdicts.setdefault(name, Counter())[verdict] += 1
        self.statuses[answer.status] += 1
        self.received_bytes += answer.length_bytes
        if verdict is not Verdict.RIGHT:
            examples = self.examples.setdefault(name, [])
            if len(examples) < _EXAMPLES:
                target = answer.question.item.target
                examples.append(f"{verdict.value}: {target}: {reason}")
        return verdict, reason

    def begin_job(self) -> None:
        self.jobs_under_way += 1
        self.most_jobs_under_way = max(self.most_jobs_under_way, self.jobs_under_way)

    def end_job(self, name: str) -> None:
        """`name` "": it was broken off, which is not counted as a job."""
        self.jobs_under_way -= 1
        if name:
            self.jobs[name] += 1

    def crash_job(self, error: Exception) -> None:
        """A job that ends by an exception has asked no further: that is the load's own fault."""
        self.crashes[f"{type(error).__name__}: {error}"] += 1

    def total(self, verdict: Verdict | None = None) -> int:
        found = self.verdicts.values()
        return sum(each.total() if verdict is None else each[verdict] for each in found)

    def faults(self, expected_jobs: Iterable[str]) -> list[str]:
        """Return in sentences why the run is not good; nothing when it is."""
        found = [
            f"{count} requests {words}"
            for verdict, words in ((Verdict.WRONG, "had a wrong body"), (Verdict.FAILED, "failed"))
            if (count := self.total(verdict))
        ]
        found += [f"{count} jobs crashed: {error}" for error, count in self.crashes.items()]
        return found + [
            f"no job of the kind {name!r} ended" for name in expected_jobs if not self.jobs[name]
        ]

    def figures(self) -> dict[str, object]:
        return {
            "requests": self.total(),
            "failed": self.total(Verdict.FAILED),
            "wrong": self.total(Verdict.WRONG),
            "received_bytes": self.received_bytes,
            "jobs": dict(sorted(self.jobs.items())),
            "most_jobs_under_way": self.most_jobs_under_way,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "reasons": self.examples,
        }

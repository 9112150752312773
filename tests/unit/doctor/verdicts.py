"""Verdicts of findings."""

from __future__ import annotations

from mirror.doctor.findings import Finding, Verdict

GOOD, NOTE, RISK, WRONG = Verdict.GOOD, Verdict.NOTE, Verdict.RISK, Verdict.WRONG
DAY_S = 86400.0


def verdicts(findings: object) -> list[Verdict]:
    found = [findings] if isinstance(findings, Finding) else list(findings)  # type: ignore[call-overload]  # any iterable
    assert all(each.remedy for each in found if each.verdict is not GOOD)
    return [each.verdict for each in found]

"""Short ways to say a finding about a server.

Rules:
1. What is not good says what to do about it: `remedy` cannot be left out.
2. `note` is for what nobody can tell from here, or what may be meant so; it asks for nothing.

Runs in: commands. Pure.
"""

from __future__ import annotations

from mirror.doctor.findings import Finding, Verdict

_KIB = 1024.0
_DAY_S = 86400.0


def wrong(subject: str, sentence: str, remedy: str, seen: str = "") -> Finding:
    return _finding(Verdict.WRONG, subject, sentence, remedy, seen)


def risk(subject: str, sentence: str, remedy: str, seen: str = "") -> Finding:
    return _finding(Verdict.RISK, subject, sentence, remedy, seen)


def note(subject: str, sentence: str, remedy: str, seen: str = "") -> Finding:
    return _finding(Verdict.NOTE, subject, sentence, remedy, seen)


def good(subject: str, sentence: str, seen: str = "") -> Finding:
    return _finding(Verdict.GOOD, subject, sentence, "", seen)


def size(size_bytes: float) -> str:
    """Return "3.2 GiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size_bytes) < _KIB:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= _KIB
    return f"{size_bytes:.1f} TiB"


def span(seconds: float) -> str:
    """Return "3 ms", "2.5 s", "4 h" or "12 days"."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 2 * _DAY_S else f"{seconds / _DAY_S:.0f} days"


def _finding(verdict: Verdict, subject: str, sentence: str, remedy: str, seen: str) -> Finding:
    return Finding(verdict=verdict, subject=subject, sentence=sentence, seen=seen, remedy=remedy)

"""What `rust-mirror verify` prints: a chain in words, a table of everything, JSON for machines.

Rules:
1. Text from outside (keys, paths) is escaped: a terminal must not act on what is in it.

Runs in: commands (rich is imported here; `serve` never imports this).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mirror.cli.tables import printable, size_text
from mirror.jobs.chain import Chain, Grade
from mirror.jobs.store_check import Finding, Report

SHOWN_WRONG: Final = 1000  # on paper; JSON has all of them
_MARKS: Final = {
    Grade.NOTE: "     ",
    Grade.GOOD: "ok   ",
    Grade.LOST: "lost ",
    Grade.WEAK: "weak ",
    Grade.WRONG: "WRONG",
}
_VERDICTS: Final = {
    Grade.NOTE: "nothing is stored: only that there was nothing",
    Grade.GOOD: "good: every step was checked again",
    Grade.LOST: "good as far as it can be checked: what vouched for it is no longer stored",
    Grade.WEAK: "the bytes are those that came, but not everything about them is proved",
    Grade.WRONG: "WRONG",
}


def print_chain(chain: Chain, console: Console | None = None) -> None:
    """Print the steps for one object, and what they come to."""
    console = console or Console(highlight=False)
    print_line(console, chain.entry.key)
    for step in chain.steps:
        print_line(console, f"  {_MARKS[step.grade]} {step.text}")
    print_line(console, f"  => {_VERDICTS[chain.grade]}")


def print_not_stored(name: str, keys: Sequence[str], console: Console | None = None) -> None:
    console = console or Console(highlight=False)
    looked = " or ".join(keys)
    print_line(console, f"{name}: not stored here (looked for {looked})")


def print_report(report: Report, console: Console | None = None) -> None:
    """Print the table, what is weak and why, and every wrong object."""
    console = console or Console(highlight=False)
    console.print(_table(report))
    print_line(console, f"{report.files:,} files, {size_text(report.file_bytes)}, each read once")
    for why, count in sorted(report.reasons.items()):
        print_line(console, f"weak: {count:,} objects, {why}")
    if report.absences:
        print_line(console, f"{report.absences:,} remembered absences are no content")
    if report.unbacked:
        print_line(
            console, f"{report.unbacked:,} entries name a file that is gone: they are misses"
        )
    for path in report.stray_paths:
        print_line(console, f"no entry: {path} (the mirror removes or adopts it at its next start)")
    if report.strays > len(report.stray_paths):
        print_line(console, f"and {report.strays - len(report.stray_paths):,} more such files")
    for finding in report.wrong[:SHOWN_WRONG]:
        _print_finding(console, finding)
    if len(report.wrong) > SHOWN_WRONG:
        print_line(console, f"and {len(report.wrong) - SHOWN_WRONG:,} more: see --json")
    wrong = len(report.wrong)
    print_line(console, "everything is good" if not wrong else f"{wrong:,} WRONG")


def report_json(report: Report) -> str:
    """Return the report for machines."""
    document = {"is_good": report.is_good, **asdict(report)}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def chains_json(chains: Mapping[str, Chain | None], keys: Mapping[str, Sequence[str]]) -> str:
    """Return the chains for machines; `keys` is what was looked for under each name."""
    found = [_chain_values(name, chain, keys[name]) for name, chain in chains.items()]
    is_good = all(chain is not None and chain.is_sound for chain in chains.values())
    return orjson.dumps({"is_good": is_good, "objects": found}, option=orjson.OPT_INDENT_2).decode()


def _chain_values(name: str, chain: Chain | None, keys: Sequence[str]) -> dict[str, Any]:
    if chain is None:
        return {"name": name, "is_stored": False, "looked_for": list(keys)}
    entry = chain.entry
    return {
        "name": name,
        "is_stored": True,
        "key": entry.key,
        "grade": chain.grade.name.lower(),
        "sha256": entry.digest.hex(),
        "size_bytes": entry.length,
        "proof": entry.proof,
        "voucher": entry.voucher,
        "verified_at": entry.verified_at,
        "steps": [
            {"grade": s.grade.name.lower(), "about": s.about, "text": s.text, "why": s.why}
            for s in chain.steps
        ],
    }


def _table(report: Report) -> Table:
    table = Table(title="stored objects, checked again", title_justify="left")
    table.add_column("class")
    for heading in ("objects", "bytes", "good", "weak", "wrong"):
        table.add_column(heading, justify="right")
    for name, sums in sorted(report.classes.items()):
        counts = (sums.good, sums.weak, sums.wrong)
        table.add_row(
            name, f"{sums.objects:,}", size_text(sums.size_bytes), *(f"{n:,}" for n in counts)
        )
    return table


def _print_finding(console: Console, finding: Finding) -> None:
    print_line(console, f"WRONG {finding.key or 'a file that no key names'}: {finding.reason}")
    print_line(console, f"  file     {finding.path}")
    print_line(console, f"  expected {finding.expected}")
    print_line(console, f"  got      {finding.got}")
    print_line(console, f"  to do    {finding.advice}")


def print_line(console: Console, text: str) -> None:
    console.print(escape(printable(text)), soft_wrap=True)

"""The findings of `doctor` for people, and its progress bar.

Runs in: commands.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from mirror.cli.tables import printable
from mirror.doctor.findings import Base, Finding, Verdict

_MARKS = {
    Verdict.PAST: ("✗", "bold red"),
    Verdict.WRONG: ("✗", "bold red"),
    Verdict.RISK: ("!", "bold yellow"),
    Verdict.SLOW: ("!", "yellow"),
    Verdict.NOTE: ("·", "cyan"),
    Verdict.GOOD: ("✓", "green"),
}


def print_findings(findings: Sequence[Finding], mirror: Base | None) -> None:
    """Print what goes past the mirror first, and what is well last."""
    console = Console()
    where = (
        f"The mirror: {mirror}" if mirror else "No mirror is named: neither here nor by --mirror."
    )
    console.print(Text(printable(where)))
    _print_each(console, findings)
    past = sum(finding.verdict is Verdict.PAST for finding in findings)
    if past:
        console.print(Text(f"{past} of these go past the mirror, or fail.", style="bold"))
    else:
        console.print(Text("Nothing seen here goes past the mirror.", style="bold"))


def print_server(findings: Sequence[Finding], store_path: str, state_path: str) -> None:
    """Print what is wrong with a server first, and what is well last."""
    console = Console()
    console.print(Text(printable(f"The mirror of store {store_path} and state {state_path}")))
    _print_each(console, findings)
    count = sum(finding.verdict in (Verdict.WRONG, Verdict.RISK) for finding in findings)
    if count:
        console.print(Text(f"{count} of these ask for somebody's hand.", style="bold"))
    else:
        console.print(Text("Nothing needs to be done.", style="bold"))


def _print_each(console: Console, findings: Sequence[Finding]) -> None:
    order = list(Verdict)
    for finding in sorted(findings, key=lambda each: order.index(each.verdict)):
        mark, style = _MARKS[finding.verdict]
        line = Text(f"{mark} ", style=style)
        line.append(f"{printable(finding.subject)} ", style="bold")
        line.append(printable(finding.sentence), style="default not bold")
        if finding.seen:
            line.append(f"  [{printable(finding.seen)}]", style="dim not bold")
        console.print(line, soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"    → {printable(finding.remedy)}"), soft_wrap=True)


@contextlib.contextmanager
def progress(total: int, *, is_quiet: bool) -> Iterator[Callable[[], None]]:
    """Show how many of `total` questions were asked, on standard error."""
    console = Console(stderr=True, quiet=is_quiet)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("asking the mirror", total=total)
        yield lambda: bar.advance(task)


@contextlib.contextmanager
def looking(*, is_quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show on standard error what is being looked at."""
    console = Console(stderr=True, quiet=is_quiet)
    with console.status("looking") as line:
        yield lambda name: line.update(f"looking at: {name}")

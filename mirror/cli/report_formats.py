"""A report in the form that was asked for; the table for a terminal.

Rules:
1. Text from outside (keys, URLs, names) is only shown: a terminal must not act on what is in it.

Runs in: commands (rich is imported here; `serve` never imports this).
"""

from __future__ import annotations

import io
from typing import Final

import orjson
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from mirror.accounting.report import Report
from mirror.accounting.report_document import document_of
from mirror.accounting.report_sections import Section, facts_of, sections_of, span_text
from mirror.accounting.report_text import csv_of, markdown_of
from mirror.cli.tables import printable

FILE_WIDTH: Final = 160  # of a table that no terminal shows


def rendered(report: Report, form: str, *, is_terminal: bool) -> str:
    """Return the whole report as text."""
    if form == "json":
        return orjson.dumps(document_of(report), option=orjson.OPT_INDENT_2).decode() + "\n"
    if form == "csv":
        return csv_of(report)
    if form == "markdown":
        return markdown_of(report)
    if form == "html":
        from mirror.accounting.report_page import html_of

        return html_of(report)
    return _tables(report, is_terminal=is_terminal)


def _tables(report: Report, *, is_terminal: bool) -> str:
    text = io.StringIO()
    width = Console().width if is_terminal else FILE_WIDTH
    console = Console(file=text, highlight=False, width=width, force_terminal=is_terminal)
    console.print(f"[bold]{_shown(report.request.title)}[/bold], {span_text(report)}")
    console.print()
    for fact in facts_of(report):
        console.print(f"  [bold]{_shown(fact.value)}[/bold] {fact.label} ({_shown(fact.detail)})")
    if report.notes:
        console.print()
    for note in report.notes:
        console.print(f"  note: {_shown(note.text)}")
    for section in sections_of(report):
        console.print()
        console.print(f"[bold]{_shown(section.title)}[/bold]")
        if section.lead:
            console.print(Padding(_shown(section.lead), (0, 2), expand=False))
        if section.rows or section.total:
            console.print(_table(section))
        else:
            console.print(Padding(_shown(section.empty), (0, 2), expand=False))
    return text.getvalue()


def _table(section: Section) -> Table:
    table = Table(show_edge=False, pad_edge=True)
    for at, heading in enumerate(section.headings):
        is_word = at < section.names
        table.add_column(
            _shown(heading), justify="left" if is_word else "right", overflow="fold",
            no_wrap=not is_word,
        )  # fmt: skip
    for row in section.rows:
        table.add_row(*map(_shown, row))
    if section.total:
        table.add_section()
        table.add_row(*map(_shown, section.total))
    return table


def _shown(text: str) -> str:
    return escape(printable(text))

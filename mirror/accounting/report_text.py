"""A report as CSV and as Markdown.

Rules:
1. CSV is one table, that of the rows, for programs: the names of the JSON document, amounts whole.
   Its cells never begin a formula in a spreadsheet that opens the file.
2. Markdown is the whole report. Text from outside cannot break a table or become markup.

Runs in: keeper and commands. Pure.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any, Final

from mirror.accounting.report import Report
from mirror.accounting.report_document import document_of
from mirror.accounting.report_sections import Section, facts_of, sections_of, span_text

_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>#|~])")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def csv_of(report: Report) -> str:
    """Return the rows; the line of headings is there even when they are none."""
    document = document_of(report)
    names = [*report.table.by, *(name for name in document["total"] if name not in _NESTED)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    rows = document["rows"] if report.table.by else [document["total"]]
    for row in rows:
        writer.writerow([_cell(row[name]) for name in names])
    return text.getvalue()


_NESTED: Final = ("outcomes", "payers")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = str(value)
    # Names come from configuration and keys from clients; amounts may well begin with a minus.
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def markdown_of(report: Report) -> str:
    """Return the report as a document with one table per section."""
    return "\n".join(_markdown(report)) + "\n"


def _markdown(report: Report) -> Iterator[str]:
    yield f"# {_escaped(report.request.title)}"
    yield ""
    yield span_text(report)
    yield ""
    for fact in facts_of(report):
        yield f"- **{_escaped(fact.value)}** {_escaped(fact.label)} ({_escaped(fact.detail)})"
    if report.notes:
        yield ""
        yield "## To know"
        yield ""
        yield from (f"- {_escaped(note.text)}" for note in report.notes)
    for section in sections_of(report):
        yield ""
        yield f"## {_escaped(section.title)}"
        if section.lead:
            yield ""
            yield _escaped(section.lead)
        yield ""
        yield from _table(section)


def _table(section: Section) -> Iterator[str]:
    if not section.rows and not section.total:
        yield _escaped(section.empty)
        return
    yield _line(section.headings)
    yield _line(
        tuple("---" if at < section.names else "---:" for at in range(len(section.headings))),
        is_escaped=True,
    )
    for row in (*section.rows, *((section.total,) if section.total else ())):
        yield _line(row)


def _line(cells: tuple[str, ...], *, is_escaped: bool = False) -> str:
    return "| " + " | ".join(cells if is_escaped else map(_escaped, cells)) + " |"


def _escaped(text: str) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return _MARKUP.sub(r"\\\1", shown)

"""A report as one HTML file: no script, nothing loaded, light and dark, fit for paper and mail.

Rules:
1. Everything is escaped by the template engine, but for the charts, which escape their own text.
2. An unknown name in the template is an error, not an empty place.

Runs in: keeper and commands; loaded by no worker (jinja2).
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

import mirror
from mirror.accounting.days import time_text
from mirror.accounting.report import Report
from mirror.accounting.report_charts import curve_chart, traffic_chart
from mirror.accounting.report_sections import facts_of, sections_of, span_text

_TEMPLATE: Final = "report.html.j2"


def html_of(report: Report) -> str:
    """Return the whole page."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = files("mirror.accounting").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    request = report.request
    return environment.from_string(text).render(
        title=request.title,
        span=span_text(report),
        facts=facts_of(report),
        warnings=[note for note in report.notes if note.is_warning],
        readings=[note for note in report.notes if not note.is_warning],
        traffic=Markup(traffic_chart(report.points, request.span)),  # noqa: S704 - rule 1
        curve=Markup(curve_chart(report.curve, request.store_bytes)),  # noqa: S704 - rule 1
        sections=sections_of(report),
        made=time_text(request.now),
        version=mirror.__version__,
    )

"""What a span saved in money, and the month: the report's own figures, for the dashboard.

Rules:
1. The figures are those of `rust-mirror report`: one function makes both.
2. A report reads years of days, for growth; it is made at most once in `KEPT_S` per span.
3. The file of prices is read each time: an edit shows after a minute. A file that cannot be used is
   told in words, and the rest of the page does not mind.

Units: micro-units of the file's currency.
Runs in: keeper, in threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Final

from mirror.accounting.days import span_of
from mirror.accounting.history import History
from mirror.accounting.price_file import load_prices
from mirror.accounting.report import Report, ReportRequest, build_report
from mirror.config import Config
from mirror.control.spans import Span
from mirror.errors import ConfigError

KEPT_S: Final = 60.0
_SPANS_KEPT: Final = 16  # lengths and steps that somebody asked for lately; the page has five


class Savings:
    """Makes the document; remembers it for a moment."""

    def __init__(self, history: History, config: Config) -> None:
        self._history = history
        self._config = config
        self._lock = threading.Lock()
        self._made: OrderedDict[tuple[int, int, int], tuple[float, dict[str, Any]]] = OrderedDict()

    def of(self, span: Span, now: float) -> dict[str, Any]:
        """Return the document, ready for JSON. Raises StoreError."""
        name = (span.since, span.until - span.until % 60, span.step_s)
        with self._lock:
            at, document = self._made.get(name, (-KEPT_S, {}))
            if not 0 <= now - at < KEPT_S:
                document = self._make(span, now)
                self._made[name] = (now, document)
                self._made.move_to_end(name)
                if len(self._made) > _SPANS_KEPT:
                    self._made.popitem(last=False)
            return document

    def _make(self, span: Span, now: float) -> dict[str, Any]:
        try:
            prices = load_prices(self._config.accounting.prices)
        except ConfigError as exc:
            return {"trouble": f"prices cannot be used: {exc.message}"}
        request = ReportRequest(
            span=span_of(span.since, span.until, span.base),
            now=now,
            store_bytes=self._config.store.budget,
            hours_kept_s=self._config.accounting.hours_kept,
        )
        return _document(build_report(self._history, prices, request))


def _document(report: Report) -> dict[str, Any]:
    month, growth = report.month, report.growth
    return {
        "currency": report.prices.currency,
        "is_example": report.prices.is_example,
        "avoided_micro": report.table.costs.total.avoided_micro,
        "month_avoided_micro": month.avoided_micro,
        "month_projected_micro": month.projected_avoided_micro,
        "growth": None
        if growth is None
        else {"ratio": growth.ratio, "low": growth.low, "high": growth.high},
    }

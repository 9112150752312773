"""The money of a span, for the dashboard."""

from __future__ import annotations

from pathlib import Path

from mirror.accounting.history import ServedLine
from mirror.accounting.layout import SERVED_COLUMNS
from mirror.config import Accounting, Config
from mirror.control.savings import KEPT_S, Savings
from mirror.control.spans import parse_span
from tests.unit.control.test_spans import NOW, FakeHistory

_GIGABYTE = 10**9


def _line(at: int) -> ServedLine:
    columns = dict.fromkeys(SERVED_COLUMNS, 0) | {"requests": 1, "content_bytes": 500 * _GIGABYTE}
    return ServedLine(at=at, content_class="crate", outcome="hit", group="other", columns=columns)


def test_the_report_is_made_once_a_minute_per_span() -> None:
    history = FakeHistory([_line(int(NOW) - 1800)], [])
    savings = Savings(history, Config())
    hour, day = parse_span("", "", "", NOW), parse_span("-86400", "", "600", NOW)
    first = savings.of(hour, NOW)
    assert first["is_example"] is True
    assert first["avoided_micro"] > 0
    asked = len(history.asked)
    assert savings.of(hour, NOW + KEPT_S - 1) is first
    assert len(history.asked) == asked
    savings.of(day, NOW)
    savings.of(hour, NOW + KEPT_S)
    assert len(history.asked) > asked + 1


def test_a_file_of_prices_that_cannot_be_used_is_told_in_words(tmp_path: Path) -> None:
    absent = Config(accounting=Accounting(prices=str(tmp_path / "absent.toml")))
    document = Savings(FakeHistory([], []), absent).of(parse_span("", "", "", NOW), NOW)
    assert list(document) == ["trouble"]
    assert "prices cannot be used" in document["trouble"]

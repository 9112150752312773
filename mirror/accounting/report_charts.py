"""The report's two charts as SVG: readable without scripts, on paper, in light and dark.

Rules:
1. Colours are classes that the page's style sheet fills; nothing is loaded from anywhere.
2. Each chart says in words what it shows (title and description), and a table of the page or the
   chart's own description has its figures.
3. At most 100 bars: longer spans are drawn by weeks or longer.

Units: bytes in, picture units out.
Runs in: keeper and commands. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from mirror.accounting.days import Span, date_text, time_text
from mirror.accounting.history import CurvePoint, Step
from mirror.accounting.report import Point
from mirror.accounting.report_words import bytes_text, disk_text, percent_text

MAX_BARS: Final = 100
_WIDTH, _HEIGHT = 760, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 26
_PLOT_WIDTH, _PLOT_HEIGHT = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
_GROUPS: Final = {Step.DAY: (1, 7, 28, 91), Step.HOUR: (1, 6, 24, 168), Step.MINUTE: (1, 15, 60)}
_TICKS: Final = 4
_LABELS: Final = 6


def traffic_chart(points: Sequence[Point], span: Span) -> str:
    """Return bars of what was sent, with what was fetched inside them; "" for no traffic."""
    bars = _grouped(points, span.step)
    most = max((max(bar.served_bytes, bar.fetched_bytes) for bar in bars), default=0)
    if not most:
        return ""
    tick = _nice(most / _TICKS)
    ticks = math.ceil(most / tick)
    top = tick * ticks
    parts = [*_grid([(tick * at, bytes_text(tick * at)) for at in range(ticks + 1)], top)]
    slot = _PLOT_WIDTH / len(bars)
    width = max(1.0, slot * 0.76)
    for at, bar in enumerate(bars):
        x = _LEFT + slot * at + (slot - width) / 2
        label = f"{_when(bar.at, span.step)}: {bytes_text(bar.served_bytes)} sent, "
        label += f"{bytes_text(bar.fetched_bytes)} fetched"
        parts.append(f"<g><title>{escape(label)}</title>")
        parts.append(_bar(x, width, bar.served_bytes / top, "served"))
        parts.append(_bar(x + width * 0.2, width * 0.6, bar.fetched_bytes / top, "fetched"))
        parts.append("</g>")
    parts.extend(_dates(bars, slot, span.step))
    length = (len(points) + len(bars) - 1) // len(bars) if bars else 1
    unit = span.step.name.lower() if length == 1 else f"{length} {span.step.name.lower()}s"
    sent = sum(bar.served_bytes for bar in bars)
    fetched = sum(bar.fetched_bytes for bar in bars)
    description = (
        f"One bar per {unit}; the wide bars are what was sent to clients, {bytes_text(sent)} in "
        f"all, the narrow ones what was fetched from upstream, {bytes_text(fetched)} in all."
    )
    return _svg("traffic", "Sent to clients and fetched from upstream", description, parts)


def curve_chart(curve: Sequence[CurvePoint], store_bytes: int) -> str:
    """Return the expected hit ratios over the store's size; "" for fewer than two points."""
    if len(curve) < 2:
        return ""
    sizes = [math.log2(max(1, point.store_bytes)) for point in curve]
    low, high = min(sizes), max(sizes)
    if low == high:
        return ""

    def x_of(size: float) -> float:
        return _LEFT + 20 + (_PLOT_WIDTH - 40) * (size - low) / (high - low)

    parts = [*_grid([(at / 4, f"{at * 25} %") for at in range(5)], 1.0)]
    marked = math.log2(store_bytes) if store_bytes else None
    if marked is not None and low <= marked <= high:
        x = x_of(marked)
        parts.append(
            f'<line class="now" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + _PLOT_HEIGHT}"/>'
            f'<text class="now" x="{x + 5:.1f}" y="{_TOP + _PLOT_HEIGHT - 6}">'
            f"{disk_text(store_bytes)} now</text>"
        )
    for name, ratios in (
        ("served", [point.byte_hit_ratio for point in curve]),
        ("fetched", [point.request_hit_ratio for point in curve]),
    ):
        places = [(x_of(size), _y(ratio)) for size, ratio in zip(sizes, ratios, strict=True)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="line {name}" points="{line}"/>')
        parts.extend(f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places)
    every = max(1, math.ceil(len(curve) / 8))
    parts.extend(
        f'<text x="{x_of(size):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">'
        f"{disk_text(point.store_bytes)}</text>"
        for size, point in list(zip(sizes, curve, strict=True))[::every]
    )
    best = curve[-1]
    description = (
        f"From {disk_text(curve[0].store_bytes)}, {percent_text(curve[0].byte_hit_ratio)} of the "
        f"bytes, to {disk_text(best.store_bytes)}, {percent_text(best.byte_hit_ratio)}; "
        "the table has every point."
    )
    return _svg("curve", "Share answered from disk, by the store's size", description, parts)


def _grouped(points: Sequence[Point], step: Step) -> list[Point]:
    sizes = _GROUPS[step]
    size = next((n for n in sizes if len(points) <= n * MAX_BARS), sizes[-1])
    size = max(size, math.ceil(len(points) / MAX_BARS))
    return [_sum(points[at : at + size]) for at in range(0, len(points), size)]


def _sum(points: Sequence[Point]) -> Point:
    return Point(
        at=points[0].at,
        requests=sum(point.requests for point in points),
        served_bytes=sum(point.served_bytes for point in points),
        fetched_bytes=sum(point.fetched_bytes for point in points),
    )


def _nice(least: float) -> float:
    """Return the distance of ticks: the least of 1, 2, 2.5, 5, 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= least)


def _grid(ticks: Sequence[tuple[float, str]], top: float) -> Iterator[str]:
    for value, label in ticks:
        y = _y(value / top)
        yield (
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>'
        )


def _y(share: float) -> float:
    return _TOP + _PLOT_HEIGHT * (1 - min(1.0, max(0.0, share)))


def _bar(x: float, width: float, share: float, name: str) -> str:
    height = max(0.0, _PLOT_HEIGHT * share)
    y = _TOP + _PLOT_HEIGHT - height
    return (
        f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
    )


def _dates(bars: Sequence[Point], slot: float, step: Step) -> Iterator[str]:
    every = max(1, math.ceil(len(bars) / _LABELS))
    for at in range(0, len(bars), every):
        x = _LEFT + slot * (at + 0.5)
        anchor = "start" if at == 0 else "middle"
        x = _LEFT if at == 0 else min(x, _WIDTH - _RIGHT - 36)
        yield (
            f'<text x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">'
            f"{_when(bars[at].at, step)}</text>"
        )


def _when(at: int, step: Step) -> str:
    return date_text(at) if step is Step.DAY else time_text(at)[5:16].replace("T", " ")


def _svg(name: str, title: str, description: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-labelledby="{name}-title {name}-description">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-description">{escape(description)}</desc>{"".join(parts)}</svg>'
    )

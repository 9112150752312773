"""Sizes and durations as people write them: "100GiB", "60s".

Rules:
1. Sizes have binary units (B, KiB, MiB, GiB, TiB); a bare number counts bytes.
2. Durations have ms, s, m, h or d; a bare number is refused, because readers disagree about it.
3. Zero and negative amounts are refused: every size and duration of the configuration is a limit.
   An amount may be zero where that turns off what it limits.
4. Formatting gives text that parses back to the same amount.

Does not: know configuration keys; `config_sources` adds the key to the error.
Runs in: supervisor and commands. Pure.
"""

from __future__ import annotations

import re

SIZE_FORM = 'a size above zero such as "512KiB" or "100GiB" (units B, KiB, MiB, GiB, TiB)'
SIZE_OR_ZERO_FORM = 'a size such as "512KiB" or "100GiB" (units B, KiB, MiB, GiB, TiB), or "0"'
DURATION_FORM = 'a duration above zero such as "500ms" or "60s" (units ms, s, m, h, d)'

DURATION_OR_ZERO_FORM = 'a duration such as "500ms" or "60s" (units ms, s, m, h, d), or "0s"'

_SIZE_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_DURATION_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
# Fifteen digits are exact in a float.
_AMOUNT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([A-Za-z]*)")


def parse_size_bytes(text: str, *, may_be_zero: bool = False) -> int:
    """Return the bytes that `text` names. Raises ValueError with what is allowed."""
    form = SIZE_OR_ZERO_FORM if may_be_zero else SIZE_FORM
    number, unit = _split(text, form)
    factor = _SIZE_UNITS.get(unit or "B")
    if factor is None:
        raise ValueError(form)
    size_bytes = round(number * factor)
    if size_bytes < 0 or (size_bytes == 0 and not (may_be_zero and number == 0)):
        raise ValueError(form)
    return size_bytes


def parse_duration_s(text: str, *, may_be_zero: bool = False) -> float:
    """Return the seconds that `text` names. Raises ValueError with what is allowed."""
    form = DURATION_OR_ZERO_FORM if may_be_zero else DURATION_FORM
    number, unit = _split(text, form)
    factor = _DURATION_UNITS_MS.get(unit)
    if factor is None or number < 0 or (number == 0 and not may_be_zero):
        raise ValueError(form)
    return number * factor / 1000


def format_size(size_bytes: int) -> str:
    """Return the shortest exact form: 107374182400 is "100GiB"."""
    unit = max(
        (u for u, factor in _SIZE_UNITS.items() if size_bytes % factor == 0),
        key=_SIZE_UNITS.__getitem__,
    )
    return f"{size_bytes // _SIZE_UNITS[unit]}{unit}"


def format_duration(duration_s: float) -> str:
    """Return an exact form; a minute stays "60s", as operators write it."""
    duration_ms = round(duration_s * 1000, 6)
    for unit in ("d", "h", "m"):
        factor = _DURATION_UNITS_MS[unit]
        if duration_ms % factor == 0 and duration_ms > 60_000:
            return f"{int(duration_ms // factor)}{unit}"
    if duration_ms % 1000 == 0:
        return f"{int(duration_s)}s"
    return f"{duration_ms:.6f}".rstrip("0").rstrip(".") + "ms"


def _split(text: str, form: str) -> tuple[float, str]:
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise ValueError(form)
    return float(found[1]), found[2]

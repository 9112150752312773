"""What eviction leaves alone, as ranges of keys.

Rules:
1. A pin is a key, or a prefix that ends in "*"; what matches nothing pins nothing.
2. A pinned object still counts in the budget and in its quota, and still goes when it is purged.

Units: ranges are half-open, in the order of keys.
Runs in: keeper. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from mirror.store.schema import prefix_end

PinRange = tuple[str, str]


def ranges_of(pins: Iterable[str]) -> list[PinRange]:
    """Return the ranges that `[store] pins` names, sorted, each once."""
    return sorted({_range(pin) for pin in pins})


def _range(pin: str) -> PinRange:
    if pin.endswith("*"):
        return pin[:-1], prefix_end(pin[:-1])
    return pin, pin + "\0"

"""The class of content of a stored key, as a number for the index.

Rules:
1. Numbers are stored: one that is given keeps its meaning for ever. 0: a blob that no key of a
   known class names, such as a coded form; it counts in the budget and in no quota.
2. A blob that keys of two classes name is of the class that named it first.

Does not: match keys by the grammar (`route`): whoever stores has done so.
Runs in: keeper. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mirror.route.route import ContentClass

OTHER: Final = 0
NUMBERS: Final[Mapping[ContentClass, int]] = {
    ContentClass.RELEASE: 1,
    ContentClass.RUSTUP: 2,
    ContentClass.CRATE: 3,
    ContentClass.INDEX: 4,
}
CLASSES: Final = (OTHER, *NUMBERS.values())
# Of what keys begin with, the longest first.
_PREFIXES: Final = (
    ("releases:/rustup", NUMBERS[ContentClass.RUSTUP]),
    ("releases:", NUMBERS[ContentClass.RELEASE]),
    ("crates:", NUMBERS[ContentClass.CRATE]),
    ("index:", NUMBERS[ContentClass.INDEX]),
)


def class_of_key(key: str) -> int:
    """Return the number of the class of `key`, `OTHER` when it is of none."""
    for prefix, number in _PREFIXES:
        if key.startswith(prefix):
            return number
    return OTHER

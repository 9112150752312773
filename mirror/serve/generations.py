"""The generation of a channel's stored files: which one an entry is of, and where one is found.

Rules:
1. A generation is known here by the first 8 bytes of its manifest's digest, as the entries of all
   its files name it.
2. The current generation and the one before it are stored; a third has to come from the keeper,
   which may have answered with it before it was committed.

Runs in: worker.
"""

from __future__ import annotations

from typing import Final

from mirror.serve.ports import StoreView
from mirror.store.entry import Stored, former_key

_DIGITS: Final = 16


def generation_of(voucher: str) -> int:
    """The generation that a channel file's voucher ("<manifest key>@<hex>") names; 0: none."""
    _, separator, digits = voucher.rpartition("@")
    if not separator:
        return 0  # a fingerprint, or nothing
    try:
        return int(digits[:_DIGITS], 16)
    except ValueError:
        return 0


def find_of_generation(reader: StoreView, key: str, generation: int) -> Stored | None:
    """What is stored of `key` in `generation`, fresh or not, a remembered absence included."""
    for name in (key, former_key(key)):
        stored = reader.lookup(name)
        if stored is not None and generation_of(stored.entry.voucher) == generation:
            return stored
    return None

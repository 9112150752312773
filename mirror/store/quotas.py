"""The most that each class of content may take of the budget, as arithmetic.

Rules:
1. A class without a quota may take all of it.
2. What counts are blobs and promises of the class; parts kept to be resumed count in the budget
   alone, and so do coded forms.
3. A class that is above its quota, because the quota was lowered, gives room before all others.

Units: bytes, as footprints.
Does not: choose what goes (`eviction`).
Runs in: keeper. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mirror.route.route import ContentClass
from mirror.store.classes import NUMBERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """`limits`: bytes by the number of a class."""

    limits: Mapping[int, int]

    def limit_of(self, content_class: int) -> int:
        """Return the quota; 0: the class has none."""
        return self.limits.get(content_class, 0)

    def over(self, content_class: int, used_bytes: int, more_bytes: int = 0) -> int:
        """Return by how much a class that uses so much, and wants more, passes its quota."""
        limit = self.limit_of(content_class)
        return max(0, used_bytes + more_bytes - limit) if limit else 0


def quotas_of(given: Mapping[ContentClass, int]) -> Quotas:
    """Return the quotas that `[store.quotas]` gives; 0 is none."""
    return Quotas(limits={NUMBERS[each]: limit for each, limit in given.items() if limit})

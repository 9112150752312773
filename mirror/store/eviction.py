"""Which blobs go when room is needed: a policy that only decides.

Rules:
1. A policy gets the blobs that may go, coldest first, and never sees one that is held or pinned.
2. It returns enough victims, or none at all: throwing content away for a body that still does not
   fit would lose twice.
3. It knows candidates by three attributes: the miss-ratio curve of `accounting` asks the same
   policy about its sampled objects. One that keeps state has an instance per store, simulated ones
   included.

Units: bytes; `used_at_ms` Unix milliseconds of the last known use.
Does not: touch disk or index.
Runs in: keeper. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Candidate(Protocol):
    @property
    def digest(self) -> bytes: ...

    @property
    def freed_bytes(self) -> int: ...

    @property
    def used_at_ms(self) -> int: ...


_C = TypeVar("_C", bound=Candidate)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobUse:
    """A stored blob as a candidate."""

    digest: bytes
    freed_bytes: int
    used_at_ms: int


class EvictionPolicy(Protocol):
    def choose_victims(self, coldest_first: Iterable[_C], needed_bytes: int) -> list[_C]: ...


class LeastRecentlyUsed:
    """Take the coldest until it suffices."""

    def choose_victims(self, coldest_first: Iterable[_C], needed_bytes: int) -> list[_C]:
        victims: list[_C] = []
        freed = 0
        for blob in coldest_first:
            if freed >= needed_bytes:
                break
            victims.append(blob)
            freed += blob.freed_bytes
        return victims if freed >= needed_bytes else []


def policy_in_force() -> EvictionPolicy:
    """Return a policy as every store of this version has it, real or simulated."""
    return LeastRecentlyUsed()

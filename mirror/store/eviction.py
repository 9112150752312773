"""Which blobs go when room is needed: a policy that only decides.

Every blob has a rank, a moment: it weighs as much as a single use at that moment would. The blob
of the lowest rank goes first. How the policy in force, `DecayingUses`, gives ranks:

    use        the weight of all uses so far, halved every `HALF_LIFE` of the span, and one more
    arrival    on probation: the rank of a use that was `Standing.probation` of the span ago
    return     of a ghost (evicted not long ago): as a use, with the weight that it had
    span       the time from the rank of the last victim to the present

Uses decay alike for all blobs, so an order that was right stays right, and one number per blob is
enough (LRFU, Lee et al., IEEE ToC 2001). What a scan brings is used once and never leaves its
probation, so it takes the place of what was not used for that part of the span, then its own. How
long that part is, the ghosts teach (as ARC, FAST 2003): what went on probation and comes back
within the span would have stayed without one, and makes it shorter; all others make it longer.

Rules:
1. A policy gets the blobs that may go, lowest rank first, and never sees one that is held or
   pinned.
2. It returns enough victims, or none at all: throwing content away for a body that still does not
   fit would lose twice.
3. It keeps nothing: what it must know is `Standing`, which its caller keeps and hands in. The
   miss-ratio curve of `accounting` asks the same policy about its sampled objects.
4. Several uses within `ONE_USE_MS` are one: a job that asks twice is no second job.

Units: bytes; ranks and times Unix milliseconds.
Does not: touch disk or index.
Runs in: keeper. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

ONE_USE_MS = 5000  # 1 to 60 s make no difference in any trace; longer saves writes to the index
# Measured by `benchmarks.eviction`: 0.1 to 0.3 are alike; without probation 0.1 is nearly LRU,
# and 0.4 keeps what is dead.
HALF_LIFE = 0.2
PROBATION_START = 0.5
PROBATION_MAX = 0.95  # what is left is the window in which something may be used again
# By how much ghosts that make up the whole store move the probation. A site whose working set
# nearly fits loses by it within hours what others gain in days.
_SHORTEN = 16.0
_LENGTHEN = 1.0
_LENGTHEN_BY_LATE = 0.5  # on probation, but it would have gone without one too
_MOST_PER_GHOST = 0.05
_FAR = 50.0  # half-lives; beyond it one of two weights is nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the policy knows of a store. `floor_ms`: the highest rank that went; -1: none did."""

    floor_ms: int = -1
    probation: float = PROBATION_START


@dataclass(frozen=True, slots=True, kw_only=True)
class Ghost:
    """What is remembered of a victim."""

    rank_ms: int
    used_at_ms: int
    is_on_probation: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A blob that comes into the store. `store_part`: of what the store holds, by bytes."""

    now_ms: int
    store_part: float = 0.0
    ghost: Ghost | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The rank of an arrival, and what is known from then on."""

    rank_ms: int
    standing: Standing


class Candidate(Protocol):
    @property
    def digest(self) -> bytes: ...

    @property
    def freed_bytes(self) -> int: ...

    @property
    def rank_ms(self) -> int: ...


_C = TypeVar("_C", bound=Candidate)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobUse:
    """A stored blob as a candidate."""

    digest: bytes
    freed_bytes: int
    rank_ms: int
    used_at_ms: int = 0
    is_on_probation: bool = True


class EvictionPolicy(Protocol):
    def place(self, standing: Standing, arrival: Arrival) -> Placed: ...

    def rank_of_use(self, standing: Standing, rank_ms: int, now_ms: int) -> int:
        """Return the rank of a blob of `rank_ms` that is used at `now_ms`."""
        ...

    def choose_victims(self, coldest_first: Iterable[_C], needed_bytes: int) -> list[_C]: ...

    def after_eviction(self, standing: Standing, highest_rank_ms: int) -> Standing:
        """Return what is known when victims up to a rank have gone."""
        ...


class LeastRecentlyUsed:
    """The rank is the time of the last use: what others are measured against."""

    def place(self, standing: Standing, arrival: Arrival) -> Placed:
        return Placed(rank_ms=arrival.now_ms, standing=standing)

    def rank_of_use(self, standing: Standing, rank_ms: int, now_ms: int) -> int:
        return now_ms

    def choose_victims(self, coldest_first: Iterable[_C], needed_bytes: int) -> list[_C]:
        return coldest_until(coldest_first, needed_bytes)

    def after_eviction(self, standing: Standing, highest_rank_ms: int) -> Standing:
        return standing


class DecayingUses:
    """The policy in force; see the head of this file."""

    def place(self, standing: Standing, arrival: Arrival) -> Placed:
        now_ms, ghost = arrival.now_ms, arrival.ghost
        if standing.floor_ms < 0:  # the first blob of a store: time begins
            standing = replace(standing, floor_ms=max(0, now_ms - 1))
        if ghost is not None:
            standing = _taught(standing, ghost, arrival)
            rank_ms = self.rank_of_use(standing, ghost.rank_ms, now_ms)
        else:
            rank_ms = now_ms - int(standing.probation * _span_ms(standing, now_ms))
        return Placed(rank_ms=rank_ms, standing=standing)

    def rank_of_use(self, standing: Standing, rank_ms: int, now_ms: int) -> int:
        half_ms = HALF_LIFE * _span_ms(standing, now_ms)
        apart = abs(now_ms - rank_ms) / half_ms
        later_ms = max(now_ms, rank_ms)
        return later_ms if apart > _FAR else later_ms + round(half_ms * math.log2(1 + 2**-apart))

    def choose_victims(self, coldest_first: Iterable[_C], needed_bytes: int) -> list[_C]:
        return coldest_until(coldest_first, needed_bytes)

    def after_eviction(self, standing: Standing, highest_rank_ms: int) -> Standing:
        if highest_rank_ms <= standing.floor_ms:
            return standing
        return replace(standing, floor_ms=highest_rank_ms)


def latest_rank_ms(standing: Standing, now_ms: int) -> int:
    """Return the rank of a blob that was used as often as counts (rule 4) ever since. What ranks
    higher was used when the span was longer, or by a clock that was ahead."""
    half_ms = HALF_LIFE * _span_ms(standing, now_ms)
    weight = 1 / -math.expm1(-math.log(2) * ONE_USE_MS / half_ms)
    return now_ms + math.ceil(half_ms * math.log2(1 + weight))


def policy_in_force() -> EvictionPolicy:
    """Return the policy that every store of this version has, real or simulated."""
    return DecayingUses()


def coldest_until(coldest_first: Iterable[_C], needed_bytes: int) -> list[_C]:
    """Take from the front until it suffices; nothing when all of it does not."""
    victims: list[_C] = []
    freed = 0
    for blob in coldest_first:
        if freed >= needed_bytes:
            break
        victims.append(blob)
        freed += blob.freed_bytes
    return victims if freed >= needed_bytes else []


def _span_ms(standing: Standing, now_ms: int) -> int:
    return max(1, now_ms - standing.floor_ms)


def _taught(standing: Standing, ghost: Ghost, arrival: Arrival) -> Standing:
    if not ghost.is_on_probation:
        moves = _LENGTHEN
    elif arrival.now_ms - ghost.used_at_ms < _span_ms(standing, arrival.now_ms):
        moves = -_SHORTEN
    else:
        moves = _LENGTHEN_BY_LATE
    moved = standing.probation + moves * min(_MOST_PER_GHOST, arrival.store_part)
    return replace(standing, probation=min(PROBATION_MAX, max(0.0, moved)))

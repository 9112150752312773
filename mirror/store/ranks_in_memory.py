"""Ranks, ghosts and what the policy knows of a store that is only calculated: as `ranking` has
them in the index.

Rules:
1. The same policy, the same bound on ghosts; blobs are told by any bytes.
2. `state` is all of it, so that a calculation goes on after a restart as if nothing had been.

    state   floor, probation (8 bytes each); then for each ghost, the oldest first: rank (8), last
            use (8), probation (1), length of its name (1), name; little-endian

Units: bytes; Unix milliseconds.
Does not: hold the blobs.
Runs in: keeper. Pure.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar

from mirror.store.eviction import (
    Arrival,
    Candidate,
    EvictionPolicy,
    Ghost,
    Standing,
    policy_in_force,
)

GHOSTS_PER_BLOB: Final = 2
GHOSTS_MIN: Final = 64
_HEAD: Final = struct.Struct("<qd")
_GHOST: Final = struct.Struct("<qqBB")


class Victim(Candidate, Protocol):
    @property
    def used_at_ms(self) -> int: ...

    @property
    def is_on_probation(self) -> bool: ...


_V = TypeVar("_V", bound=Victim)


class RanksInMemory:
    """Of one calculated store."""

    __slots__ = ("_ghosts", "_policy", "_standing")

    def __init__(self, policy: EvictionPolicy) -> None:
        self._policy = policy
        self._standing = Standing()
        self._ghosts: OrderedDict[bytes, Ghost] = OrderedDict()  # the oldest first

    def __len__(self) -> int:
        """How many ghosts there are."""
        return len(self._ghosts)

    @property
    def standing(self) -> Standing:
        return self._standing

    def place(self, digest: bytes, store_part: float, now_ms: int) -> tuple[int, bool]:
        """Return the rank of a blob that arrives, and whether it is on probation."""
        ghost = self._ghosts.pop(digest, None)
        arrival = Arrival(now_ms=now_ms, store_part=store_part, ghost=ghost)
        placed = self._policy.place(self._standing, arrival)
        self._standing = placed.standing
        return placed.rank_ms, ghost is None

    def rank_of_use(self, rank_ms: int, now_ms: int) -> int:
        return self._policy.rank_of_use(self._standing, rank_ms, now_ms)

    def choose_victims(self, coldest_first: Iterable[_V], needed_bytes: int) -> list[_V]:
        return self._policy.choose_victims(coldest_first, needed_bytes)

    def gone(self, victims: Sequence[Victim], blobs_left: int) -> None:
        """Remember victims."""
        for victim in victims:
            self._ghosts[victim.digest] = Ghost(
                rank_ms=victim.rank_ms,
                used_at_ms=victim.used_at_ms,
                is_on_probation=victim.is_on_probation,
            )
        most = max(GHOSTS_MIN, GHOSTS_PER_BLOB * blobs_left)
        while len(self._ghosts) > most:
            self._ghosts.popitem(last=False)
        highest_ms = max((victim.rank_ms for victim in victims), default=-1)
        self._standing = self._policy.after_eviction(self._standing, highest_ms)

    def state(self) -> bytes:
        parts = [_HEAD.pack(self._standing.floor_ms, self._standing.probation)]
        for digest, ghost in self._ghosts.items():
            flag = int(ghost.is_on_probation)
            parts += [_GHOST.pack(ghost.rank_ms, ghost.used_at_ms, flag, len(digest)), digest]
        return b"".join(parts)

    def restore(self, state: bytes) -> None:
        """Go on with a `state`; b"" is none. Raises ValueError for one that is damaged."""
        if not state:
            return
        try:
            floor_ms, probation = _HEAD.unpack_from(state)
            at, ghosts = _HEAD.size, OrderedDict[bytes, Ghost]()
            while at < len(state):
                rank_ms, used_at_ms, flag, length = _GHOST.unpack_from(state, at)
                at += _GHOST.size
                digest, at = state[at : at + length], at + length
                ghosts[digest] = Ghost(
                    rank_ms=rank_ms, used_at_ms=used_at_ms, is_on_probation=bool(flag)
                )
        except struct.error as exc:
            raise ValueError(f"the ghosts of a calculated store cannot be read: {exc}") from exc
        if at != len(state):
            raise ValueError("the ghosts of a calculated store cannot be read: cut short")
        self._standing = Standing(floor_ms=floor_ms, probation=probation)
        self._ghosts = ghosts


def ranks_in_force() -> RanksInMemory:
    """Return ranks as every store of this version gives them."""
    return RanksInMemory(policy_in_force())

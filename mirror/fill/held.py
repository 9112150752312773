"""What upstream offers and this mirror does not take over, and what an operator let through.

Rules:
1. A held release is told once as an event, with the line for `[trust] accept` that lets it through,
   and is shown by `status` until upstream offers it no more or it is accepted.
2. An acceptance that is used is told as an event, once.
3. Bounded: beyond `HELD_MAX` the oldest leaves the list (its event has been told).

Units: Unix seconds.
Runs in: keeper.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mirror.acceptances import Acceptance, parse_acceptance
from mirror.clock import Clock
from mirror.events import EventLog

HELD_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """`key` is the object whose change is held; `accept` the line that would let it through."""

    key: str
    reason: str
    accept: str
    since: float


class HeldReleases:
    """The list of this keeper; it begins empty, and fills as upstream is asked again."""

    def __init__(self, accept: Iterable[str], *, clock: Clock, log: EventLog) -> None:
        self._accepted = frozenset(parse_acceptance(text) for text in accept)
        self._used: set[Acceptance] = set()
        self._held: OrderedDict[str, Held] = OrderedDict()  # by the accepting line
        self._clock = clock
        self._log = log

    def __iter__(self) -> Iterator[Held]:
        return iter(tuple(self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        return f"<HeldReleases {len(self)} held, {len(self._accepted)} accepted>"

    def is_accepted(self, release: Acceptance) -> bool:
        """Whether an operator let exactly this through; tells so, once."""
        if release not in self._accepted:
            return False
        if release not in self._used:
            self._used.add(release)
            self._log.warning("release-accepted", accept=str(release))
        self._held.pop(str(release), None)
        return True

    def hold(
        self, key: str, reason: str, release: Acceptance, *, event: str, **fields: str
    ) -> None:
        """Note that `release` is not taken over; the event is told, with `fields`, when it is held
        first."""
        line = str(release)
        if line in self._held:
            return
        self._held[line] = Held(key=key, reason=reason, accept=line, since=self._clock.now())
        while len(self._held) > HELD_MAX:
            self._held.popitem(last=False)
        self._log.error(
            event,
            key=key,
            reason=reason,
            hint=f"nothing to do unless it is right: then add {line!r} to [trust] accept",
            **fields,
        )

    def clear(self, key: str) -> None:
        """Upstream offers nothing wrong under `key` any more."""
        for line in [line for line, held in self._held.items() if held.key == key]:
            del self._held[line]
            self._log.info("no-longer-held", key=key, accept=line)

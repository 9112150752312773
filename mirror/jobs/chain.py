"""The chain of trust of one stored object: steps, each checked again, from its bytes to a root.

Rules:
1. A step tells in plain words what was compared, with the values.
2. A step is about one stored object, which may be another one than the chain's: a damaged voucher
   is wrong itself, and what it vouched for is not wrong by that.

Runs in: commands and keeper (jobs). Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mirror.store.entry import Entry


class Grade(enum.IntEnum):
    """What a step came to; the worst one is the chain's."""

    NOTE = 0  # says something, proves nothing
    GOOD = 1
    LOST = 2  # what vouched is no longer stored: the mirror's own record is all there is
    WEAK = 3  # nobody signs it, or nobody vouches
    WRONG = 4


# Why a chain is not GOOD, in words that a table can count.
NOBODY: Final = "nobody vouches for it"
DIGEST_ONLY: Final = "by digest only, not signed"
LEGACY: Final = "legacy release, by digest only"
WEAK_HASH: Final = "signed with SHA-1"
GONE: Final = "its voucher is no longer stored"
DAMAGED: Final = "its voucher is damaged"

_END_AT: Final = 253_402_300_800.0  # the year 10000, which no calendar of Python's has


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`about` is the key of the object that a WRONG step condemns; `why` one of the words above."""

    grade: Grade
    about: str
    text: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The steps for one entry, its own bytes first."""

    entry: Entry
    steps: tuple[Step, ...]

    @property
    def grade(self) -> Grade:
        """The worst of all steps, whatever object they are about."""
        return max((step.grade for step in self.steps), default=Grade.WRONG)

    @property
    def own(self) -> tuple[Grade, str]:
        """The grade of this object itself, and why; damage of another one loses a voucher."""
        worst = max(
            (self._as_own(step) for step in self.steps),
            key=lambda found: found[0],
            default=(Grade.WRONG, ""),
        )
        return worst if worst[0] is not Grade.NOTE else (Grade.GOOD, "")

    def _as_own(self, step: Step) -> tuple[Grade, str]:
        if step.grade is Grade.WRONG and step.about != self.entry.key:
            return Grade.LOST, DAMAGED
        return step.grade, step.why

    @property
    def is_sound(self) -> bool:
        """Whether there is content, and no step of its chain is wrong."""
        return Grade.NOTE < self.grade < Grade.WRONG


def own_fault(chain: Chain) -> Step | None:
    """Return the first step that condemns the chain's own object."""
    return next(
        (s for s in chain.steps if s.grade is Grade.WRONG and s.about == chain.entry.key), None
    )


def good(about: str, text: str) -> Step:
    return Step(grade=Grade.GOOD, about=about, text=text)


def note(about: str, text: str) -> Step:
    return Step(grade=Grade.NOTE, about=about, text=text)


def weak(about: str, text: str, why: str) -> Step:
    return Step(grade=Grade.WEAK, about=about, text=text, why=why)


def lost(about: str, text: str, why: str = GONE) -> Step:
    return Step(grade=Grade.LOST, about=about, text=text, why=why)


def wrong(about: str, text: str) -> Step:
    return Step(grade=Grade.WRONG, about=about, text=text)


def moment(at: float) -> str:
    """Return a time for people."""
    if not 0 < at < _END_AT:
        return "a time that was not noted"
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def upstream_words(urls: Sequence[str]) -> str:
    """Return where a pool's objects come from, and how far that connection is to be trusted."""
    named = " or ".join(urls)
    schemes = {url.partition(":")[0] for url in urls}
    if schemes == {"https"}:
        return f"{named} over TLS"
    if schemes == {"http"}:
        return f"{named} without TLS: whoever is on the way could have changed it"
    if "http" in schemes:
        return f"{named}, in part without TLS: whoever is on the way could have changed it"
    return named

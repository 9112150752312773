"""Whether what is stored was judged by the very rules that are in force, so that a start need not
go through all of it.

Rules:
1. The mark names the version and everything in [trust] that decides what may be stored. It is noted
   in the index (what that names was judged) and in the state database (what records name was: they
   outlive a lost index), after the judging.
2. While it differs there, every record is read before anything is judged: a key that came back
   later would not be. If they cannot be read, what is there is judged and nothing is noted.

Does not: judge (`reproving`, `signatures`).
Runs in: keeper.
"""

from __future__ import annotations

from mirror import __version__
from mirror.config import Trust
from mirror.errors import MirrorError
from mirror.fill.parts import FillParts

_FACT = "trust-mark"


class TrustMark:
    """The mark of one store and its state database."""

    def __init__(self, parts: FillParts) -> None:
        self._parts = parts
        self._mark = mark_of(parts.config.trust)
        self.is_whole = True  # what was to be judged could be read

    async def prepare(self) -> bool:
        """Read what must be judged; whether anything need be. Never raises, but for cancelling."""
        desk = self._parts.desk
        try:
            if await desk.compute(self._parts.trust.fact, _FACT) != self._mark:
                await desk.recover_all()
                return True
            return desk.trust_mark() != self._mark
        except MirrorError as exc:
            self._parts.log.error("not-reproved", reason=str(exc))
            self.is_whole = False
            return True

    async def note(self) -> None:
        """Everything that is stored was judged; of what could not be read this notes nothing."""
        if not self.is_whole:
            return
        try:
            await self._parts.desk.note_trust_mark(self._mark)
            await self._parts.desk.compute(self._parts.trust.set_fact, _FACT, self._mark)
        except MirrorError as exc:
            self._parts.log.error("not-reproved", reason=str(exc))


def mark_of(trust: Trust) -> str:
    """Return the rules of `trust` as one line."""
    pins = sorted(pin.upper() for pin in trust.release_key_fingerprints)
    return " ".join(
        (
            __version__,
            trust.channel_manifest,
            trust.archive,
            trust.legacy_before_date,
            trust.legacy_before_version,
            *pins,
        )
    )

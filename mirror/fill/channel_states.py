"""How new each channel is here: the rollback guard, the freeze guard, and what is legacy.

Rules:
1. The newest date of a channel is durable before the generation that has it is answered, so that
   neither a restart nor the loss of the index lets an older one through.
2. An older one is held, and so is one from after tomorrow; an acceptance lets exactly its date
   through and leaves the newest date as it is: what lies between the two needs its own.
3. While signatures are wanted only a signed date counts. That of a legacy release without one is
   anybody's word, and would hold back the true manifest for ever.
4. A frozen channel is told once per newest date, when a refresh finds it so.
5. A legacy release is told once while this process runs, and listed while it is stored.

Units: Unix seconds; dates are "YYYY-MM-DD", "" is none.
Runs in: keeper.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from mirror.acceptances import AcceptedChannel
from mirror.fill.channel_files import AheadError, ChannelFiles, GenerationError, RollbackError
from mirror.fill.parts import FillParts
from mirror.store.entry import DIGEST_GENERATION, SIGNED_GENERATION
from mirror.verify.generations import HEADS, age_of, is_ahead, is_rollback

LEGACY_MAX = 4096  # keys listed; about as many dated manifests were published before 2019
_MANIFEST = "releases:/dist/channel-rust-{}.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelState:
    """`date` is the newest that was ever served here; `proof` and `confirmed_at` are those of what
    is stored ("" and 0: nothing)."""

    name: str
    date: str
    age_s: float
    is_frozen: bool
    proof: str
    confirmed_at: float


class ChannelStates:
    """The newest dates, guarded."""

    def __init__(self, parts: FillParts) -> None:
        trust = parts.config.trust
        self._parts = parts
        self._counts_unsigned = trust.channel_manifest != "signature"
        self._frozen_after = {
            "stable": trust.stable_frozen_after,
            "beta": trust.beta_frozen_after,
            "nightly": trust.nightly_frozen_after,
        }
        self._newest: dict[str, str] = {}  # of the three heads
        self._told: set[tuple[str, str]] = set()
        self._legacy: OrderedDict[str, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<ChannelStates {self._newest}>"

    async def load(self) -> None:
        for name in HEADS:
            await self.newest(name)

    async def newest(self, name: str) -> str:
        date: str = await self._parts.desk.compute(self._parts.trust.newest_date, name)
        self._remember(name, date)
        return date

    async def admit(self, files: ChannelFiles, date: str, proof: str) -> None:
        """Note that `files` have this date, before they are answered.

        Raises: RollbackError when they had a newer one; AheadError for a day that has not come;
        StoreError when it cannot be noted.
        """
        if files.is_dated or not date:
            return
        newest = await self.newest(files.name)
        if is_rollback(date, newest):
            reason = (
                f"upstream offers the manifest of {date}; the newest served here is of {newest}"
            )
            self._hold(files, date, RollbackError(files.manifest.key, reason, date=date))
        elif date == newest:
            return
        elif is_ahead(date, self._parts.clock.now()):
            reason = f"upstream offers the manifest of {date}, a day far ahead of the clock here"
            self._hold(files, date, AheadError(files.manifest.key, reason))
        else:
            await self._note(files.name, date, proof)

    def admit_again(self, files: ChannelFiles, date: str, signed_at: int, before_at: int) -> None:
        """A day may be published twice; the first one is not taken after the second.

        `before_at` is when the one that is here was signed. Raises: RollbackError.
        """
        if signed_at < before_at:
            reason = f"upstream offers a manifest of {date} that was signed before the one here"
            self._hold(files, date, RollbackError(files.manifest.key, reason, date=date))

    async def seed(self, files: ChannelFiles, date: str, proof: str) -> None:
        """Note the date of what is stored where none is known: the state database may be lost."""
        if files.is_dated or not date or is_ahead(date, self._parts.clock.now()):
            return
        if not await self.newest(files.name):
            await self._note(files.name, date, proof)

    def settled(self, files: ChannelFiles) -> None:
        """What upstream has of the channel has been taken over or confirmed."""
        self._parts.held.clear(files.manifest.key)

    def look(self, files: ChannelFiles) -> None:
        """Tell that the channel is frozen, if it is."""
        state = self._state(files.name) if not files.is_dated and files.name in HEADS else None
        if state is None or not state.is_frozen or (state.name, state.date) in self._told:
            return
        self._told.add((state.name, state.date))
        self._parts.log.warning(
            "channel-frozen",
            key=files.manifest.key,
            channel=state.name,
            date=state.date,
            age_s=round(state.age_s),
            hint="upstream shows no newer release: compare with what others see of it",
        )

    def heads(self) -> list[ChannelState]:
        """Return those that are known here, in the order stable, beta, nightly."""
        return [state for name in HEADS if (state := self._state(name)) is not None]

    def note_legacy(self, key: str) -> None:
        if key in self._legacy:
            return
        self._legacy[key] = None
        if len(self._legacy) > LEGACY_MAX:
            self._legacy.popitem(last=False)
        self._parts.log.info(
            "channel-legacy", key=key, reason="no signature that proves anything: its .sha256 only"
        )

    def legacy(self) -> list[str]:
        """Return the keys of stored manifests that only their `.sha256` vouches for."""
        lookup = self._parts.desk.lookup
        return sorted(
            key
            for key in self._legacy
            if (stored := lookup(key)) and stored.entry.proof == DIGEST_GENERATION
        )

    async def _note(self, name: str, date: str, proof: str) -> None:
        if proof == SIGNED_GENERATION or self._counts_unsigned:
            await self._parts.desk.compute(self._parts.trust.note_channel, name, date)
            self._remember(name, date)

    def _remember(self, name: str, date: str) -> None:
        if name in self._frozen_after:
            self._newest[name] = date

    def _state(self, name: str) -> ChannelState | None:
        date = self._newest.get(name, "")
        if not date:
            return None
        stored = self._parts.desk.lookup(_MANIFEST.format(name))
        is_here = stored is not None and stored.entry.status == 200
        age_s = age_of(date, self._parts.clock.now())
        return ChannelState(
            name=name,
            date=date,
            age_s=age_s,
            is_frozen=age_s > self._frozen_after[name],
            proof=stored.entry.proof if stored is not None and is_here else "",
            confirmed_at=stored.entry.confirmed_at if stored is not None and is_here else 0.0,
        )

    def _hold(self, files: ChannelFiles, date: str, error: GenerationError) -> None:
        release = AcceptedChannel(name=files.name, date=date)
        if self._parts.held.is_accepted(release):
            return
        event = "channel-ahead" if isinstance(error, AheadError) else "channel-rollback"
        self._parts.held.hold(files.manifest.key, error.reason, release, event=event)
        raise error

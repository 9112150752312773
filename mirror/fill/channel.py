"""A channel's manifest, its `.sha256` and its `.asc`: fetched, verified and switched as one.

1. Ask for the `.sha256`, conditionally when a whole generation is stored.
2. Unchanged: the generation is confirmed with this one request.
3. Else fetch manifest and signature; the digest must be the stated one (`channel_fetch`).
4. Prove them (`generation`): signature, name, date.
5. Note the date durably; an older one than before is held (`channel_states`).
6. Store all three in one transaction with the generation before and the copy under the date,
   answer, then read what the manifest vouches for.

What upstream has may disagree with itself (uploads are not atomic; a cache on the way is behind) or
be an attack; from here the two look the same. Then:
a. The last good generation serves as stale, at once.
b. The dated directory that the manifest names, or that of the newest date, is tried: there the
   three belong together.
c. Start over, with pauses: a few times when clients have been answered, else for at most
   `upstream.hold`; then 503.

Rules:
1. No answer mixes two generations, and no commit leaves a mixture: that there is no signature is
   stored with the files that have none.
2. The manifest is parsed after the client has its answer, in a thread (0.4 s per megabyte), one at
   a time; beyond `READINGS_MAX` it is left to whoever asks for an archive of it (`manifests`).
3. What is stored with less proof than is asked for is as good as not stored.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mirror.errors import StoreError, UpstreamError, VerificationError
from mirror.fill.channel_fetch import fetch_dated, fetch_rest, stated_date
from mirror.fill.channel_files import (
    Arrived,
    ChannelFiles,
    GenerationError,
    RefusedError,
    SkewError,
    TornError,
    dated_files,
)
from mirror.fill.channel_states import ChannelStates
from mirror.fill.entries import NO_HEAD, Head
from mirror.fill.flights import Flight
from mirror.fill.generation import (
    Proved,
    Prover,
    dated_copy,
    former_of,
    no_signature,
    switch_to,
)
from mirror.fill.manifests import read_manifest
from mirror.fill.messages import StoredAnswer
from mirror.fill.outcomes import Outcomes, absence
from mirror.fill.parts import FillParts
from mirror.fill.release_key import ReleaseKeys
from mirror.fill.replies import FILLED, REFILLED, Reply, stale
from mirror.fill.reproving import Reprover
from mirror.fill.small_fetch import Absent, Fetched, fetch_small
from mirror.route.route import Tempo
from mirror.store.entry import SIGNED_GENERATION, Entry, Stored
from mirror.verify.generations import HEADS
from mirror.verify.openpgp import read_signature

PARSE_WAIT_S = 2.0  # five times what the largest manifest takes; then the `.sha256` has to do
# Manifests that wait in memory to be read. Reading is slower than fetching: a client that goes
# through all dates would fill the memory, and the threads that write bodies.
READINGS_MAX = 4
# With the last good generation answered nobody waits: some six seconds, then the next refresh.
PASSES_WITH_COPY = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refresh:
    """One flight: `asked` is the key that somebody waits for; `current` what may serve as stale."""

    flight: Flight
    files: ChannelFiles
    asked: str
    current: dict[str, Stored | None]
    whole: Mapping[str, Stored] | None  # with a remembered absent signature

    @property
    def has_copy(self) -> bool:
        return all(self.current[route.key] for route in (self.files.manifest, self.files.digest))


class Channels:
    """The procedure of a flight for one generation, and the reading of manifests behind it."""

    def __init__(self, parts: FillParts, keys: ReleaseKeys) -> None:
        self._parts = parts
        self._prover = Prover(parts, keys)
        self.states = ChannelStates(parts)
        self._reprover = Reprover(parts, self._prover, keys, self.states)
        self._outcomes = Outcomes(parts)
        self._parsing: set[asyncio.Task[None]] = set()
        self._reading = asyncio.Lock()

    async def fill(self, flight: Flight, files: ChannelFiles, asked: str) -> None:
        """Bring the generation up to date; `asked` is the key that somebody waits for."""
        refresh = self._begin(flight, files, asked)
        deadline = self._parts.clock.monotonic() + self._parts.config.upstream.hold
        failures = 0
        while True:
            try:
                await self._refresh(refresh)
                break
            except GenerationError as exc:
                failures += 1
                self._disagrees(refresh, exc, is_first=failures == 1)
                if await self._recover(refresh, exc):
                    break
                is_late = self._parts.clock.monotonic() >= deadline
                if is_late or (refresh.has_copy and failures >= PASSES_WITH_COPY):
                    self._outcomes.trouble(flight, refresh.current, exc)
                    break
            except (UpstreamError, VerificationError, StoreError) as exc:
                self._outcomes.trouble(flight, refresh.current, exc)
                break
            await self._parts.pause(failures)
        self.states.look(files)

    async def reprove(self, *, is_whole: bool) -> None:
        """Prove again what was stored with less proof than is asked for, or withdraw it."""
        await self._reprover.run(is_whole=is_whole)

    async def manifests_parsed(self) -> None:
        """Wait until manifests that have just been answered are read, within reason."""
        if self._parsing:
            await asyncio.wait(self._parsing, timeout=PARSE_WAIT_S)

    async def aclose(self) -> None:
        if self._parsing:
            await asyncio.wait(self._parsing)

    def _begin(self, flight: Flight, files: ChannelFiles, asked: str) -> _Refresh:
        desk = self._parts.desk
        stored = {key: desk.current(key) for key in files.keys}
        if not all(self._prover.is_enough(files, found) for found in stored.values()):
            stored = dict.fromkeys(files.keys)
        found = dict(stored)
        if found[files.signature.key] is None:
            signature = desk.lookup(files.signature.key)
            if signature is not None and signature.entry.status == 404:
                found[files.signature.key] = signature
        whole = {key: value for key, value in found.items() if value is not None}
        return _Refresh(
            flight=flight,
            files=files,
            asked=asked,
            current=stored,
            whole=whole if len(whole) == len(found) else None,
        )

    def _disagrees(self, refresh: _Refresh, error: GenerationError, *, is_first: bool) -> None:
        """Tell it, once per flight; answer with the last good generation, if it is here."""
        flight = refresh.flight
        flight.holds.close()  # what came is of no use
        if error.event and is_first:
            digests: dict[str, object] = {}
            if isinstance(error, SkewError):
                digests = {"expected": error.stated, "got": error.got}
            self._parts.log.warning(error.event, key=flight.key, reason=error.reason, **digests)
        if refresh.has_copy and self._parts.stand_in(refresh.current[refresh.files.digest.key]):
            now = self._parts.clock.now()
            replies: dict[str, Reply] = {}
            for route in refresh.files.routes:
                stored = refresh.current[route.key]
                entry = self._parts.entries.absent(route, now)
                replies[route.key] = absence(entry) if stored is None else stale(stored, 0)
            flight.answer(replies)

    async def _refresh(self, refresh: _Refresh) -> None:
        """One pass over the steps. Raises GenerationError, UpstreamError and others."""
        files, whole = refresh.files, refresh.whole
        known = None if whole is None else whole[files.digest.key].entry
        result = await fetch_small(self._parts, refresh.flight, files.digest, known)
        if isinstance(result, Absent):
            await self._no_digest(refresh)
            return
        if isinstance(result, Fetched) and (known is None or known.digest != result.digest):
            arrived = await fetch_rest(self._parts, refresh.flight, files, result)
            proved = await self._prover.prove(files, arrived, date=files.date)
            await self._take(refresh, proved)
        elif whole is not None:
            await self._confirm(refresh, whole, result.head)

    async def _no_digest(self, refresh: _Refresh) -> None:
        """No `.sha256`: no such channel, unless upstream has its manifest."""
        files = refresh.files
        if not files.is_dated:  # clients look for hundreds of dates that were never published
            manifest = await fetch_small(self._parts, refresh.flight, files.manifest, None)
            if isinstance(manifest, Fetched):
                date = stated_date(manifest.content)
                raise TornError(files.digest.key, "the .sha256 is not there", date=date)
            if self._is_lasting(refresh):
                raise TornError(files.manifest.key, "upstream says that there is no such channel")
        await self._absent(refresh.flight, files)

    def _is_lasting(self, refresh: _Refresh) -> bool:
        """A signed head that is here: upstream never ends one, so it is kept as in any trouble."""
        before = refresh.current[refresh.files.manifest.key]
        is_signed = before is not None and before.entry.proof == SIGNED_GENERATION
        return is_signed and self._prover.needs_signature and refresh.files.name in HEADS

    async def _take(self, refresh: _Refresh, proved: Proved) -> None:
        """Steps 5 and 6. Raises RollbackError, StoreError."""
        files, whole = refresh.files, refresh.whole
        await self._admit(refresh, proved)
        now = self._parts.clock.now()
        outcome = FILLED
        if whole is not None:
            outcome = REFILLED
        switch = switch_to(self._parts.entries, files, proved, now=now, outcome=outcome)
        # Stored before it is answered, unlike other small objects. Otherwise: (1) one worker gives
        # the next generation, (2) another, whose clock is a tick behind, gives the former to the
        # same client, or the keeper dies before the commit and everybody gets it. A full disk is
        # no reason to withhold the answer: `keep` tells it and returns.
        kept = self._kept(refresh, proved, [entry for entry, _ in switch.puts])
        await self._parts.keep(switch.puts, [*switch.absences, *kept])
        refresh.flight.answer(switch.replies)
        if not proved.is_recovered:
            self.states.settled(files)
        if self._prover.needs_signature and proved.proof != SIGNED_GENERATION:
            self.states.note_legacy(files.manifest.key)
        self._read_soon(switch.puts[0])

    async def _admit(self, refresh: _Refresh, proved: Proved) -> None:
        """Raises GenerationError for what is a step back, or less than what is here."""
        files = refresh.files
        before = refresh.current[files.manifest.key]
        if before is not None:
            was_signed = before.entry.proof == SIGNED_GENERATION and self._prover.needs_signature
            if was_signed and proved.proof != SIGNED_GENERATION:
                raise RefusedError(files.signature.key, "it was signed, and is no more")
            date = await self._stored_date(refresh)
            await self.states.seed(files, date, before.entry.proof)
            is_other = before.entry.digest != proved.arrived.manifest.digest
            if was_signed and is_other and proved.date == date:
                before_at = await self._signed_at(refresh)
                self.states.admit_again(files, date, proved.signed_at, before_at)
        await self.states.admit(files, proved.date, proved.proof)

    async def _signed_at(self, refresh: _Refresh) -> int:
        """When the stored generation was signed; 0: nobody knows."""
        key = refresh.files.signature.key
        stored = refresh.current[key]
        content = None if stored is None else await self._parts.desk.read_small(stored)
        return 0 if content is None else read_signature(content, key).created_at

    def _kept(self, refresh: _Refresh, proved: Proved, entries: list[Entry]) -> list[Entry]:
        """What is recorded beside a generation: the one before it, and its copy under the date."""
        files, whole = refresh.files, refresh.whole
        kept: list[Entry] = []
        if whole is not None and not files.is_dated:
            before = whole[files.manifest.key].entry.digest
            if before != proved.arrived.manifest.digest:
                kept += former_of(whole[key] for key in files.keys)
        copy = dated_copy(files, proved, entries)
        found = self._parts.desk.lookup(copy[0].key) if copy else None
        if found is None or found.entry.status != 200:
            return kept + copy
        if found.entry.digest != copy[0].digest:
            self._parts.log.warning(
                "dated-differs", key=copy[0].key, reason="what stands under a date is kept"
            )
        elif found.entry.proof != SIGNED_GENERATION:
            kept += copy
        return kept

    async def _recover(self, refresh: _Refresh, error: GenerationError) -> bool:
        """Take the whole generation from its dated directory; False: there is none to take."""
        files = refresh.files
        try:
            for date in await self._dates(refresh, error):
                dated = dated_files(files, date)
                if dated is not None and await self._take_dated(refresh, dated):
                    return True
        except StoreError as exc:
            self._parts.log.warning(
                "channel-not-recovered", key=files.manifest.key, reason=str(exc)
            )
        return False

    async def _take_dated(self, refresh: _Refresh, dated: ChannelFiles) -> bool:
        flight, files = refresh.flight, refresh.files
        try:
            arrived = await fetch_dated(self._parts, flight, dated)
            if arrived is None:
                return False
            proved = await self._prover.prove(files, arrived, date=dated.date)
            await self._take(refresh, replace(proved, is_recovered=True))
        except (UpstreamError, VerificationError) as exc:
            flight.holds.close()
            self._parts.log.info("channel-not-recovered", key=dated.manifest.key, reason=str(exc))
            return False
        self._parts.log.info("channel-recovered", key=files.manifest.key, date=dated.date)
        return True

    async def _dates(self, refresh: _Refresh, error: GenerationError) -> list[str]:
        """The directories worth a look: those of a newer generation than the one that is here."""
        files = refresh.files
        if files.is_dated:
            return []
        newest = await self.states.newest(files.name)
        held = await self._stored_date(refresh) if refresh.has_copy else ""
        dates = {date for date in (error.date, newest) if date and date >= newest}
        return sorted((date for date in dates if date > held), reverse=True)

    async def _stored_date(self, refresh: _Refresh) -> str:
        stored = refresh.current[refresh.files.manifest.key]
        content = None if stored is None else await self._parts.desk.read_small(stored)
        return "" if content is None else stated_date(content)

    async def _confirm(self, refresh: _Refresh, whole: Mapping[str, Stored], head: Head) -> None:
        """Upstream vouches for what is stored. Raises RollbackError when newer was served since."""
        files = refresh.files
        proof = whole[files.manifest.key].entry.proof
        await self.states.admit(files, await self._stored_date(refresh), proof)
        if await self._take_late_signature(refresh, whole):
            return
        self.states.settled(files)
        now = self._parts.clock.now()
        replies: dict[str, Reply] = {}
        entries: list[Entry] = []
        for route in files.routes:
            stored = whole[route.key]
            if stored.entry.status == 404:
                entry = no_signature(self._parts.entries, route, now, stored.entry.voucher)
            else:
                said = head if route is files.digest else NO_HEAD
                entry = self._parts.entries.confirmed(stored.entry, route, now, said)
            again = Stored(entry=entry, attestation=stored.attestation)
            replies[route.key] = StoredAnswer(stored=again, outcome="fwd=stale; fwd-status=304")
            entries.append(entry)
        refresh.flight.answer(replies)
        await self._parts.remember(entries)

    async def _take_late_signature(self, refresh: _Refresh, whole: Mapping[str, Stored]) -> bool:
        """A dated manifest never changes, so a signature that came later belongs to it."""
        files, route = refresh.files, refresh.files.signature
        is_missing = whole[route.key].entry.status == 404
        if refresh.asked != route.key or not is_missing or route.tempo is not Tempo.FOREVER:
            return False
        signature = await fetch_small(self._parts, refresh.flight, route, None)
        manifest = await self._fetched(whole[files.manifest.key])
        digest = await self._fetched(whole[files.digest.key])
        if not isinstance(signature, Fetched) or manifest is None or digest is None:
            return False
        arrived = Arrived(manifest=manifest, digest=digest, signature=signature)
        await self._take(refresh, await self._prover.prove(files, arrived, date=files.date))
        return True

    async def _fetched(self, stored: Stored) -> Fetched | None:
        """What is stored, as it came."""
        content = await self._parts.desk.read_small(stored)
        entry = stored.entry
        head = Head(etag=entry.upstream_etag, last_modified=entry.upstream_last_modified, length=-1)
        if content is None:
            return None
        return Fetched(head=head, content=content, digest=entry.digest)

    async def _absent(self, flight: Flight, files: ChannelFiles) -> None:
        """Upstream has no such channel: withdraw what is stored of it, remember the absence."""
        desk = self._parts.desk
        stored = [desk.lookup(key) for key in files.keys]
        gone = [found.entry.key for found in stored if found and found.entry.status == 200]
        if gone:
            await desk.withdraw(gone)
            self._parts.log.info("withdrawn", keys=gone, reason="upstream no longer has it")
        self.states.settled(files)
        now = self._parts.clock.now()
        entries = [self._parts.entries.absent(route, now) for route in files.routes]
        flight.answer({entry.key: absence(entry) for entry in entries})
        await self._parts.remember(entries)

    def _read_soon(self, manifest: tuple[Entry, bytes]) -> None:
        if len(self._parsing) >= READINGS_MAX:
            return
        task = asyncio.create_task(self._read(*manifest), name=f"read {manifest[0].key}")
        self._parsing.add(task)
        task.add_done_callback(self._parsing.discard)

    async def _read(self, entry: Entry, content: bytes) -> None:
        """Note the digests that the manifest states; without them the `.sha256` files vouch."""
        try:
            async with self._reading:
                await read_manifest(self._parts, entry, content)
        except Exception as exc:  # noqa: BLE001 - the edge of a background step
            self._parts.log.warning("manifest-not-read", key=entry.key, reason=str(exc))

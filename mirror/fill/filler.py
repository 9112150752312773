"""Answer what workers ask: from the store when somebody has just filled it, else by a flight.

Rules:
1. A key is matched again by the grammar; what a worker sends is never trusted as a path.
2. One flight per key, or per channel generation, for the whole machine; those who come while it
   runs share its answer and are told so (`collapsed`); to those who come when its content is
   verified and only its commit is missing, it is a hit.
3. A client's claimed digest is compared before anything is fetched, and never makes another key.
4. With a stored copy nobody waits for upstream longer than `STALE_PATIENCE_S`.
5. Between looking for a flight and launching one nothing is awaited.
6. What is stored but not attested (a lost index, a touched file) is hashed before upstream is
   asked: the bytes may all be here while upstream is away.
7. A client's wish for something younger than what is stored (`Ask.since`) is heard once in
   `[freshness] client_floor` per key, and never for what never changes.

Does not: speak the protocol (`fill.server`) or decide whether a worker must ask (`fill.plan`).
Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

from mirror.clock import Clock
from mirror.config import Config
from mirror.errors import MirrorError, StoreError
from mirror.events import EventLog
from mirror.fill.agreement import Agreements, Subject, Take, verified_subject
from mirror.fill.background import BackgroundChecks
from mirror.fill.blobs import Blobs
from mirror.fill.channel import Channels
from mirror.fill.channel_states import ChannelState
from mirror.fill.crates import CrateBook
from mirror.fill.dates import DatedManifests
from mirror.fill.desk import StoreDesk
from mirror.fill.entries import EntryMaker
from mirror.fill.expected import ExpectedDigests
from mirror.fill.flights import Flight, Flights, FlightTally
from mirror.fill.gates import gate_of
from mirror.fill.held import Held as HeldRelease
from mirror.fill.held import HeldReleases
from mirror.fill.manifests import StoredManifests
from mirror.fill.memory import MemoryBudget
from mirror.fill.messages import Ask, Failed, Purpose, StoredAnswer
from mirror.fill.objects import ANY_TIME, Confirmed
from mirror.fill.outcomes import absence
from mirror.fill.parts import FillParts
from mirror.fill.ports import BlobReader, FillerStore, TrustState, UpstreamPool
from mirror.fill.procedures import Job, Procedures
from mirror.fill.proof_files import ProofFiles
from mirror.fill.recovering import StoreRecovery
from mirror.fill.release_key import ReleaseKeys
from mirror.fill.replies import (
    RETRY_AFTER_S,
    Growing,
    Inline,
    PassThrough,
    Reply,
    collapsed,
    digest_of,
    error_of,
    failed,
    from_memory,
    held_off,
    stale,
)
from mirror.fill.seen import Seen, see_intact
from mirror.fill.signatures import Signatures
from mirror.fill.small import SmallObjects
from mirror.fill.trust_mark import TrustMark
from mirror.fill.variants import VariantMaker
from mirror.http.freshness import believed, is_fresh
from mirror.route.match import route_of_key
from mirror.route.route import Kind, Route, Tempo, UpstreamName
from mirror.store.entry import Stored

STALE_PATIENCE_S = 5.0  # then the stored copy is the better answer; the flight goes on

Sleep = Callable[[float], Awaitable[None]]


class Filler:
    """The one filler of this machine. Make it inside the running loop; `aclose` it."""

    def __init__(
        self,
        store: FillerStore,
        pools: Mapping[UpstreamName, UpstreamPool],
        config: Config,
        clock: Clock,
        log: EventLog,
        *,
        reader: BlobReader,
        trust: TrustState,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        stale_patience_s: float = STALE_PATIENCE_S,
        tally: FlightTally | None = None,
    ) -> None:
        self._clock, self._log, self._config = clock, log, config
        self._stale_patience_s = stale_patience_s
        # Else nobody is sent a part before the whole is verified, and the order is the fastest.
        self._heeds_ranges = config.trust.unverified_ranges == "stream"
        self._desk = StoreDesk(store, reader, store.trouble)
        self._recovery = StoreRecovery(store)
        self._flights = Flights(clock=clock, log=log, tally=tally)
        self._parts = parts = FillParts(
            desk=self._desk,
            pools=pools,
            config=config,
            clock=clock,
            log=log,
            gates={name: gate_of(name, config, tally) for name in UpstreamName},
            flights=self._flights,
            entries=EntryMaker(freshness=config.freshness),
            memory=MemoryBudget(),
            trust=trust,
            held=HeldReleases(config.trust.accept, clock=clock, log=log),
            sleep=sleep,
            jitter=jitter,
        )
        self._crates = CrateBook(parts)
        self._checks = BackgroundChecks(
            self, self._flights, clock, log, after_s=config.freshness.crate_check
        )
        self._trust_mark = TrustMark(parts)
        self._dates = DatedManifests(parts, self)
        self._variants = VariantMaker(store.variants, reader, self._desk, self._flights, log)
        self._make_procedures(parts)

    def _make_procedures(self, parts: FillParts) -> None:
        keys = ReleaseKeys(parts, self)
        self._channels = Channels(parts, keys)
        manifests = StoredManifests(parts, self, self._channels.manifests_parsed)
        self._signatures = signatures = Signatures(parts, ProofFiles(parts), keys)
        self._expected = ExpectedDigests(parts, self, self._crates, manifests)
        self._procedures = Procedures(
            channels=self._channels,
            agreements=Agreements(parts, self, manifests, signatures),
            blobs=Blobs(parts, self._expected, signatures),
            small=SmallObjects(parts, self._crates),
        )

    def __repr__(self) -> str:
        return f"<Filler {len(self._flights)} flights, {self.waiting} waiting>"

    @property
    def flights(self) -> Flights:
        """The fills that run or wait."""
        return self._flights

    @property
    def waiting(self) -> int:
        """How many of them wait for a place at the gate of their upstream."""
        return sum(gate.waiting for gate in self._parts.gates.values())

    @property
    def checks(self) -> int:
        """How many background checks run or wait."""
        return len(self._checks)

    @property
    def held(self) -> list[HeldRelease]:
        """What upstream offers and this mirror refuses to take over, for `status`."""
        return list(self._parts.held)

    def channel_states(self) -> list[ChannelState]:
        """How new the channels stable, beta and nightly are here, for `status`."""
        return self._channels.states.heads()

    def legacy_channels(self) -> list[str]:
        """The keys of stored manifests that lack a signature which `[trust]` asks for of others."""
        return self._channels.states.legacy()

    async def reprove(self) -> None:
        """Withdraw what is stored with less proof than is asked for; before workers are served."""
        is_judging = await self._trust_mark.prepare()
        await self._channels.reprove(is_whole=self._trust_mark.is_whole)
        if is_judging and await self._signatures.withdraw_unsigned():
            await self._trust_mark.note()

    async def ask(self, ask: Ask) -> Reply:
        """Answer a worker. Never raises, except CancelledError, which leaves the flight alone."""
        route = route_of_key(ask.key)
        if route is None:
            return Failed(status=404, reason="no such object")
        try:
            return await self._answer(route, ask)
        except MirrorError as exc:
            return failed(exc)
        except Exception as exc:  # noqa: BLE001 - the edge of a request
            self._log.error("ask-crashed", key=ask.key, error=repr(exc))
            return Failed(
                status=503, reason="the keeper failed to answer", retry_after_s=RETRY_AFTER_S
            )

    def used(self, keys: Sequence[str]) -> None:
        """Note which keys workers served lately."""
        self._desk.touch(keys)

    def check(self, keys: Sequence[str]) -> None:
        """Ask upstream in the background about these: stale responses, and the index of crates."""
        self._checks.check(keys)

    async def refresh(self, route: Route, *, since: float = ANY_TIME) -> None:
        """See `fill.background`."""
        if since == ANY_TIME and self._desk.lookup(route.key) is None:
            return  # withdrawn or evicted meanwhile: nothing is fetched anew without a client
        reply = await self._obtain(route, since)
        if isinstance(reply, PassThrough):
            reply.source.close()  # nobody reads it

    def code(self, keys: Sequence[str]) -> None:
        """Make gzip variants of these objects in the background."""
        self._variants.want(keys)

    async def confirmed(self, route: Route, *, since: float = ANY_TIME) -> Confirmed | None:
        """See `fill.objects`."""
        reply = await self._obtain(route, since)
        if isinstance(reply, Inline):
            return Confirmed(entry=reply.entry, is_stale=False, content=reply.content, stored=None)
        if isinstance(reply, StoredAnswer):
            entry = reply.stored.entry
            if entry.status != 200:
                return None
            return Confirmed(
                entry=entry, is_stale=reply.is_stale, content=None, stored=reply.stored
            )
        if isinstance(reply, Failed):
            raise error_of(route.key, reply)
        raise ValueError(f"{route.key} is not a small object")

    async def content(self, found: Confirmed) -> bytes:
        """See `fill.objects`."""
        if found.content is not None:
            return found.content
        content = None
        if found.stored is not None:
            content = await self._desk.read_small(found.stored)
            if content is None:
                await self._desk.attest(found.stored)  # hashed: recorded anew, or quarantined
        if content is None:
            raise StoreError(found.entry.key, "the stored copy is not usable")
        return content

    async def verified(
        self, route: Route, *, since: float = ANY_TIME, take: Take | None = None
    ) -> Subject | None:
        """See `fill.agreement`."""
        return await verified_subject(route, await self._obtain(route, since), take)

    async def aclose(self) -> None:
        """End all flights, finish the commits; partials stay for the next start."""
        await self._checks.aclose()
        await self._variants.aclose()
        await self._flights.aclose()
        await self._crates.aclose()
        await self._channels.aclose()
        await self._recovery.aclose()
        await self._desk.aclose()

    async def _answer(self, route: Route, ask: Ask) -> Reply:
        if ask.purpose is Purpose.ATTEST:
            attested = await self._attest(route)
            if attested is not None and (not ask.claim or ask.claim == attested.entry.digest):
                return StoredAnswer(stored=attested, outcome="hit")
        if ask.claim and route.kind is Kind.CRATE:
            refusal = await self._refuse_claim(route, ask.claim)
            if refusal is not None:
                return refusal
        if await self._is_unlisted(route):
            entry = self._parts.entries.absent(route, self._clock.now())
            return absence(entry, "hit; detail=manifests-txt")
        since = self._since(route, ask)
        reply = await self._obtain(route, since, ask)
        if ask.claim and digest_of(reply) not in (b"", ask.claim):
            return _wrong_claim()
        return reply

    def _since(self, route: Route, ask: Ask) -> float:
        """From when what is stored must be confirmed to answer `ask`."""
        now, freshness = self._clock.now(), self._config.freshness
        if ask.purpose is Purpose.REVALIDATE and route.kind is Kind.CRATE:
            # Its bytes never become stale; what is checked is that the index still lists them.
            return now - freshness.crate_check
        if not ask.since or route.tempo is Tempo.FOREVER:
            return ANY_TIME
        return min(ask.since, now - freshness.client_floor)  # rule 7, whatever workers say

    async def _attest(self, route: Route) -> Stored | None:
        stored = self._desk.lookup(route.key)
        if stored is None or stored.entry.status != 200:
            return None
        try:
            return await self._desk.attest(stored)
        except StoreError as exc:
            if exc.trouble is None:
                raise
            return None  # it cannot be recorded as good: upstream's is, and passes through

    async def _refuse_claim(self, route: Route, claim: bytes) -> Reply | None:
        """Compare a claim with the index; unequal is 404 without a fetch of the crate."""
        stored = self._desk.current(route.key)
        if stored is not None and stored.entry.digest == claim:
            return None  # it was compared when it was stored; the index may be gone, upstream away
        expected = await self._expected.find(route)
        if expected is None or expected.digest == claim:
            return None  # an absent crate takes the common way, which remembers the absence
        return _wrong_claim()

    async def _is_unlisted(self, route: Route) -> bool:
        if not self._dates.is_about(route) or self._desk.current(route.key) is not None:
            return False
        return await self._dates.is_unlisted(route)

    async def _obtain(self, route: Route, since: float, ask: Ask | None = None) -> Reply:
        """Answer from the store, a running flight, or one launched here; `ask` says what of it."""
        job = self._procedures.job_of(route)
        seen: Seen | None = None
        if self._flights.find(job.key) is None:  # else: whoever launched it has seen to that
            seen = await see_intact(self._desk, job.keys, self._log)
        while True:
            flight = self._flights.find(job.key)
            is_follower = flight is not None
            is_late = flight is not None and flight.is_answered
            if flight is None:
                ready = self._ready(route, job, since, seen)
                if ready is not None:
                    return ready
                flight = self._flights.launch(job.key, job.keys, job.run)
            seen = None
            flight.wanted.add(ask if self._heeds_ranges else None)
            reply = await self._wait(flight, route)
            if isinstance(reply, PassThrough) and not reply.source.claim():
                continue  # another follower took it; the body has one reader
            if isinstance(reply, Growing) and reply.file.failure is not None:
                if reply.file.failure.is_left and flight.task is not None:
                    await asyncio.wait([flight.task])
                    continue
                return reply.file.failure
            if isinstance(reply, Growing) and reply.file.stored is not None:
                reply = StoredAnswer(stored=reply.file.stored, outcome="fwd=uri-miss")
            if is_late:
                return from_memory(reply)
            return collapsed(reply) if is_follower else reply

    def _ready(self, route: Route, job: Job, since: float, seen: Seen | None) -> Reply | None:
        """What can be answered without upstream: fresh in the store, or held off. `seen` is what
        was looked up in this turn of the loop, and intact."""
        if seen is not None and route.key in seen:
            stored = seen[route.key]
        else:
            stored = self._desk.lookup(route.key)
            if stored is not None and not self._desk.is_intact(stored):
                stored = None
        if stored is not None and _is_usable(stored, since, self._clock.now()):
            return StoredAnswer(stored=stored, outcome="hit")
        held = self._flights.held(job.key)
        copy = stored if stored is not None and stored.entry.status == 200 else None
        return None if held is None else held_off(held.failure, self._parts.stand_in(copy))

    async def _wait(self, flight: Flight, route: Route) -> Reply:
        try:
            async with asyncio.timeout(self._stale_patience_s):
                return (await flight.replies())[route.key]
        except TimeoutError:
            stored = self._parts.stand_in(self._desk.current(route.key))
        if stored is not None:
            return stale(stored, 0)
        return (await flight.replies())[route.key]


def _is_usable(stored: Stored, since: float, now: float) -> bool:
    entry = stored.entry
    is_usable = is_fresh(entry.fresh_until, now, confirmed_at=entry.confirmed_at)
    return is_usable and believed(entry.confirmed_at, now) >= since


def _wrong_claim() -> Failed:
    return Failed(status=404, reason="this crate has another checksum")

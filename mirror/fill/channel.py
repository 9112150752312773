"""A channel's manifest, its `.sha256` and its `.asc`: fetched, confirmed and switched as one.

1. Ask for the `.sha256`, conditionally when a whole generation is stored.
2. Unchanged: the generation is confirmed with this one request.
3. Else fetch the manifest; its digest must be the stated one. If not (upstream is between two
   releases: uploads are not atomic) start over, with a pause, for at most `upstream.hold`;
   meanwhile the last good generation serves as stale, at once.
4. Fetch the signature; it may be absent while `trust.channel_manifest` is "digest".
5. Answer all three, store them in one transaction, then read what the manifest vouches for.

Rules:
1. No answer mixes two generations, and no commit leaves a mixture: that there is no signature is
   stored with the files that have none.
2. The manifest is parsed after the client has its answer, in a thread (0.4 s per megabyte).

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from mirror.errors import UpstreamError, VerificationError
from mirror.fill.checks import check_content
from mirror.fill.flights import Flight
from mirror.fill.manifests import read_manifest
from mirror.fill.messages import StoredAnswer
from mirror.fill.outcomes import Outcomes, absence
from mirror.fill.parts import FillParts
from mirror.fill.replies import Inline, Reply, stale
from mirror.fill.small_fetch import Absent, Fetched, fetch_small
from mirror.route.dist import channel_of
from mirror.route.match import route_of_key
from mirror.route.proofs import sibling
from mirror.route.route import Kind, Route, Tempo
from mirror.store.entry import Entry, Stored
from mirror.verify.digests import parse_sha256_file

PARSE_WAIT_S = 2.0  # five times what the largest manifest takes; then the `.sha256` has to do


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFiles:
    """The three routes of one channel, dated or not."""

    manifest: Route
    digest: Route
    signature: Route

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.manifest.key, self.digest.key, self.signature.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrived:
    """A generation that agrees with itself; `signature` None: upstream has none."""

    manifest: Fetched
    digest: Fetched
    signature: Fetched | None


class SkewError(UpstreamError):
    """Upstream's files are of two generations; they agree again soon."""

    def __init__(self, key: str, *, stated: str, got: str) -> None:
        super().__init__(key, f"the .sha256 states {stated}, the manifest is {got}")
        self.stated = stated
        self.got = got


def channel_files(route: Route) -> ChannelFiles | None:
    """The generation that `route` is a file of; None for every other kind."""
    channel = channel_of(route) if route.kind is Kind.CHANNEL else None
    manifest = None
    if channel is not None:
        manifest = route_of_key(f"{route.upstream.value}:{channel.base_path}.toml")
    if manifest is None:
        return None
    return ChannelFiles(
        manifest=manifest,
        digest=sibling(manifest, ".sha256"),
        signature=sibling(manifest, ".asc"),
    )


class Channels:
    """The procedure of a flight for one generation, and the reading of manifests behind it."""

    def __init__(self, parts: FillParts) -> None:
        self._parts = parts
        self._outcomes = Outcomes(parts)
        self._parsing: set[asyncio.Task[None]] = set()

    async def fill(self, flight: Flight, files: ChannelFiles, asked: str) -> None:
        """Bring the generation up to date; `asked` is the key that somebody waits for."""
        desk = self._parts.desk
        current = {key: desk.current(key) for key in files.keys}
        deadline = self._parts.clock.monotonic() + self._parts.config.upstream.hold
        failures = 0
        while True:
            try:
                await self._refresh(flight, files, current, asked)
                return
            except SkewError as exc:
                failures += 1
                flight.holds.close()  # what came is of no use
                self._skewed(flight, files, current, exc)
                if self._parts.clock.monotonic() >= deadline:
                    self._outcomes.trouble(flight, current, exc)
                    return
            except (UpstreamError, VerificationError) as exc:
                self._outcomes.trouble(flight, current, exc)
                return
            await self._parts.pause(failures)

    async def manifests_parsed(self) -> None:
        """Wait until manifests that have just been answered are read, within reason."""
        if self._parsing:
            await asyncio.wait(self._parsing, timeout=PARSE_WAIT_S)

    async def aclose(self) -> None:
        if self._parsing:
            await asyncio.wait(self._parsing)

    def _skewed(
        self,
        flight: Flight,
        files: ChannelFiles,
        current: Mapping[str, Stored | None],
        error: SkewError,
    ) -> None:
        """Answer with the last good generation, if its manifest and digest are here."""
        self._parts.log.warning(
            "channel-skew", key=flight.key, expected=error.stated, got=error.got
        )
        replies: dict[str, Reply] = {
            key: stale(stored, 0) for key, stored in current.items() if stored is not None
        }
        if files.manifest.key in replies and files.digest.key in replies:
            for key in flight.keys:
                replies.setdefault(key, self._absence_of(key))
            flight.answer(replies)

    def _absence_of(self, key: str) -> StoredAnswer:
        route = route_of_key(key)
        if route is None:
            raise ValueError(key)  # the keys come from routes
        return absence(self._parts.entries.absent(route, self._parts.clock.now()))

    async def _refresh(
        self,
        flight: Flight,
        files: ChannelFiles,
        current: Mapping[str, Stored | None],
        asked: str,
    ) -> None:
        """One pass over the steps. Raises SkewError, UpstreamError, VerificationError."""
        whole = self._whole(files, current)
        result = await fetch_small(
            self._parts,
            flight,
            files.digest,
            None if whole is None else whole[files.digest.key].entry,
        )
        if isinstance(result, Absent):
            await self._absent(flight, files)
            return
        if isinstance(result, Fetched):
            arrived = await self._arrive(flight, files, result, whole)
            if arrived is not None:
                await self._switch(flight, files, arrived, is_first=whole is None)
                return
        if whole is not None:
            await self._confirm(flight, files, whole, asked)

    def _whole(
        self, files: ChannelFiles, current: Mapping[str, Stored | None]
    ) -> dict[str, Stored] | None:
        """The stored generation with all its files, a remembered absent signature included."""
        found = dict(current)
        if found[files.signature.key] is None:
            signature = self._parts.desk.lookup(files.signature.key)
            if signature is not None and signature.entry.status == 404:
                found[files.signature.key] = signature
        whole = {key: stored for key, stored in found.items() if stored is not None}
        return whole if len(whole) == len(found) else None

    async def _arrive(
        self,
        flight: Flight,
        files: ChannelFiles,
        digest: Fetched,
        whole: Mapping[str, Stored] | None,
    ) -> _Arrived | None:
        """Steps 3 and 4; None: what came is the stored generation."""
        stated = parse_sha256_file(digest.content, files.digest.key)
        if whole is not None and whole[files.digest.key].entry.digest == digest.digest:
            return None
        manifest = await fetch_small(self._parts, flight, files.manifest, None)
        got = manifest.digest if isinstance(manifest, Fetched) else b""
        if not isinstance(manifest, Fetched) or got != stated:
            raise SkewError(files.manifest.key, stated=stated.hex(), got=got.hex() or "absent")
        signature = await fetch_small(self._parts, flight, files.signature, None)
        if not isinstance(signature, Fetched):
            return _Arrived(manifest=manifest, digest=digest, signature=None)
        check_content(files.signature, signature.content)
        return _Arrived(manifest=manifest, digest=digest, signature=signature)

    async def _switch(
        self, flight: Flight, files: ChannelFiles, arrived: _Arrived, *, is_first: bool
    ) -> None:
        """Step 5. All entries carry one time, so that they become stale together."""
        now = self._parts.clock.now()
        outcome = "fwd=uri-miss; stored" if is_first else "fwd=stale; fwd-status=200; stored"
        replies: dict[str, Reply] = {}
        puts: list[tuple[Entry, bytes]] = []
        absences: list[Entry] = []
        for route, fetched in (
            (files.manifest, arrived.manifest),
            (files.digest, arrived.digest),
            (files.signature, arrived.signature),
        ):
            if fetched is None:
                absences.append(self._no_signature(route, now))
                replies[route.key] = absence(absences[-1])
                continue
            entry = self._parts.entries.present(
                route,
                digest=fetched.digest,
                head=fetched.head,
                length=len(fetched.content),
                now=now,
                proof="generation",
            )
            replies[route.key] = Inline(entry=entry, outcome=outcome, content=fetched.content)
            puts.append((entry, fetched.content))
        flight.answer(replies)
        self._read_soon(puts[0])
        await self._parts.keep(puts, absences)

    def _no_signature(self, route: Route, now: float) -> Entry:
        """An absence that lasts as long as its generation, so that the three stay together."""
        entry = self._parts.entries.absent(route, now)
        if route.tempo is Tempo.FOREVER:
            return entry  # a dated signature may still be uploaded
        return self._parts.entries.confirmed(entry, route, now)

    async def _confirm(
        self,
        flight: Flight,
        files: ChannelFiles,
        whole: Mapping[str, Stored],
        asked: str,
    ) -> None:
        now = self._parts.clock.now()
        again: dict[str, Stored] = {}
        for route in (files.manifest, files.digest, files.signature):
            stored = whole[route.key]
            if stored.entry.status == 404:
                entry = self._no_signature(route, now)
            else:
                entry = self._parts.entries.confirmed(stored.entry, route, now)
            again[route.key] = Stored(entry=entry, attestation=stored.attestation)
        replies: dict[str, Reply] = {
            key: StoredAnswer(stored=stored, outcome="fwd=stale; fwd-status=304")
            for key, stored in again.items()
        }
        late = await self._late_signature(flight, files, again, asked)
        if late is not None:
            replies[late.entry.key] = late
            del again[late.entry.key]
        flight.answer(replies)
        confirmed = [stored.entry for stored in again.values()]
        if late is None:
            await self._parts.remember(confirmed)
        else:
            await self._parts.keep([(late.entry, late.content)], confirmed)

    async def _late_signature(
        self, flight: Flight, files: ChannelFiles, whole: Mapping[str, Stored], asked: str
    ) -> Inline | None:
        """A dated manifest never changes, so a signature that came later belongs to it."""
        route = files.signature
        is_missing = whole[route.key].entry.status == 404
        if asked != route.key or not is_missing or route.tempo is not Tempo.FOREVER:
            return None
        fetched = await fetch_small(self._parts, flight, route, None)
        if not isinstance(fetched, Fetched):
            return None
        check_content(route, fetched.content)
        entry = self._parts.entries.present(
            route,
            digest=fetched.digest,
            head=fetched.head,
            length=len(fetched.content),
            now=whole[files.manifest.key].entry.confirmed_at,
            proof="generation",
        )
        return Inline(entry=entry, outcome="fwd=uri-miss; stored", content=fetched.content)

    async def _absent(self, flight: Flight, files: ChannelFiles) -> None:
        """Upstream has no such channel: withdraw what is stored of it, remember the absence."""
        desk = self._parts.desk
        stored = [desk.lookup(key) for key in files.keys]
        gone = [found.entry.key for found in stored if found and found.entry.status == 200]
        if gone:
            await desk.withdraw(gone)
            self._parts.log.info("withdrawn", keys=gone, reason="upstream no longer has it")
        now = self._parts.clock.now()
        routes = (files.manifest, files.digest, files.signature)
        entries = [self._parts.entries.absent(route, now) for route in routes]
        flight.answer({entry.key: absence(entry) for entry in entries})
        await self._parts.remember(entries)

    def _read_soon(self, manifest: tuple[Entry, bytes]) -> None:
        task = asyncio.create_task(self._read(*manifest), name=f"read {manifest[0].key}")
        self._parsing.add(task)
        task.add_done_callback(self._parsing.discard)

    async def _read(self, entry: Entry, content: bytes) -> None:
        """Note the digests that the manifest states; without them the `.sha256` files vouch."""
        try:
            await read_manifest(self._parts, entry, content)
        except Exception as exc:  # noqa: BLE001 - the edge of a background step
            self._parts.log.warning("manifest-not-read", key=entry.key, reason=str(exc))

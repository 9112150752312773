"""What was stored with less proof than `[trust]` asks for today.

A mirror that took digests only, and is told to want signatures, has generations on its disk that
nobody verified. One whose pinned fingerprints lost one has generations of a key that counts no
more: perhaps it was stolen. Before workers are served, each is proved from its own stored files, or
withdrawn.

Rules:
1. Nothing of it needs upstream, but the key may (a mirror of digests never had one): one question,
   for at most `KEY_WAIT_S`, and only when there is something to prove.
2. At most `REPROVE_S` are spent (some 3,000 generations); the rest is withdrawn, and comes again
   from upstream when it is asked for.
3. The former generations go: they serve clients for ten seconds.
4. A failure is told and means "withdrawn"; it never stops a start.
5. Pins and mode are noted durably, after what they prove was proved: an end in between begins
   anew. A pin that was added takes nothing away, and neither does the first note.
6. With a removed pin goes what rested on it: signatures and key files. Then, and when digests were
   enough before, archives go too whose manifest is not stored and proved; one listed there may have
   been anybody's. Their bytes stay: asked for again they cost a manifest, and no download.

Units: seconds. Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from mirror.errors import MirrorError
from mirror.fill.channel_files import Arrived, ChannelFiles, channel_files
from mirror.fill.channel_states import ChannelStates
from mirror.fill.entries import NO_HEAD
from mirror.fill.generation import Prover
from mirror.fill.manifests import intact
from mirror.fill.parts import FillParts
from mirror.fill.release_key import ReleaseKeys
from mirror.fill.small_fetch import Fetched
from mirror.route.match import route_of_key
from mirror.store.entry import DIGEST_GENERATION, SIGNED_GENERATION, Entry, Stored
from mirror.verify.openpgp import ReleaseKey

PINS_FACT = "release-key-pins"  # of the last start that used any
MODE_FACT = "channel-manifest-mode"  # of the last start
KEY_WAIT_S = 5.0
REPROVE_S = 30.0
_MANIFEST = ".toml"


class Reprover:
    """Goes through the stored generations once, at the start."""

    def __init__(
        self, parts: FillParts, prover: Prover, keys: ReleaseKeys, states: ChannelStates
    ) -> None:
        self._parts = parts
        self._prover = prover
        self._keys = keys
        self._states = states
        trust = parts.config.trust
        self._pins = frozenset(pin.upper() for pin in trust.release_key_fingerprints)
        self._uses_pins = "signature" in (trust.channel_manifest, trust.archive)

    async def run(self, *, is_whole: bool) -> None:
        """Prove or withdraw. Never raises, except CancelledError.

        `is_whole` False: not all that is stored could be read; then the next start begins anew.
        """
        try:
            await self._states.load()
            await self._bring_up_to_date(is_whole=is_whole)
        except MirrorError as exc:
            self._parts.log.error("not-reproved", reason=str(exc))

    async def _bring_up_to_date(self, *, is_whole: bool) -> None:
        pins, mode = await self._noted(PINS_FACT), await self._noted(MODE_FACT)
        has_lost_pins = self._uses_pins and not self._pins.issuperset(pins.split())
        if self._prover.needs_signature:
            entries = await self._of_proof(DIGEST_GENERATION)
            if has_lost_pins:
                entries += await self._of_proof(SIGNED_GENERATION)
            await self._reprove(entries)
            if has_lost_pins or mode == "digest":
                await self._withdraw(await self._unvouched_archives(), "unvouched-withdrawn")
        if has_lost_pins:
            await self._withdraw(await self._rested_on_lost_pins(), "pin-removed")
        if not is_whole:
            return
        if self._uses_pins:
            await self._note(PINS_FACT, pins, " ".join(sorted(self._pins)))
        await self._note(MODE_FACT, mode, self._parts.config.trust.channel_manifest)

    async def _noted(self, name: str) -> str:
        return await self._parts.desk.compute(self._parts.trust.fact, name) or ""

    async def _note(self, name: str, noted: str, value: str) -> None:
        if value != noted:
            await self._parts.desk.compute(self._parts.trust.set_fact, name, value)

    async def _of_proof(self, proof: str) -> list[Entry]:
        return await self._parts.desk.compute(self._parts.desk.entries_of_proof, proof)

    async def _withdraw(self, keys: list[str], event: str) -> None:
        if keys:
            await self._parts.desk.withdraw(keys)
            self._parts.log.warning(event, keys=keys[:20], entries=len(keys))

    async def _rested_on_lost_pins(self) -> list[str]:
        signed = [*await self._of_proof("signature"), *await self._of_proof("key")]
        gone = [entry.key for entry in signed if entry.voucher not in self._pins]
        agreeing = await self._of_proof("agrees")
        return gone + [entry.key for entry in agreeing if entry.key.endswith(".asc")]

    async def _unvouched_archives(self) -> list[str]:
        generations = [
            *await self._of_proof(SIGNED_GENERATION),
            *await self._of_proof(DIGEST_GENERATION),
        ]
        proved = {entry.digest.hex() for entry in generations if entry.key.endswith(_MANIFEST)}
        return [
            entry.key
            for entry in await self._of_proof("manifest")
            if entry.voucher.rpartition("@")[2] not in proved
        ]

    async def _reprove(self, entries: list[Entry]) -> None:
        manifests = [entry for entry in entries if entry.key.endswith(_MANIFEST)]
        key = await self._key() if manifests else None
        clock, kept = self._parts.clock, set[str]()
        ends_at = clock.monotonic() + REPROVE_S
        for entry in manifests:
            if clock.monotonic() < ends_at:
                kept.update(await self._prove(entry, key))
        gone = [entry.key for entry in entries if entry.key not in kept]
        if gone:
            await self._parts.desk.withdraw(gone)
            await self._forget([entry for entry in manifests if entry.key not in kept])
            self._parts.log.warning(
                "generations-withdrawn",
                keys=gone[:20],
                entries=len(gone),
                reason='no verified signature, and trust.channel_manifest is "signature"',
            )

    async def _forget(self, withdrawn: list[Entry]) -> None:
        """Drop what is known from manifests that are not stored any more."""
        if withdrawn:  # each vouching, also for nothing, drops it for all of them
            await self._parts.desk.vouch(withdrawn[0], ())

    async def _key(self) -> ReleaseKey | None:
        key = await self._keys.stored()
        if key is not None:
            return key
        try:
            async with asyncio.timeout(KEY_WAIT_S):
                return await self._keys.get()
        except (MirrorError, TimeoutError) as exc:
            self._parts.log.warning("not-reproved", reason=f"no release key: {exc}")
            return None

    async def _prove(self, entry: Entry, key: ReleaseKey | None) -> tuple[str, ...]:
        """Return the keys of the generation if it may stay."""
        route = route_of_key(entry.key)
        files = None if route is None else channel_files(route)
        if files is None:
            return ()
        try:
            return await self._prove_files(files, key)
        except MirrorError as exc:
            self._parts.log.warning("not-reproved", key=entry.key, reason=str(exc))
            return ()

    async def _prove_files(self, files: ChannelFiles, key: ReleaseKey | None) -> tuple[str, ...]:
        stored = {route.key: await intact(self._parts.desk, route.key) for route in files.routes}
        manifest, digest, signature = [await self._fetched(found) for found in stored.values()]
        if manifest is None or digest is None or (signature is not None and key is None):
            return ()
        arrived = Arrived(manifest=manifest, digest=digest, signature=signature)
        proved = await self._prover.prove(files, arrived, date=files.date, key=key)
        if proved.proof == SIGNED_GENERATION:
            now = self._parts.clock.now()
            await self._parts.desk.record(
                [
                    replace(found.entry, proof=proved.proof, verified_at=now)
                    for found in stored.values()
                    if found is not None
                ]
            )
        else:
            self._states.note_legacy(files.manifest.key)
        return files.keys

    async def _fetched(self, stored: Stored | None) -> Fetched | None:
        content = None if stored is None else await self._parts.desk.read_small(stored)
        if stored is None or content is None:
            return None
        return Fetched(head=NO_HEAD, content=content, digest=stored.entry.digest)

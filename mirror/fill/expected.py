"""Where the digest that a body must have comes from, per kind.

1. Dated archive: the hash in the manifest of that date, when one was verified (`manifests`); else
2. every archive and rustup binary: the `.sha256` beside it, as fresh as the archive must be;
3. crate: the `cksum` of its index line.

Rules:
1. No digest, no body: an archive that exists upstream without a stated digest is a 502.
2. A version that the index does not list is asked about once more, unless the index was confirmed
   within the last seconds; then it is absent, without a request for the crate.
3. Absence is only concluded from upstream's word, never from a stale copy.
4. What was published is compared once more with the index: it may have changed while bytes came.

Units: Unix seconds. Runs in: keeper.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mirror.errors import UpstreamError, VerificationError
from mirror.fill.checks import IndexFacts, parse_facts
from mirror.fill.crates import CrateBook
from mirror.fill.manifests import StoredManifests
from mirror.fill.objects import ANY_TIME, Confirmed, Objects
from mirror.fill.parts import FillParts
from mirror.fill.small_fetch import THREAD_FROM_BYTES
from mirror.fill.transfer import is_absent
from mirror.route.crates import crate_of
from mirror.route.dist import dated
from mirror.route.proofs import may_have_sibling, sibling
from mirror.route.route import Kind, Route
from mirror.route.sparse_index import index_route
from mirror.verify.digests import parse_sha256_file

DISTRUSTED_MAX = 1024  # proofs that were wrong while this process runs; each was an event
RECENT_S = 5.0  # an index file confirmed this recently is not asked about again for a version


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """`confirmed_at`: when upstream last said so; `is_stale`: it could not be asked since."""

    digest: bytes
    proof: str
    confirmed_at: float
    is_stale: bool


class ExpectedDigests:
    """`manifests_parsed` waits until manifests that were just fetched have been read."""

    def __init__(
        self,
        parts: FillParts,
        objects: Objects,
        crates: CrateBook,
        manifests_parsed: Callable[[], Awaitable[None]],
    ) -> None:
        self._parts = parts
        self._objects = objects
        self._crates = crates
        self._manifests_parsed = manifests_parsed
        self._manifests = StoredManifests(parts)
        # A proof may be answered before it is stored: then there is no entry to suspect yet.
        self._distrusted_at: OrderedDict[str, float] = OrderedDict()

    async def find(self, route: Route) -> Expected | None:
        """Return the digest; None: upstream has no such object. Raises UpstreamError."""
        if route.kind is Kind.CRATE:
            return await self._of_crate(route)
        if dated(route) is not None:
            await self._manifests_parsed()
            digest = await self._manifests.digest_of(route)
            if digest is not None:
                now = self._parts.clock.now()
                return Expected(digest=digest, proof="manifest", confirmed_at=now, is_stale=False)
        return await self._beside(route)

    async def recheck(self, route: Route) -> None:
        """The flight for `route` has stored it: withdraw it if its proof has changed since."""
        if route.kind is Kind.CRATE:
            await self._crates.recheck(route)

    async def distrust(self, route: Route) -> None:
        """The body disagreed: ask upstream again about the digest before the next try."""
        proof = _proof_route(route)
        if proof is not None:
            self._note_distrust(proof.key)
        stored = None if proof is None else self._parts.desk.current(proof.key)
        if proof is not None and stored is not None:
            entry = self._parts.entries.suspect(stored.entry)
            await self._parts.desk.record([entry])

    def _note_distrust(self, key: str) -> None:
        # What was confirmed at this very moment is what disagreed.
        self._distrusted_at[key] = math.nextafter(self._parts.clock.now(), math.inf)
        self._distrusted_at.move_to_end(key)
        while len(self._distrusted_at) > DISTRUSTED_MAX:
            self._distrusted_at.popitem(last=False)

    async def _confirmed(self, proof: Route) -> Confirmed | None:
        """Return the proof, confirmed since a body disagreed with it."""
        since = self._distrusted_at.get(proof.key, ANY_TIME)
        return await self._objects.confirmed(proof, since=since)

    async def _of_crate(self, route: Route) -> Expected | None:
        crate = crate_of(route)
        index = None if crate is None else index_route(crate.name)
        if crate is None or index is None:
            return None
        recent = self._parts.clock.now() - RECENT_S
        found = await self._confirmed(index)
        cksum = await self._cksum(found, crate.name, crate.version)
        if cksum is None and found is not None and found.entry.confirmed_at < recent:
            found = await self._objects.confirmed(index, since=recent)
            cksum = await self._cksum(found, crate.name, crate.version)
        if found is None:
            return None
        if cksum is None:
            if found.is_stale:
                raise UpstreamError(index.key, "the index cannot be checked at the moment")
            return None
        return _expected(cksum, "index", found)

    async def _cksum(self, found: Confirmed | None, name: str, version: str) -> bytes | None:
        if found is None:
            return None
        facts = self._crates.recall(found.entry.digest)
        if facts is None:
            facts = await self._parse(found)
            self._crates.learn(found.entry.digest, facts)
        return facts.versions.get(version) if facts.name == name else None

    async def _parse(self, found: Confirmed) -> IndexFacts:
        content = await self._objects.content(found)
        if len(content) < THREAD_FROM_BYTES:
            return parse_facts(found.entry.key, content)
        return await self._parts.desk.compute(parse_facts, found.entry.key, content)

    async def _beside(self, route: Route) -> Expected | None:
        if not may_have_sibling(route, ".sha256"):
            raise _undigested(route)
        proof = sibling(route, ".sha256")
        found = await self._confirmed(proof)
        if found is None:
            if await self._exists(route):
                raise _undigested(route)
            return None
        content = await self._objects.content(found)
        try:
            digest = parse_sha256_file(content, proof.key)
        except VerificationError as exc:
            raise _undigested(route) from exc
        return _expected(digest, "sha256", found)

    async def _exists(self, route: Route) -> bool:
        """Ask upstream for the head of an object only; the connection is given up for it."""
        async with (
            self._parts.slot(route),
            self._parts.pool(route).get(
                route.path, fields={"Accept-Encoding": "identity"}
            ) as response,
        ):
            if is_absent(route, response.status):
                return False
            if response.status != 200:
                raise UpstreamError(
                    route.key, f"status {response.status}", upstream_status=response.status
                )
            return True


def _proof_route(route: Route) -> Route | None:
    crate = crate_of(route)
    if crate is not None:
        return index_route(crate.name)
    return sibling(route, ".sha256") if may_have_sibling(route, ".sha256") else None


def _expected(digest: bytes, proof: str, found: Confirmed) -> Expected:
    return Expected(
        digest=digest,
        proof=proof,
        confirmed_at=found.entry.confirmed_at,
        is_stale=found.is_stale,
    )


def _undigested(route: Route) -> UpstreamError:
    return UpstreamError(
        route.key, "upstream states no digest for this object", retryable=False, status=502
    )

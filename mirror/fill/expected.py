"""Where the digest that a body must have comes from, per kind.

1. Dated archive: the hash in the verified manifest of that date, fetched if need be (`manifests`);
   else
2. every archive, rustup binary and version 1 channel file: the `.sha256` beside it, as fresh as the
   body must be;
3. crate: the `cksum` of its index line.

Rules:
1. No digest, no body: an archive that exists upstream without a stated digest is a 502.
2. A version that the index does not list is asked about once more, unless the index was confirmed
   within the last seconds; then it is absent, without a request for the crate.
3. Absence is only concluded from upstream's word, never from a stale copy.
4. What was published is compared once more with the index: it may have changed while bytes came.
5. Here proofs are only read (`proof_files`), never asked for as objects: who asks for a proof waits
   for its subject, so a subject must not wait for its proof.

Units: Unix seconds. Runs in: keeper.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from mirror.errors import UpstreamError, VerificationError
from mirror.fill.checks import IndexFacts, parse_facts
from mirror.fill.crates import CrateBook
from mirror.fill.manifests import StoredManifests
from mirror.fill.objects import ANY_TIME, Confirmed, Objects
from mirror.fill.parts import FillParts
from mirror.fill.proof_files import ProofFile, ProofFiles
from mirror.fill.small_fetch import THREAD_FROM_BYTES
from mirror.fill.transfer import is_absent
from mirror.route.crates import crate_of
from mirror.route.proofs import may_have_sibling, sibling
from mirror.route.route import Kind, Route
from mirror.route.sparse_index import index_route
from mirror.verify.digests import parse_sha256_file

DISTRUSTED_MAX = 1024  # proofs that were wrong while this process runs; each was an event
RECENT_S = 5.0  # an index file confirmed this recently is not asked about again for a version


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """`confirmed_at`: when upstream last said so; `is_stale`: it could not be asked since.

    `voucher` names what said so and its digest; `file` is that document when it is a `.sha256`.
    """

    digest: bytes
    proof: str
    confirmed_at: float
    is_stale: bool
    voucher: str = ""
    file: ProofFile | None = None


class ExpectedDigests:
    """Asks the index, the manifests, or the file beside."""

    def __init__(
        self,
        parts: FillParts,
        objects: Objects,
        crates: CrateBook,
        manifests: StoredManifests,
    ) -> None:
        self._parts = parts
        self._objects = objects
        self._crates = crates
        self._manifests = manifests
        self._files = ProofFiles(parts)
        # A proof may be answered before it is stored: then there is no entry to suspect yet.
        self._distrusted_at: OrderedDict[str, float] = OrderedDict()

    async def find(self, route: Route) -> Expected | None:
        """Return the digest; None: upstream has no such object. Raises UpstreamError."""
        if route.kind is Kind.CRATE:
            return await self._of_crate(route)
        stated = await self._manifests.find(route)
        if stated is None:
            return await self._beside(route)
        return Expected(
            digest=stated.digest,
            proof="manifest",
            confirmed_at=self._parts.clock.now(),
            is_stale=False,
            voucher=stated.voucher,
        )

    async def recheck(self, route: Route) -> None:
        """The flight for `route` has stored it: withdraw it if its proof has changed since."""
        if route.kind is Kind.CRATE:
            await self._crates.recheck(route)

    async def distrust(self, route: Route) -> None:
        """The body disagreed: ask upstream again about the digest before the next try."""
        for proof in _proof_routes(route):
            self._note_distrust(proof.key)
            await self._files.suspect(proof)

    def _note_distrust(self, key: str) -> None:
        # What was confirmed at this very moment is what disagreed.
        self._distrusted_at[key] = math.nextafter(self._parts.clock.now(), math.inf)
        self._distrusted_at.move_to_end(key)
        while len(self._distrusted_at) > DISTRUSTED_MAX:
            self._distrusted_at.popitem(last=False)

    async def _of_crate(self, route: Route) -> Expected | None:
        crate = crate_of(route)
        index = None if crate is None else index_route(crate.name)
        if crate is None or index is None:
            return None
        recent = self._parts.clock.now() - RECENT_S
        try:
            found = await self._objects.confirmed(index, since=self._crate_since(route, index))
        except UpstreamError:
            if await self._crates.is_deleted(crate.name, crate.version):
                return None  # upstream showed that once; it need not be there to be believed
            raise
        cksum = await self._cksum(found, crate.name, crate.version)
        if cksum is None and found is not None and found.entry.confirmed_at < recent:
            found = await self._objects.confirmed(index, since=recent)
            cksum = await self._cksum(found, crate.name, crate.version)
        if found is None:
            return None
        if cksum is None:
            if found.is_stale and not await self._crates.is_deleted(crate.name, crate.version):
                raise UpstreamError(index.key, "the index cannot be checked at the moment")
            return None
        return _expected(cksum, "index", found)

    def _crate_since(self, route: Route, index: Route) -> float:
        """From when the index must be confirmed: a stored crate is asked about to be checked."""
        since = self._distrusted_at.get(index.key, ANY_TIME)
        if self._parts.desk.lookup(route.key) is None:
            return since
        return max(since, self._parts.clock.now() - self._parts.config.freshness.crate_check)

    async def _cksum(self, found: Confirmed | None, name: str, version: str) -> bytes | None:
        if found is None:
            return None
        facts = self._crates.recall(found.entry.digest)
        if facts is None:
            facts = await self._parse(found)
            self._crates.learn(found.entry.digest, facts)
        return await self._crates.upheld(facts, version) if facts.name == name else None

    async def _parse(self, found: Confirmed) -> IndexFacts:
        content = await self._objects.content(found)
        if len(content) < THREAD_FROM_BYTES:
            return parse_facts(found.entry.key, content)
        return await self._parts.desk.compute(parse_facts, found.entry.key, content)

    async def _beside(self, route: Route) -> Expected | None:
        if not may_have_sibling(route, ".sha256"):
            raise _undigested(route)
        file = await self._files.find(sibling(route, ".sha256"))
        if file is None:
            if await self._exists(route):
                raise _undigested(route)
            return None
        try:
            digest = parse_sha256_file(file.content, file.route.key)
        except VerificationError as exc:
            self._parts.log.error(
                "content-refused", key=file.route.key, expected=exc.expected, got=exc.got
            )
            await self._files.suspect(file.route)
            raise _undigested(route) from exc
        return Expected(
            digest=digest,
            proof="sha256",
            confirmed_at=file.confirmed_at,
            is_stale=file.is_stale,
            voucher=file.voucher,
            file=file,
        )

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


def _proof_routes(route: Route) -> list[Route]:
    crate = crate_of(route)
    index = None if crate is None else index_route(crate.name)
    if index is not None:
        return [index]
    return [
        sibling(route, suffix) for suffix in (".sha256", ".asc") if may_have_sibling(route, suffix)
    ]


def _expected(digest: bytes, proof: str, found: Confirmed) -> Expected:
    return Expected(
        digest=digest,
        proof=proof,
        confirmed_at=found.entry.confirmed_at,
        is_stale=found.is_stale,
        voucher=f"{found.entry.key}@{found.entry.digest.hex()}",
    )


def _undigested(route: Route) -> UpstreamError:
    return UpstreamError(
        route.key, "upstream states no digest for this object", retryable=False, status=502
    )

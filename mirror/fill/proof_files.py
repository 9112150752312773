"""The `.sha256` and `.asc` files that a fill needs: fetched, not yet answered to anybody.

A proof is itself a body that upstream may get wrong. Who asks for one gets it only when it agrees
with its subject (`fill.agreement`), and the subject is filled by what its proof says. So that the
two never wait for each other, a subject's fill reads its proofs here, inside its own flight, and
never asks for the flight of a proof.

Rules:
1. A stored proof has agreed with its subject; while fresh it needs no request, later a conditional
   one, and while upstream is in trouble it is used as stale.
2. A proof that was fetched is stored only when its subject agreed (`agreed`).

Units: Unix seconds. Does not: judge what a proof says.
Runs in: keeper.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from mirror.errors import StoreError, UpstreamError
from mirror.fill.entries import NO_HEAD, Head
from mirror.fill.manifests import intact
from mirror.fill.parts import FillParts
from mirror.fill.small_fetch import Absent, Fetched, fetch_small
from mirror.http.freshness import is_fresh
from mirror.route.route import Route
from mirror.store.entry import Entry, Stored

AGREES = "agrees"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofFile:
    """A proof as upstream has it, or had it (`is_stale`) when it could be asked last.

    `stored` is the copy that is known to have agreed already; None: these bytes are not stored.
    """

    route: Route
    content: bytes
    digest: bytes
    head: Head
    confirmed_at: float
    is_stale: bool
    stored: Stored | None

    @property
    def voucher(self) -> str:
        return f"{self.route.key}@{self.digest.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Brief:
    """What holds the memory of one fetch, until its few bytes are parsed."""

    holds: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


class ProofFiles:
    """Reads proofs; owns nothing."""

    def __init__(self, parts: FillParts) -> None:
        self._parts = parts

    async def find(self, route: Route, *, may_be_stale: bool = True) -> ProofFile | None:
        """Return the proof; None: upstream has none. Raises UpstreamError."""
        desk, now = self._parts.desk, self._parts.clock.now()
        before = desk.lookup(route.key)
        if before is not None and before.entry.status == 404:
            if is_fresh(before.entry.fresh_until, now):
                return None
            before = None
        stored = None if before is None else await intact(desk, route.key)
        content = None if stored is None else await desk.read_small(stored)
        if stored is None or content is None:
            return await self._fetched(route, None)
        if is_fresh(stored.entry.fresh_until, now):
            return _of_store(route, stored, content, is_stale=False)
        try:
            found = await self._fetched(route, stored.entry)
        except UpstreamError as exc:
            if not may_be_stale:
                raise
            self._parts.log.info("proof-stale", key=route.key, reason=str(exc))
            return _of_store(route, stored, content, is_stale=True)
        if found is not None and found.digest == stored.entry.digest:
            entry = self._parts.entries.confirmed(stored.entry, route, now, found.head)
            await self._parts.remember([entry])
            again = Stored(entry=entry, attestation=stored.attestation)
            return _of_store(route, again, content, is_stale=False)
        return found

    async def agreed(self, files: Sequence[ProofFile], subject: Route, digest: bytes) -> None:
        """The subject is the content of `digest`: keep the proofs that say so."""
        items = [
            (self.entry(file, subject, digest, AGREES), file.content)
            for file in files
            if file.stored is None
        ]
        if items:
            await self._parts.keep(items)

    def entry(self, file: ProofFile, subject: Route, digest: bytes, proof: str) -> Entry:
        """Describe a proof that was compared with the content of `digest` under its subject."""
        return self._parts.entries.present(
            file.route,
            digest=file.digest,
            head=file.head,
            length=len(file.content),
            now=file.confirmed_at,
            proof=proof,
            voucher=f"{subject.key}@{digest.hex()}" if proof == AGREES else "",
        )

    async def suspect(self, route: Route) -> None:
        """A body disagreed with the stored proof: ask upstream before it is used again."""
        stored = self._parts.desk.current(route.key)
        if stored is not None:
            await self._parts.desk.record([self._parts.entries.suspect(stored.entry)])

    async def _fetched(self, route: Route, known: Entry | None) -> ProofFile | None:
        """Ask upstream; after a 304 the result has the digest of `known` and no content."""
        brief = _Brief()
        with brief.holds:
            result = await fetch_small(self._parts, brief, route, known)
        if isinstance(result, Absent):
            return None
        content = result.content if isinstance(result, Fetched) else b""
        digest = result.digest if isinstance(result, Fetched) else b""
        if not isinstance(result, Fetched):
            if known is None:
                raise StoreError(route.key, "confirmed without a stored copy", retryable=False)
            digest = known.digest
        return ProofFile(
            route=route,
            content=content,
            digest=digest,
            head=result.head,
            confirmed_at=self._parts.clock.now(),
            is_stale=False,
            stored=None,
        )


def _of_store(route: Route, stored: Stored, content: bytes, *, is_stale: bool) -> ProofFile:
    return ProofFile(
        route=route,
        content=content,
        digest=stored.entry.digest,
        head=NO_HEAD,
        confirmed_at=stored.entry.confirmed_at,
        is_stale=is_stale,
        stored=stored,
    )

"""What the index says about crates: compared with what it said before, and with what is stored.

Rules:
1. An index file is taken over only when it agrees with the history of its crate
   (`verify.crate_history`); else it is held: the former file goes on being served, as stale.
2. A crate is stored only while its index file lists the version with that `cksum`. What a file no
   longer vouches for is (1) buried durably, (2) withdrawn, (3) then the file is answered. After a
   crash between (1) and (2), `withdraw_disowned` ends it when the keeper starts.
3. What is buried stays so, whatever a stored index file says: that file is the older one.
4. Facts are keyed by the digest of the index file's content, so they cannot be out of date.
5. Names keep the case of the index lines; another case of the name is not the crate.
6. A crate whose flight began before its index changed is compared again when it is stored:
   (1) the flight learns its cksum, (2) the index drops the version and what is stored of it is
   withdrawn, (3) the flight stores the crate, (4) `recheck` withdraws it.
7. What the index does not list is absent without an entry that says so: a client can ask for more
   versions than anybody wants to store.
8. The edges of a CDN take turns with a file and the one before it. A file that upstream dates
   before the stored one shows no deletion: it is trouble, for at most `[freshness] crate_wait`.

Units: the memory bound counts versions (about 150 bytes each).
Runs in: keeper.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mirror.errors import UpstreamError, VerificationError
from mirror.fill.checks import IndexFacts, parse_facts
from mirror.fill.crate_events import tell_judgement, tell_withdrawn
from mirror.fill.crate_memory import CrateMemory
from mirror.fill.disowned import is_disowned, prefix_of
from mirror.fill.parts import FillParts
from mirror.http.dates import parse_http_date
from mirror.route.crates import crate_of
from mirror.route.route import Route
from mirror.route.sparse_index import indexed_name
from mirror.store.entry import Entry, Stored
from mirror.verify.crate_history import (
    CrateChange,
    CrateHistory,
    CrateListing,
    Judgement,
    bury,
    joined,
    judge,
)

VERSIONS_MAX = 100_000  # some 15 MB
TOLD_MAX = 64  # changes of one file that are shown at once; the others when these are accepted


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedIndex:
    """An index file that was fetched; `last_modified` as upstream wrote it, "" for none."""

    digest: bytes
    facts: IndexFacts
    last_modified: str = ""


class CrateBook:
    """Parsed index files, the latest used, the histories, and the crates that depend on them."""

    def __init__(self, parts: FillParts) -> None:
        self._parts = parts
        self._memory = CrateMemory(parts.desk, parts.trust, parts.log)
        self._facts: OrderedDict[bytes, IndexFacts] = OrderedDict()
        self._versions = 0

    def learn(self, digest: bytes, facts: IndexFacts) -> None:
        self._forget(digest)
        self._facts[digest] = facts
        self._versions += len(facts.versions) + 1
        while self._versions > VERSIONS_MAX and len(self._facts) > 1:
            self._forget(next(iter(self._facts)))

    def recall(self, digest: bytes) -> IndexFacts | None:
        facts = self._facts.get(digest)
        if facts is not None:
            self._facts.move_to_end(digest)
        return facts

    async def replaced(self, index: Route, offered: OfferedIndex, current: Stored | None) -> None:
        """`offered` is to replace `current`: take it over, and withdraw what it disowns.

        Raises: UpstreamError when it is held or older; StoreError when the state cannot be kept.
        """
        facts = offered.facts
        listing = CrateListing(name=facts.name, digest=offered.digest, versions=facts.versions)
        remembered = await self._memory.recall(_lower_name(index))
        known = await self._with_stored(remembered, current)
        await self._take_over(index, listing, known, is_behind=self._is_behind(offered, current))
        self.learn(offered.digest, facts)

    async def confirmed(self, index: Route, stored: Stored) -> None:
        """Upstream offers the stored file still, or again.

        Raises: UpstreamError when it contradicts a later one; then it is withdrawn.
        """
        remembered = await self._memory.recall(_lower_name(index))
        if remembered is not None and remembered.listed == stored.entry.digest:
            self._parts.held.clear(index.key)
            return
        facts = await self._facts_of(stored)
        if facts is None:
            return
        listing = CrateListing(name=facts.name, digest=stored.entry.digest, versions=facts.versions)
        try:
            await self._take_over(index, listing, remembered)
        except UpstreamError:
            await self._parts.desk.withdraw([index.key])
            raise

    async def vanished(self, index: Route, current: Stored | None) -> None:
        """The index file is gone upstream: no version is vouched for. Raises StoreError."""
        remembered = await self._memory.recall(_lower_name(index))
        remembered = await self._with_stored(remembered, current)
        if remembered is not None:
            judgement = bury(remembered)
            await self._remember(judgement)
            await self._withdraw(remembered.name, {})
        self._parts.held.clear(index.key)

    async def upheld(self, facts: IndexFacts, version: str) -> bytes | None:
        """Return the cksum that `facts`, read from the store, state, unless a later file took it
        back. Raises StoreError."""
        cksum = facts.versions.get(version)
        history = await self._memory.recall(facts.name.lower())
        if cksum is None or history is None or not history.is_marked:
            return cksum
        if version in history.deleted or history.live.get(version, cksum) != cksum:
            return None
        return cksum

    async def is_deleted(self, name: str, version: str) -> bool:
        """Whether upstream has shown that this version is gone. Raises StoreError."""
        history = await self._memory.recall(name.lower())
        return history is not None and version in history.deleted

    async def recheck(self, route: Route) -> None:
        """The crate of `route` has been stored: compare it with what the index says since."""
        crate = crate_of(route)
        history = None if crate is None else await self._memory.recall(crate.name.lower())
        if crate is None or history is None or not history.is_marked:
            return
        found = self._parts.desk.lookup(route.key)
        if found is not None and found.entry.status == 200:
            versions = history.live if history.name == crate.name else {}
            await self._withdraw_disowned(crate.name, [found.entry], versions)

    async def aclose(self) -> None:
        await self._memory.aclose()

    def _is_behind(self, offered: OfferedIndex, current: Stored | None) -> bool:
        """Whether upstream dates the file before the stored one, which it confirmed lately."""
        if current is None:
            return False
        confirmed_s = self._parts.clock.now() - current.entry.confirmed_at
        if confirmed_s >= self._parts.config.freshness.crate_wait:
            return False  # no edge is so slow: upstream has gone back to it
        at = parse_http_date(offered.last_modified)
        stored_at = parse_http_date(current.entry.upstream_last_modified)
        return at is not None and stored_at is not None and at < stored_at

    async def _take_over(
        self,
        index: Route,
        listing: CrateListing,
        remembered: CrateHistory | None,
        *,
        is_behind: bool = False,
    ) -> None:
        judgement = judge(remembered, listing, self._parts.held.is_accepted)
        is_older = is_behind and bool(judgement.deleted)
        if remembered is not None and (judgement.held or is_older):
            self._memory.note(remembered)  # it may be known from the stored file only
        if judgement.held:
            raise self._hold(index, judgement.held)
        if is_older:
            raise UpstreamError(index.key, "an older copy than the stored one", upstream_status=200)
        await self._remember(judgement)
        if remembered is not None and remembered.name != listing.name:
            await self._withdraw(remembered.name, {})
        await self._withdraw(listing.name, listing.versions)
        self._parts.held.clear(index.key)

    async def _remember(self, judgement: Judgement) -> None:
        if judgement.must_outlive:
            await self._memory.keep(judgement.history)
            tell_judgement(self._parts.log, judgement)
        else:
            self._memory.note(judgement.history)

    def _hold(self, index: Route, changes: tuple[CrateChange, ...]) -> UpstreamError:
        offered = {str(change.release) for change in changes}
        if any(h.key == index.key and h.accept not in offered for h in self._parts.held):
            self._parts.held.clear(index.key)
        for change in changes[:TOLD_MAX]:
            self._parts.held.hold(
                index.key,
                f"{change.kind.value}: before {change.before.hex()}",
                change.release,
                event="crate-cksum-changed",
                name=change.release.name,
                version=change.release.version,
                before=change.before.hex(),
                offered=change.release.cksum.hex(),
            )
        first = changes[0].release
        return UpstreamError(
            index.key,
            f"held: {first.name} {first.version} has {changes[0].kind.value} than before",
            upstream_status=200,
            retryable=False,
        )

    async def _with_stored(
        self, remembered: CrateHistory | None, current: Stored | None
    ) -> CrateHistory | None:
        """The history with what the stored file says beyond it (see `joined`)."""
        if current is None:
            return remembered
        if remembered is not None and remembered.listed == current.entry.digest:
            return remembered
        facts = await self._facts_of(current)
        if facts is None:
            return remembered
        digest = current.entry.digest
        return joined(
            remembered, CrateListing(name=facts.name, digest=digest, versions=facts.versions)
        )

    async def _facts_of(self, index: Stored) -> IndexFacts | None:
        facts = self.recall(index.entry.digest)
        if facts is not None:
            return facts
        content = await self._parts.desk.read_small(index)
        if content is None:
            return None
        try:
            return parse_facts(index.entry.key, content)
        except VerificationError:
            return None  # it passed this check when it was stored: damaged, and about to go

    async def _withdraw(self, name: str, versions: Mapping[str, bytes]) -> None:
        stored = self._parts.desk.entries_of_prefix(prefix_of(name))
        await self._withdraw_disowned(name, stored, versions)

    async def _withdraw_disowned(
        self, name: str, stored: Iterable[Entry], versions: Mapping[str, bytes]
    ) -> None:
        keys = [entry.key for entry in stored if is_disowned(entry, versions)]
        if keys:
            await self._parts.desk.withdraw(keys)
            tell_withdrawn(self._parts.log, name, keys)

    def _forget(self, digest: bytes) -> None:
        facts = self._facts.pop(digest, None)
        if facts is not None:
            self._versions -= len(facts.versions) + 1


def _lower_name(index: Route) -> str:
    name = indexed_name(index)
    if name is None:
        raise ValueError(f"{index.key} is not an index file")
    return name

"""What the index says about crates: remembered parsed, compared with what is stored.

Rules:
1. A crate is stored only while its index file lists the version with that `cksum`; when the file
   changes or vanishes, what it no longer vouches for is withdrawn before the change is answered
   (a crash between the two costs a download, never a wrong body).
2. Facts are keyed by the digest of the index file's content, so they cannot be out of date.
3. Names keep the case of the index lines; another case of the name is not the crate.
4. A crate whose flight began before its index changed is compared again when it is stored:
   (1) the flight learns its cksum, (2) the index drops the version and what is stored of it is
   withdrawn, (3) the flight stores the crate, (4) `recheck` withdraws it.
5. What the index does not list is absent without an entry that says so: a client can ask for more
   versions than anybody wants to store.

Units: the memory bound counts versions (about 150 bytes each).
Runs in: keeper.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from mirror.errors import VerificationError
from mirror.fill.checks import IndexFacts, parse_facts
from mirror.fill.parts import FillParts
from mirror.route.crates import crate_of
from mirror.route.match import route_of_key
from mirror.route.route import Route
from mirror.route.sparse_index import index_route
from mirror.store.entry import Entry, Stored

VERSIONS_MAX = 100_000  # some 15 MB
CHANGES_MAX = 16_384  # index files that changed while this process runs; some 2 MB


class CrateBook:
    """Parsed index files, the latest used, and the crates that depend on them."""

    def __init__(self, parts: FillParts) -> None:
        self._parts = parts
        self._facts: OrderedDict[bytes, IndexFacts] = OrderedDict()
        self._versions = 0
        # By index key: the digest of the latest content that replaced another, b"" when it went.
        self._changes: OrderedDict[str, bytes] = OrderedDict()

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

    async def replaced(self, digest: bytes, facts: IndexFacts) -> None:
        """An index file with `facts` is about to be answered: withdraw what it disowns."""
        self.learn(digest, facts)
        index = index_route(facts.name)
        if index is not None:
            self._note_change(index.key, digest)
        await self._withdraw(facts.name, facts.versions)

    async def vanished(self, index: Stored) -> None:
        """The index file that `index` holds is gone upstream: no version is vouched for."""
        self._note_change(index.entry.key, b"")
        facts = await self._facts_of(index)
        if facts is not None:
            await self._withdraw(facts.name, {})

    async def recheck(self, route: Route) -> None:
        """The crate of `route` has been stored: compare it with what the index says since."""
        crate = crate_of(route)
        index = None if crate is None else index_route(crate.name)
        digest = None if index is None else self._changes.get(index.key)
        if crate is None or index is None or digest is None:
            return
        versions: dict[str, bytes] = {}
        if digest:
            facts = self.recall(digest)
            stored = self._parts.desk.lookup(index.key)
            if facts is None and stored is not None and stored.entry.digest == digest:
                facts = await self._facts_of(stored)
            if facts is None:
                return  # pushed out of memory and store: the next look at the index decides
            versions = facts.versions if facts.name == crate.name else {}
        found = self._parts.desk.lookup(route.key)
        if found is not None and found.entry.status == 200:
            await self._withdraw_disowned(crate.name, [found.entry], versions)

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

    async def _withdraw(self, name: str, versions: dict[str, bytes]) -> None:
        stored = self._parts.desk.entries_of_prefix(f"crates:/crates/{name}/")
        await self._withdraw_disowned(name, stored, versions)

    async def _withdraw_disowned(
        self, name: str, stored: Iterable[Entry], versions: dict[str, bytes]
    ) -> None:
        keys = [entry.key for entry in stored if _is_disowned(entry, versions)]
        if keys:
            await self._parts.desk.withdraw(keys)
            self._parts.log.warning("crates-withdrawn", crate=name, keys=keys[:16], count=len(keys))

    def _note_change(self, index_key: str, digest: bytes) -> None:
        self._changes[index_key] = digest
        self._changes.move_to_end(index_key)
        while len(self._changes) > CHANGES_MAX:
            self._changes.popitem(last=False)

    def _forget(self, digest: bytes) -> None:
        facts = self._facts.pop(digest, None)
        if facts is not None:
            self._versions -= len(facts.versions) + 1


def _is_disowned(entry: Entry, versions: dict[str, bytes]) -> bool:
    """Whether the index does not list the stored crate with this digest."""
    route = route_of_key(entry.key)
    crate = None if route is None else crate_of(route)
    return crate is None or versions.get(crate.version) != entry.digest

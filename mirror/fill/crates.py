"""What the index says about crates: remembered parsed, compared with what is stored.

Rules:
1. A crate is stored only while its index file lists the version with that `cksum`; when the file
   changes or vanishes, what it no longer vouches for is withdrawn before the change is answered
   (a crash between the two costs a download, never a wrong body).
2. Facts are keyed by the digest of the index file's content, so they cannot be out of date.
3. Names keep the case of the index lines; another case of the name is not the crate.

Units: the memory bound counts versions (about 150 bytes each).
Runs in: keeper.
"""

from __future__ import annotations

from collections import OrderedDict

from mirror.errors import VerificationError
from mirror.fill.checks import IndexFacts, parse_facts
from mirror.fill.parts import FillParts
from mirror.route.crates import crate_of
from mirror.route.match import route_of_key
from mirror.store.entry import Entry, Stored

VERSIONS_MAX = 100_000  # some 15 MB


class CrateBook:
    """Parsed index files, the latest used, and the crates that depend on them."""

    def __init__(self, parts: FillParts) -> None:
        self._parts = parts
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

    async def replaced(self, digest: bytes, facts: IndexFacts) -> None:
        """An index file with `facts` is about to be answered: withdraw what it disowns."""
        self.learn(digest, facts)
        await self._withdraw(facts.name, facts.versions)

    async def vanished(self, index: Stored) -> None:
        """The index file that `index` holds is gone upstream: no version is vouched for."""
        facts = self.recall(index.entry.digest)
        if facts is None:
            content = await self._parts.desk.read_small(index)
            if content is None:
                return
            try:
                facts = parse_facts(index.entry.key, content)
            except VerificationError:
                return  # it passed this check when it was stored: damaged, and about to go
        await self._withdraw(facts.name, {})

    async def _withdraw(self, name: str, versions: dict[str, bytes]) -> None:
        stored = self._parts.desk.entries_of_prefix(f"crates:/crates/{name}/")
        keys = [entry.key for entry in stored if _is_disowned(entry, versions)]
        if keys:
            await self._parts.desk.withdraw(keys)
            self._parts.log.warning("crates-withdrawn", crate=name, keys=keys[:16], count=len(keys))

    def _forget(self, digest: bytes) -> None:
        facts = self._facts.pop(digest, None)
        if facts is not None:
            self._versions -= len(facts.versions) + 1


def _is_disowned(entry: Entry, versions: dict[str, bytes]) -> bool:
    """Whether the index contradicts the entry: a crate that it does not list so, or an absence of
    what it lists."""
    route = route_of_key(entry.key)
    crate = None if route is None else crate_of(route)
    cksum = None if crate is None else versions.get(crate.version)
    return cksum is not None if entry.status == 404 else cksum != entry.digest

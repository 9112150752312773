"""Random histories of a store against a dictionary: publish, evict, withdraw, adopt, quarantine,
scrub and range reads, with failures, deaths, power cuts and lost indexes, while the repair of the
one before is done, half done or not begun."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mirror.errors import StoreError
from mirror.store.budget import footprint
from mirror.store.reader import BlobFile
from mirror.store.store import Store
from tests.faults.files import DeadProcessError, FaultFiles
from tests.unit.store.bench import (
    Bench,
    absence_of,
    contents_of,
    end_process,
    entry_of,
    publish,
    put,
    sha256,
)
from tests.unit.store.steps import check_accounts

CONTENTS = [b"", b"a", b"bb" * 100, bytes(range(256)) * 9, b"last" * 700]
PLAIN = [f"crates:/{n}" for n in range(3)]
RECORDED = [f"index:/{n}" for n in range(3)]
TRIPLE = ["releases:/t", "releases:/t.sha256", "releases:/t.asc"]
KEYS = [*PLAIN, *RECORDED, *TRIPLE]

contents = st.sampled_from(CONTENTS)
later = st.booleans()  # whether the repair is left for afterwards
trouble = st.one_of(
    st.none(),
    st.tuples(
        st.sampled_from(["fail", "die"]),
        st.integers(1, 40),
        st.sampled_from([errno.EIO, errno.ENOSPC]),
    ),
)
Trouble = tuple[str, int, int] | None


class StoreMachine(RuleBasedStateMachine):
    """`known` is what workers must see; `tried` what a rescan may bring back, per key;
    `disturbed` are keys whose last change failed: a rescan may not know them."""

    def __init__(self) -> None:
        super().__init__()
        self.root = tempfile.mkdtemp(prefix="store-model-")
        self.bench = Bench(self.root, budget_bytes=1 << 20)
        self.files = FaultFiles()
        self.store: Store | None = self.bench.open(self.files)
        self.reader = self.bench.reader()
        self.known: dict[str, bytes] = {}
        self.tried: dict[str, set[bytes]] = {key: set() for key in KEYS}
        self.disturbed: set[str] = set()
        self.boots = 1
        self.later = False

    def teardown(self) -> None:
        if self.store is not None:
            self.files.heal()
            self.store.close()
        self.files.bury()
        self.reader.close()
        self.bench.page.close()
        shutil.rmtree(self.root)

    @rule(key=st.sampled_from(PLAIN), content=contents, trouble=trouble)
    def publish(self, key: str, content: bytes, trouble: Trouble) -> None:
        self._change(lambda store: publish(store, key, content), {key: content}, trouble)

    @rule(key=st.sampled_from(RECORDED), content=contents, trouble=trouble)
    def put_small(self, key: str, content: bytes, trouble: Trouble) -> None:
        self._change(
            lambda store: put(store, key, content, proof="parsed"), {key: content}, trouble
        )

    @rule(picked=st.tuples(contents, contents, contents), trouble=trouble)
    def switch_generation(self, picked: tuple[bytes, ...], trouble: Trouble) -> None:
        files = dict(zip(TRIPLE, picked, strict=True))
        items = [(entry_of(key, body, proof="generation"), body) for key, body in files.items()]
        self._change(lambda store: store.put_small(items), files, trouble)

    @rule(keys=st.sets(st.sampled_from([*PLAIN, *RECORDED])), trouble=trouble)
    def withdraw(self, keys: set[str], trouble: Trouble) -> None:
        self._change(lambda store: store.withdraw(keys), dict.fromkeys(keys), trouble)

    @rule(key=st.sampled_from([*PLAIN, *RECORDED]), trouble=trouble)
    def become_absent(self, key: str, trouble: Trouble) -> None:
        self._change(lambda store: store.record([absence_of(key)]), {key: None}, trouble)

    @rule(key=st.sampled_from(KEYS), trouble=trouble)
    def refresh(self, key: str, trouble: Trouble) -> None:
        assert self.store is not None
        stored = self.store.lookup(key)
        if stored is not None:
            fresher = replace(stored.entry, confirmed_at=self.bench.clock.now())
            self._change(lambda store: store.record([fresher]), {}, trouble)

    @rule(key=st.sampled_from(PLAIN), content=contents)
    def adopt(self, key: str, content: bytes) -> None:
        assert self.store is not None
        is_here = os.path.exists(self.bench.blob(content))
        adopted = self.store.adopt(sha256(content), entry_of(key, content))
        assert (adopted is not None) == is_here
        if is_here:
            self.known[key] = content
            self.tried[key] = {content}

    @rule(keys=st.sets(st.sampled_from(KEYS)))
    def touch(self, keys: set[str]) -> None:
        assert self.store is not None
        self.bench.clock.advance(20)
        self.store.touch(keys)

    @rule(nbytes=st.integers(1 << 19, 1 << 20), trouble=trouble)
    def evict(self, nbytes: int, trouble: Trouble) -> None:
        def run(store: Store) -> None:
            reservation = store.reserve(nbytes)
            if reservation is not None:
                reservation.release()

        before = dict(self.known)
        self._change(run, None, trouble)
        self.known = self._served()
        assert self.known.items() <= before.items()

    @rule(content=contents)
    def rot(self, content: bytes) -> None:
        """A blob changes beneath its name; nobody is served it, and attest removes it."""
        path = self.bench.blob(content)
        if not content or not os.path.exists(path):
            return
        with open(path, "r+b") as file:
            file.write(bytes([content[0] ^ 1]))
        assert self.store is not None
        for key, known in list(self.known.items()):
            if known == content:
                stored = self.store.lookup(key)
                assert stored is None or self.store.attest(stored) is None
                del self.known[key]
        assert self.store.adopt(sha256(content), entry_of(PLAIN[0], content)) is None

    @rule(key=st.sampled_from(KEYS), start=st.integers(0, 4000), size=st.integers(1, 4000))
    def read_a_range(self, key: str, start: int, size: int) -> None:
        """A worker sends a part of the file without looking at the rest."""
        stored = self.reader.lookup(key)
        if key not in self.known or stored is None:
            return
        opened = self.reader.open_blob(stored)
        assert isinstance(opened, BlobFile)
        with os.fdopen(opened.fd, "rb") as file:
            file.seek(start)
            assert file.read(size) == self.known[key][start : start + size]

    @rule(content=contents.filter(bool), trouble=trouble)
    def quarantine(self, content: bytes, trouble: Trouble) -> None:
        """What landed is not what was promised: nobody sees it, whatever else happens."""

        def run(store: Store) -> None:
            reservation = store.reserve(len(content))
            if reservation is None:
                raise StoreError("q", "no room")
            partial = store.begin(
                "q", digest=bytes(32), validator='"v"', length=len(content), reservation=reservation
            )
            try:
                partial.write(content[partial.landed :])
                store.quarantine(partial, "digest mismatch")
            finally:
                store.abandon(partial, False)

        self._change(run, {}, trouble)

    @rule(content=st.none() | contents.filter(bool))
    def scrub(self, content: bytes | None) -> None:
        """Every blob is looked at; one that rots beneath its attestation is found."""
        assert self.store is not None
        scrubber, rotten = self.store.scrubber, b"" if content is None else sha256(content)
        rots = content is not None and self.store.index.has_blob(rotten)
        if content is not None and rots:
            self._rot_unseen(content)
        self.bench.clock.advance(20)
        due = scrubber.due(scrubber.now_ms(), None, 1000)
        bad = [one.digest for one in due if scrubber.look(one, lambda _: None) is not None]
        scrubber.note([one for one in due if one.digest not in bad])
        if content is not None and rots and os.path.exists(self.bench.blob(content)):
            raise AssertionError("rot was not found")
        if rots:
            self.known = {key: body for key, body in self.known.items() if body != content}

    @rule(turns=st.integers(1, 5), trouble=trouble)
    def repair_a_little(self, turns: int, trouble: Trouble) -> None:
        def run(store: Store) -> None:
            for _ in range(turns):
                store.repair.run(0.0)

        self._change(run, {}, trouble)

    @rule(later=later)
    def reopen(self, later: bool) -> None:
        assert self.store is not None
        self.store.close()
        self._open(later=later)

    @rule(later=later, is_power_cut=st.booleans())
    def crash(self, later: bool, is_power_cut: bool) -> None:
        end_process(None, self.files)
        self.store = None
        self.boots += is_power_cut
        self._open(later=later)

    @rule(content=contents, later=later)
    def lose_a_file(self, content: bytes, later: bool) -> None:
        """A power cut takes a file whose row it leaves."""
        end_process(None, self.files)
        self.store = None
        self.boots += 1
        if os.path.exists(self.bench.blob(content)):
            os.unlink(self.bench.blob(content))
        self._open(later=later)
        # A record that names it counts again when the content comes back under another key.
        self.disturbed.update(key for key, body in self.known.items() if body == content)
        self.known = {key: body for key, body in self.known.items() if body != content}

    @rule(damage=st.sampled_from(["remove", "garbage", "truncate"]), later=later)
    def lose_the_index(self, damage: str, later: bool) -> None:
        assert self.store is not None
        self.store.close()
        path = self.bench.layout.index
        if damage == "remove":
            os.unlink(path)
        elif damage == "garbage":
            with open(path, "r+b") as file:
                file.write(b"x" * 200)
        else:
            os.truncate(path, 100)
        self._open(later=later)
        self._attest_all()
        served = self._served()
        for key in KEYS:
            if key in served:
                assert served[key] in self.tried[key], key
        for group in (*([key] for key in RECORDED), TRIPLE):
            if self.disturbed.isdisjoint(group) and all(key in self.known for key in group):
                assert all(served.get(key) == self.known[key] for key in group), group
        # Either the damage missed the index (what it said was still in its log), or the rescan
        # brought the generation back whole or not at all.
        assert served == self.known or len([key for key in TRIPLE if key in served]) in (0, 3)
        self.known = served

    @invariant()
    def workers_see_what_is_known(self) -> None:
        served = self._served()
        self._admit(served)
        assert served == self.known

    @invariant()
    def the_budget_counts_what_is_on_the_disk(self) -> None:
        assert self.store is not None
        assert " 0 reserved" in repr(self.store)

    def _change(
        self,
        run: Callable[[Store], object],
        wanted: dict[str, bytes] | dict[str, None] | dict[str, bytes | None] | None,
        trouble: Trouble,
    ) -> None:
        """Run a change under `trouble`; then workers see all of it or nothing."""
        assert self.store is not None
        after = dict(self.known)
        for key, content in (wanted or {}).items():
            after.pop(key, None)
            if content is not None:
                after[key] = content
                self.tried[key].add(content)
        if self._survives(run, trouble):
            if wanted is not None:
                self.known = after
            for key in wanted or {}:
                self.tried[key] = {after[key]} if key in after else set()
            self.disturbed.difference_update(wanted or {})
            return
        self.disturbed.update(wanted or {})
        served = self._served()
        self._admit({key: body for key, body in served.items() if key not in after})
        assert wanted is None or served in (self.known, after)
        self.known = served

    def _survives(self, run: Callable[[Store], object], trouble: Trouble) -> bool:
        assert self.store is not None
        if trouble is not None and trouble[0] == "fail":
            self.files.fail_at(trouble[1], trouble[2])
        elif trouble is not None:
            self.files.die_at(trouble[1])
        try:
            run(self.store)
        except StoreError:
            assert self.files.fired
            return False
        except DeadProcessError:
            end_process(None, self.files)
            self.store = None
            self._open(later=self.later)
            return False
        finally:
            self.files.heal()
        return True

    def _open(self, *, later: bool) -> None:
        self.files = FaultFiles()
        self.files.boot = f"boot-{self.boots}"
        self.files.taken = sum(map(footprint, self.bench.blob_files().values()))
        self.later = later
        self.store = self.bench.open(self.files, repairs_later=later)
        self.reader.refresh()
        if not self.store.repair.is_open:
            check_accounts(self.bench, self.store)

    def _admit(self, served: dict[str, bytes]) -> None:
        """While records are read, what a failed change was about to name may come to be named."""
        assert self.store is not None
        for key in served.keys() - self.known.keys():
            assert key in self.disturbed
            assert served[key] in self.tried[key]
            self.known[key] = served[key]

    def _rot_unseen(self, content: bytes) -> None:
        """Change a byte and let the index say that the file has always been this one."""
        assert self.store is not None
        path = self.bench.blob(content)
        with open(path, "r+b") as file:
            file.write(bytes([content[0] ^ 1]))
        identity = self.store._catalog.blobs.identify(sha256(content))
        assert identity is not None
        with self.store.index.changing() as changes:
            changes.put_blob(sha256(content), identity, 0)

    def _attest_all(self) -> None:
        assert self.store is not None
        for entry in self.store.entries_of_prefix(""):
            stored = self.store.lookup(entry.key)
            if stored is not None and entry.status == 200:
                self.store.attest(stored)

    def _served(self) -> dict[str, bytes]:
        if self.store is not None:
            for key in KEYS:  # what a restart left unattested is hashed when it is asked for
                stored = self.store.lookup(key)
                if stored and stored.attestation and stored.attestation.inode == 0:
                    self.store.attest(stored)
        return contents_of(self.reader, KEYS)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

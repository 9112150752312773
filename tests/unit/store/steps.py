"""The store's operations as scripts, for tests that break them at every single file-system call.

Each step starts from `prepare`, ends in `expected`, and may be run again after a failure. Whatever
happens in between, workers see `before` or `expected`, never a mixture (`check_state`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mirror.errors import StoreError
from mirror.store.budget import Reservation, footprint
from mirror.store.entry import Stored
from mirror.store.reader import BlobFile, StoreReader
from mirror.store.store import Store
from tests.unit.store.bench import (
    Bench,
    absence_of,
    contents_of,
    entry_of,
    publish,
    put,
    sha256,
)

KIB = 1024
GENERATION = ("t", "t.sha256", "t.asc")
OLD = {key: b"old " + key.encode() for key in GENERATION}
NEW = {key: b"new " + key.encode() for key in GENERATION}
CRATE = b"c" * 3 * KIB
ARCHIVE = bytes(range(256)) * 40
FORM, OTHER_FORM = b"form of the crate", b"form of the line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`run` changes what workers see from `BEFORE` to `expected`.

    `unreadable` is what remains when the disk cannot read the blob that `run` reads.
    """

    run: Callable[[Store], None]
    expected: Mapping[str, bytes]
    unreadable: Mapping[str, bytes] | None = None


BEFORE: Mapping[str, bytes] = {**OLD, "crate": CRATE, "index": b"line one"}
KEYS = (*BEFORE, "archive", "twin", "absent")


def prepare(store: Store) -> None:
    """Bring an empty store to `BEFORE`."""
    store.put_small(
        [(entry_of(key, content, proof="generation"), content) for key, content in OLD.items()]
    )
    put(store, "crate", CRATE)
    put(store, "index", b"line one", proof="parsed")
    store.variants.put({sha256(CRATE): FORM})


def _reserve(store: Store, nbytes: int) -> Reservation:
    """Without room the body passes through: for these steps that is a failure like any other."""
    reservation = store.reserve(nbytes)
    if reservation is None:
        raise StoreError("step", "no room")
    return reservation


def _publish(store: Store) -> None:
    reservation = _reserve(store, len(ARCHIVE))
    partial = store.begin(
        "archive",
        digest=sha256(ARCHIVE),
        validator='"v1"',
        length=len(ARCHIVE),
        reservation=reservation,
    )
    try:
        partial.write(ARCHIVE[partial.landed : 4000])
        partial.flush()
        partial.note()
        partial.write(ARCHIVE[partial.landed :])
        store.publish(partial, [entry_of("archive", ARCHIVE)])
    finally:
        store.abandon(partial, True)


def _publish_what_is_here(store: Store) -> None:
    publish(store, "twin", CRATE)


def _switch_generation(store: Store) -> None:
    store.put_small(
        [(entry_of(key, content, proof="generation"), content) for key, content in NEW.items()]
    )


def _replace_index_file(store: Store) -> None:
    put(store, "index", b"line one\nline two", proof="parsed")


def _refresh(store: Store) -> None:
    stored = store.lookup("index")
    assert stored is not None
    store.record([replace(stored.entry, confirmed_at=stored.entry.confirmed_at + 60)])


def _become_absent(store: Store) -> None:
    store.record([absence_of("index"), absence_of("absent")])


def _withdraw(store: Store) -> None:
    store.withdraw(["crate", "index", *GENERATION])


def _evict(store: Store) -> None:
    reservation = store.reserve(store.budget_bytes - footprint(0))
    if reservation is not None:  # a store that cannot evict says so by None
        reservation.release()


def _adopt(store: Store) -> None:
    store.adopt(sha256(CRATE), entry_of("twin", CRATE))


def _attest(store: Store) -> None:
    stored = store.lookup("crate")
    if stored is not None:
        store.attest(stored)


def _code(store: Store) -> None:
    """Two contents at once, one of which has the form already."""
    store.variants.put({sha256(b"line one"): OTHER_FORM, sha256(CRATE): FORM})


def _attest_form(store: Store) -> None:
    stored = store.lookup("crate")
    form = None if stored is None else store.variants.find(stored)
    if isinstance(form, Stored):
        store.variants.attest(form)


def _quarantine(store: Store) -> None:
    reservation = _reserve(store, 4)
    partial = store.begin(
        "archive", digest=sha256(b"good"), validator='"v"', length=4, reservation=reservation
    )
    try:
        partial.write(b"evil"[partial.landed :])
        store.quarantine(partial, "digest mismatch")
    finally:
        store.abandon(partial, False)


_CONDEMNED = {key: BEFORE[key] for key in BEFORE if key != "crate"}
STEPS: Mapping[str, Step] = {
    "publish": Step(run=_publish, expected={**BEFORE, "archive": ARCHIVE}),
    "publish-what-is-here": Step(run=_publish_what_is_here, expected={**BEFORE, "twin": CRATE}),
    "switch-generation": Step(run=_switch_generation, expected={**BEFORE, **NEW}),
    "replace-index-file": Step(
        run=_replace_index_file, expected={**BEFORE, "index": b"line one\nline two"}
    ),
    "refresh": Step(run=_refresh, expected=BEFORE),
    "become-absent": Step(
        run=_become_absent, expected={key: BEFORE[key] for key in BEFORE if key != "index"}
    ),
    "withdraw": Step(run=_withdraw, expected={}),
    "evict": Step(run=_evict, expected={}),
    "adopt": Step(run=_adopt, expected={**BEFORE, "twin": CRATE}, unreadable=_CONDEMNED),
    "attest": Step(run=_attest, expected=BEFORE, unreadable=_CONDEMNED),
    "quarantine": Step(run=_quarantine, expected=BEFORE),
    "code": Step(run=_code, expected=BEFORE),
    "attest-form": Step(run=_attest_form, expected=BEFORE),
}


def check_state(bench: Bench, step: Step) -> Mapping[str, bytes]:
    """Assert that workers see the state before or after `step`; return what they see."""
    reader = bench.reader()
    try:
        served = contents_of(reader, KEYS)
        assert served in (BEFORE, step.expected, step.unreadable), sorted(served)
        for key in KEYS:
            _check_open(reader, key)
    finally:
        reader.close()
    return served


def check_blobs(bench: Bench) -> None:
    """Assert that every file below `blobs/` is what its name says."""
    for name in bench.blob_files():
        with open(bench.layout.blob(bytes.fromhex(name)), "rb") as file:
            assert hashlib.sha256(file.read()).hexdigest() == name


def check_accounts(bench: Bench, store: Store) -> None:
    """Assert that the budget counts exactly what lies on the disk, and that nothing is stray."""
    files = bench.blob_files()
    assert all(store.index.has_blob(bytes.fromhex(name)) for name in files)
    temps = [name for name in bench.temps() if not name.endswith(".json")]
    kept = sum(footprint(os.path.getsize(bench.layout.partial(name))) for name in temps)
    assert store.used_bytes == sum(map(footprint, files.values())) + kept
    assert set(bench.temps()) == {*temps, *(name + ".json" for name in temps)}


def _check_open(reader: StoreReader, key: str) -> None:
    stored = reader.lookup(key)
    opened = reader.open_blob(stored) if stored and stored.entry.status == 200 else None
    if stored is None or not isinstance(opened, BlobFile):
        return
    with os.fdopen(opened.fd, "rb") as file:
        assert sha256(file.read()) == stored.entry.digest

"""Temps of flights: what resumes, what does not, and what a start sweeps."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mirror.config import ByteSize
from mirror.errors import StoreError
from mirror.store.budget import Budget, footprint
from mirror.store.partial import Partial
from mirror.store.partial_record import PartialRecord, Resumable, usable_prefix
from mirror.store.partials import KEEP_S
from mirror.store.store import Store
from tests.faults.files import FaultFiles
from tests.unit.store.bench import Bench, end_process, entry_of, sha256

BODY = os.urandom(5000)
DIGEST = sha256(BODY)


def _begin(
    store: Store, *, validator: str = '"v1"', length: int = len(BODY), digest: bytes = DIGEST
) -> Partial:
    reservation = store.reserve(max(length, 0))
    assert reservation is not None
    return store.begin(
        "releases:/a", digest=digest, validator=validator, length=length, reservation=reservation
    )


def test_a_kept_partial_resumes_where_it_ended(store: Store) -> None:
    partial = _begin(store)
    partial.write(BODY[:3000])
    store.abandon(partial, True)
    again = _begin(store)
    assert (again.landed, again.read(0, 10_000)) == (3000, BODY[:3000])
    again.write(BODY[3000:])
    assert store.publish(again, [entry_of("releases:/a", BODY)])
    assert store.used_bytes == footprint(len(BODY))


def test_what_is_kept_can_be_asked_for_before_it_is_resumed(store: Store) -> None:
    assert store.resumable("releases:/a", DIGEST) is None
    partial = _begin(store)
    partial.write(BODY[:3000])
    assert store.resumable("releases:/a", DIGEST) is None  # a flight has it
    store.abandon(partial, True)
    assert store.resumable("releases:/a", DIGEST) == Resumable(
        validator='"v1"', length=len(BODY), landed=3000
    )
    assert store.resumable("releases:/a", sha256(b"other")) is None
    assert store.resumable("releases:/b", DIGEST) is None
    store.abandon(_begin(store), False)
    assert store.resumable("releases:/a", DIGEST) is None


def test_what_a_killed_process_left_can_be_asked_for(bench: Bench) -> None:
    files = FaultFiles()
    store: Store | None = bench.open(files)
    assert store is not None
    _begin(store).write(BODY[:3000])
    end_process(store, files)
    store = None
    again = bench.open()
    found = again.resumable("releases:/a", DIGEST)
    assert found is not None
    assert found.landed == 3000
    again.close()


def test_another_validator_drops_what_was_kept(store: Store, bench: Bench) -> None:
    partial = _begin(store)
    partial.write(BODY[:3000])
    store.abandon(partial, True)
    other = _begin(store, validator='"v2"')
    assert (other.landed, len(bench.temps())) == (0, 2)  # a temp and its record
    store.abandon(other, False)
    assert (bench.temps(), store.used_bytes) == ([], 0)


def test_a_partial_resumes_after_the_process_was_killed(bench: Bench) -> None:
    files = FaultFiles()
    store: Store | None = bench.open(files)
    assert store is not None
    _begin(store).write(BODY[:3000])
    end_process(store, files)
    store = None
    again = bench.open()
    assert again.used_bytes == footprint(3000)
    partial = _begin(again)
    assert partial.landed == 3000
    again.abandon(partial, False)
    assert (bench.temps(), again.used_bytes) == ([], 0)
    again.close()


def test_after_another_boot_only_the_noted_prefix_counts(bench: Bench) -> None:
    files = FaultFiles()
    store: Store | None = bench.open(files)
    assert store is not None
    partial = _begin(store)
    partial.write(BODY[:2000])
    partial.flush()
    partial.note()
    partial.write(BODY[2000:3000])
    end_process(store, files)
    store = None
    later = FaultFiles()
    later.boot = "boot-2"
    again = bench.open(later)
    partial = _begin(again)
    assert (partial.landed, os.path.getsize(partial.path)) == (2000, 2000)
    again.abandon(partial, False)
    again.close()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"validator": '"v2"'}, id="another-validator"),
        pytest.param({"length": len(BODY) + 1}, id="another-length"),
        pytest.param({"digest": sha256(b"other")}, id="another-digest"),
        pytest.param({"validator": 'W/"v1"'}, id="weak-validator"),
        pytest.param({"validator": ""}, id="no-validator"),
        pytest.param({"length": -1}, id="unknown-length"),
    ],
)
def test_other_terms_never_resume(store: Store, change: dict[str, object]) -> None:
    partial = _begin(store)
    partial.write(BODY[:3000])
    store.abandon(partial, True)
    again = _begin(store, **change)  # type: ignore[arg-type] # a table of keyword arguments
    assert again.landed == 0
    store.abandon(again, False)


@pytest.mark.parametrize(
    ("validator", "length"), [('W/"v1"', 5000), ("", 5000), ('"v1"', -1)], ids=str
)
def test_what_cannot_resume_is_not_kept(bench: Bench, validator: str, length: int) -> None:
    bench.store_config = msgspec.structs.replace(bench.store_config, budget=ByteSize(1 << 30))
    store = bench.open()
    partial = _begin(store, validator=validator, length=length)
    partial.write(BODY[:3000])
    store.abandon(partial, True)
    assert (bench.temps(), store.used_bytes) == ([], 0)
    store.close()


@pytest.mark.parametrize(
    ("validator", "length"), [('W/"v1"', 5000), ("", 5000), ('"v1"', -1)], ids=str
)
def test_what_cannot_resume_is_swept_after_a_kill(
    bench: Bench, validator: str, length: int
) -> None:
    bench.store_config = msgspec.structs.replace(bench.store_config, budget=ByteSize(1 << 30))
    files = FaultFiles()
    store: Store | None = bench.open(files)
    assert store is not None
    partial = _begin(store, validator=validator, length=length)
    partial.write(BODY[:3000])
    partial.flush()
    partial.note()
    end_process(store, files)
    store = None
    assert not any(name.endswith(".json") for name in bench.temps())
    again = bench.open()
    assert (bench.temps(), again.used_bytes) == ([], 0)
    again.close()


def test_the_record_of_what_cannot_resume_saves_nothing(bench: Bench) -> None:
    """As an earlier version may have left it."""
    store = bench.open()
    partial = _begin(store)
    partial.write(BODY[:3000])
    store.abandon(partial, True)
    store.close()
    record = Path(f"{partial.path}.json")
    record.write_bytes(record.read_bytes().replace(b'"length":5000', b'"length":-1'))
    again = bench.open()
    assert (bench.temps(), again.used_bytes) == ([], 0)
    again.close()


def test_a_resumed_temp_counts_by_its_reservation_alone(store: Store) -> None:
    partial = _begin(store)
    partial.write(BODY[:3000])
    store.abandon(partial, True)
    again = _begin(store)
    assert store.used_bytes == footprint(len(BODY))
    store.abandon(again, True)
    assert store.used_bytes == footprint(3000)


def test_a_beginning_that_fails_leaves_the_kept_temp_counted(
    store: Store, bench: Bench, files: FaultFiles
) -> None:
    partial = _begin(store)
    partial.write(BODY[:3000])
    store.abandon(partial, True)
    reservation = store.reserve(len(BODY))
    assert reservation is not None
    files.fail_at(1, errno.EMFILE, for_good=True)
    with pytest.raises(StoreError):
        store.begin(
            "releases:/a", digest=DIGEST, validator='"v1"', length=5000, reservation=reservation
        )
    files.heal()
    kept = [name for name in bench.temps() if not name.endswith(".json")]
    assert "reserved" in repr(store)
    assert " 0 reserved" in repr(store)
    assert len(kept) == 1


class GreedyLock:
    """The budget's lock; whoever waits for it takes all the room that there is as it opens."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._is_taking = False
        self.taken_bytes = 0

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        if self._is_taking:  # its own look takes the lock too
            return
        self._is_taking = True
        room = self._budget.budget_bytes - self._budget.used_bytes
        if room > 0:
            assert self._budget.take(room, 1 << 40)
            self.taken_bytes += room
        self._is_taking = False


def test_the_room_of_a_temp_that_is_kept_is_never_promised_to_another(store: Store) -> None:
    partial = _begin(store)
    partial.write(BODY[:3000])
    greedy = GreedyLock(store._budget)
    store._budget.lock = greedy  # type: ignore[assignment] # the part of a lock that is used
    store.abandon(partial, True)
    assert greedy.taken_bytes > 0
    assert store.resumable("releases:/a", DIGEST) is not None
    assert store.used_bytes == store.budget_bytes


def test_one_flight_per_temp(store: Store) -> None:
    partial = _begin(store)
    before = store.used_bytes
    with pytest.raises(StoreError, match="is being filled already"):
        _begin(store)
    assert store.used_bytes == before
    store.abandon(partial, False)
    store.abandon(partial, False)
    store.abandon(_begin(store), False)


def test_more_bytes_than_promised_are_refused(store: Store) -> None:
    partial = _begin(store)
    with pytest.raises(StoreError, match="more than the 5000 bytes promised"):
        partial.write(BODY + b"x")
    assert partial.landed == 0
    store.abandon(partial, False)


def test_a_partial_that_was_let_go_takes_and_gives_nothing(store: Store) -> None:
    partial = _begin(store)
    store.abandon(partial, False)
    for call in (lambda: partial.write(b"x"), partial.note, lambda: partial.read(0, 1)):
        with pytest.raises(StoreError):
            call()
    assert repr(partial) == "<Partial releases:/a 0/5000 closed>"


@pytest.mark.parametrize("use", [lambda p: p.absorb(100), lambda p: p.digest()])
def test_a_prefix_that_cannot_be_read_goes_and_the_next_flight_begins_anew(
    store: Store, files: FaultFiles, use: Callable[[Partial], object]
) -> None:
    partial = _begin(store)
    partial.write(BODY[:3000])
    store.abandon(partial, True)
    files.damaged.add(partial.path)
    again = _begin(store)
    with pytest.raises(StoreError):
        use(again)
    store.abandon(again, True)
    files.damaged.clear()
    assert store.resumable("releases:/a", sha256(BODY)) is None
    anew = _begin(store)
    assert anew.landed == 0
    store.abandon(anew, False)
    assert store.used_bytes == 0


def test_what_is_resumed_is_there_at_once_and_hashed_while_the_rest_lands(store: Store) -> None:
    partial = _begin(store)
    partial.write(BODY[:3000])
    store.abandon(partial, True)
    again = _begin(store)
    tapped = bytearray()
    again.tap(tapped.extend)
    assert (again.landed, bytes(tapped)) == (3000, b"")
    again.write(BODY[3000:4000])
    assert again.absorb(1000)
    assert (again.landed, bytes(tapped)) == (4000, BODY[:1000])
    assert not again.absorb(3000)
    again.write(BODY[4000:])
    assert bytes(tapped) == BODY  # behind the hashed prefix nothing is read again
    [stored] = store.publish(again, [entry_of("releases:/a", BODY)])
    assert Path(store.blob_path(stored.entry.digest)).read_bytes() == BODY


def test_a_resumed_prefix_that_was_damaged_is_found_by_the_digest(store: Store) -> None:
    """Nothing else looks at its bytes again."""
    partial = _begin(store)
    partial.write(BODY[:3000])
    store.abandon(partial, True)
    Path(partial.path).write_bytes(b"x" + BODY[1:3000])
    again = _begin(store)
    again.write(BODY[3000:])
    assert again.landed == 5000
    assert again.digest() == sha256(b"x" + BODY[1:])
    store.abandon(again, False)


def _no_record(path: Path) -> None:
    Path(f"{path}.json").unlink()


def _torn_record(path: Path) -> None:
    record = Path(f"{path}.json")
    record.write_bytes(record.read_bytes()[:-10])


def _other_version(path: Path) -> None:
    record = Path(f"{path}.json")
    record.write_bytes(record.read_bytes().replace(b'"version":1', b'"version":2'))


def _no_temp(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [_no_record, _torn_record, _other_version, _no_temp])
def test_a_start_sweeps_what_has_no_usable_record(
    bench: Bench, damage: Callable[[Path], None]
) -> None:
    store = bench.open()
    partial = _begin(store)
    partial.write(BODY[:3000])
    store.abandon(partial, True)
    store.close()
    damage(Path(partial.path))
    Path(bench.layout.partial("small-0-dead.tmp")).write_bytes(b"x")
    again = bench.open()
    assert (bench.temps(), again.used_bytes) == ([], 0)
    assert "temps-swept" in bench.log.names()
    again.close()


def test_a_start_sweeps_what_nobody_asked_for_again(bench: Bench) -> None:
    store = bench.open()
    partial = _begin(store)
    partial.write(BODY[:3000])
    store.abandon(partial, True)
    store.close()
    bench.clock.advance(KEEP_S + 1)
    again = bench.open()
    assert bench.temps() == []
    again.close()


def _record(boot: str, extents: tuple[tuple[int, int], ...]) -> PartialRecord:
    return PartialRecord(
        version=1, key="k", validator='"v"', length=100, digest="", extents=extents, boot=boot,
        noted_at=0.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("boot", "extents", "size", "expected"),
    [
        pytest.param("b", (), 70, 70, id="same-boot-whole-file"),
        pytest.param("b", ((0, 50),), 70, 70, id="same-boot-beyond-the-note"),
        pytest.param("a", ((0, 50),), 70, 50, id="other-boot-noted-prefix"),
        pytest.param("a", (), 70, 0, id="other-boot-nothing-noted"),
        pytest.param("a", ((0, 50),), 30, 30, id="shorter-than-noted"),
        pytest.param("b", (), 101, 0, id="longer-than-the-representation"),
    ],
)
def test_usable_prefix(
    boot: str, extents: tuple[tuple[int, int], ...], size: int, expected: int
) -> None:
    assert usable_prefix(_record(boot, extents), size, "b") == expected


def test_a_kernel_without_a_name_is_never_the_same_boot() -> None:
    assert usable_prefix(_record("", ((0, 5),)), 70, "") == 5

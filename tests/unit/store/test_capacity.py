"""Floors, quotas and pins: who gives room, to whom, and when nobody does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror import config
from mirror.config import ByteSizeOrZero
from mirror.errors import DiskTrouble, StoreError
from mirror.route.match import route_of_key
from mirror.route.route import ContentClass
from mirror.store.budget import DISK_MARGIN_BYTES, footprint
from mirror.store.classes import NUMBERS, class_of_key
from mirror.store.floors import INODES_PER_FILL, floors_of
from mirror.store.pins import ranges_of
from mirror.store.quotas import quotas_of
from mirror.store.store import Store
from tests.faults.files import FaultFiles
from tests.unit.store.bench import Bench, entry_of, put, sha256

KIB = 1024
UNIT = footprint(KIB)
CRATE, RELEASE, INDEX = (
    NUMBERS[each] for each in (ContentClass.CRATE, ContentClass.RELEASE, ContentClass.INDEX)
)


def _bench(path: Path, **settings: object) -> Bench:
    made = Bench(str(path), budget_bytes=10 * UNIT)
    made.store_config = msgspec.structs.replace(made.store_config, **settings)
    return made


def _length(units: int) -> int:
    return units * UNIT - footprint(0)


def _fill(store: Store, bench: Bench, keys: list[str], size: int = KIB) -> None:
    for key in keys:
        _publish(store, key, (key.encode() * size)[:size])
        bench.clock.advance(10)


def _publish(store: Store, key: str, content: bytes) -> None:
    digest = sha256(content)
    reservation = store.reserve(len(content), (key, digest))
    assert reservation is not None
    partial = store.begin(
        key, digest=digest, validator='"v"', length=len(content), reservation=reservation
    )
    partial.write(content)
    store.publish(partial, [entry_of(key, content)])


def _keys(store: Store) -> list[str]:
    return [entry.key.rpartition("/")[2] for entry in store.entries_of_prefix("")]


def _crates(*names: str) -> list[str]:
    return [f"crates:/{name}" for name in names]


def _releases(*names: str) -> list[str]:
    return [f"releases:/dist/{name}" for name in names]


# Classes of keys


@pytest.mark.parametrize(
    "key",
    [
        "releases:/dist/channel-rust-stable.toml",
        "releases:/dist/2026-01-01/rustc-1.95.0-x86_64-unknown-linux-gnu.tar.xz",
        "releases:/manifests.txt",
        "releases:/rust-key.gpg.ascii",
        "releases:/rustup/release-stable.toml",
        "releases:/rustup/rustup-init.sh",
        "releases:/rustup/archive/1.28.0/x86_64-unknown-linux-gnu/rustup-init",
        "crates:/crates/serde/serde-1.0.0.crate",
        "index:/se/rd/serde",
    ],
)
def test_the_class_of_a_key_is_that_of_its_route(key: str) -> None:
    route = route_of_key(key)
    assert route is not None
    assert class_of_key(key) == NUMBERS[route.content_class]


def test_a_key_of_no_upstream_is_of_no_class() -> None:
    assert class_of_key("elsewhere:/x") == 0


def test_every_class_of_content_has_a_number_of_its_own() -> None:
    assert set(NUMBERS) == set(ContentClass)
    assert len(set(NUMBERS.values())) == len(NUMBERS)


# Arithmetic


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 20), st.integers(0, 1 << 21))
def test_an_inode_floor_is_kept_or_short_by_what_is_missing(
    free_floor: int, floor: int, free: int
) -> None:
    floors = floors_of(free_floor, floor)
    short = floors.inode_shortfall(free)
    assert floors.free_bytes >= max(free_floor, DISK_MARGIN_BYTES)
    if not floor:
        assert short == 0
    elif short:
        assert free + short == floor + INODES_PER_FILL
    else:
        assert free >= floor + INODES_PER_FILL


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000))
def test_a_quota_is_passed_by_what_is_beyond_it(limit: int, used: int, more: int) -> None:
    quotas = quotas_of({ContentClass.CRATE: limit})
    over = quotas.over(CRATE, used, more)
    assert over == (max(0, used + more - limit) if limit else 0)
    assert quotas.over(RELEASE, used, more) == 0


@pytest.mark.parametrize(
    ("pins", "ranges"),
    [
        ([], []),
        (["index:/a"], [("index:/a", "index:/a\0")]),
        (["index:/a*"], [("index:/a", "index:/a\x80")]),
        (["index:*", "index:*"], [("index:", "index:\x80")]),
        (["index:/b", "crates:/b"], [("crates:/b", "crates:/b\0"), ("index:/b", "index:/b\0")]),
    ],
)
def test_pins_are_ranges_of_keys(pins: list[str], ranges: list[tuple[str, str]]) -> None:
    assert ranges_of(pins) == ranges


# Floors


def test_bytes_below_the_floor_are_made_up_for_by_eviction(tmp_path: Path) -> None:
    bench = _bench(tmp_path, free_floor=ByteSizeOrZero(100 << 20))
    files = FaultFiles()
    store = bench.open(files)
    _fill(store, bench, _crates("a", "b", "c"))
    files.free = (100 << 20) + UNIT
    assert store.reserve(_length(2)) is not None
    assert _keys(store) == ["b", "c"]
    assert store.trouble.is_storing
    store.close()


@pytest.mark.parametrize(
    ("short_of", "kind"), [("free", DiskTrouble.FLOOR), ("inodes", DiskTrouble.INODES)]
)
def test_a_disk_below_a_floor_with_nothing_to_give_is_one_alarm(
    tmp_path: Path, short_of: str, kind: DiskTrouble
) -> None:
    bench = _bench(tmp_path, free_floor=ByteSizeOrZero(100 << 20), free_inodes=1000)
    files = FaultFiles()
    files.free, files.inodes = 200 << 20, 5000
    store = bench.open(files)
    setattr(files, short_of, 10)
    assert [store.reserve(KIB) for _ in range(3)] == [None] * 3
    assert store.trouble.ailment is not None
    assert store.trouble.ailment.kind is kind
    assert bench.log.names().count("store-trouble") == 1
    with pytest.raises(StoreError, match="below the floor"):
        store.probe()
    files.free, files.inodes = 200 << 20, 5000
    store.probe()
    store.trouble.over()
    assert store.reserve(KIB) is not None
    store.close()


def test_an_object_too_large_for_the_disk_is_no_trouble(tmp_path: Path) -> None:
    bench = _bench(tmp_path)
    files = FaultFiles()
    store = bench.open(files)
    files.free = DISK_MARGIN_BYTES + UNIT
    assert store.reserve(_length(5)) is None
    assert store.trouble.is_storing
    store.close()


def test_inodes_come_free_by_eviction(tmp_path: Path) -> None:
    bench = _bench(tmp_path, free_inodes=1000)
    files = FaultFiles()
    store = bench.open(files)
    _fill(store, bench, _crates("a", "b", "c", "d"))
    files.inodes = 1000 + INODES_PER_FILL - 2
    assert store.reserve(_length(1)) is not None
    assert _keys(store) == ["c", "d"]
    store.close()


# Quotas


def _quotas(**limits: int) -> config.StoreQuotas:
    return config.StoreQuotas(**{name: ByteSizeOrZero(limit) for name, limit in limits.items()})


def test_a_class_makes_room_for_its_own(tmp_path: Path) -> None:
    bench = _bench(tmp_path, quotas=_quotas(crate=3 * UNIT))
    store = bench.open()
    _fill(store, bench, [*_releases("r"), *_crates("a", "b", "c", "d")])
    assert _keys(store) == ["b", "c", "d", "r"]
    assert store.index.class_bytes() == {0: 0, CRATE: 3 * UNIT, RELEASE: UNIT}
    store.close()


def test_promises_count_in_a_quota(tmp_path: Path) -> None:
    bench = _bench(tmp_path, quotas=_quotas(crate=3 * UNIT))
    store = bench.open()
    held = [store.reserve(_length(1), (f"crates:/{n}", b"")) for n in range(5)]
    assert [one is not None for one in held] == [True, True, True, False, False]
    assert store.reserve(_length(1), ("index:/x", b"")) is not None
    assert held[0] is not None
    held[0].release()
    assert store.reserve(_length(1), ("crates:/e", b"")) is not None
    store.close()


def test_more_than_its_quota_is_refused_without_evicting(tmp_path: Path) -> None:
    bench = _bench(tmp_path, quotas=_quotas(crate=3 * UNIT))
    store = bench.open()
    _fill(store, bench, _crates("a", "b"))
    assert store.reserve(_length(4), ("crates:/x", b"")) is None
    assert _keys(store) == ["a", "b"]
    store.close()


def test_a_class_above_its_quota_gives_room_first(tmp_path: Path) -> None:
    bench = _bench(tmp_path)
    store = bench.open()
    _fill(store, bench, [*_releases("r", "s"), *_crates("a", "b", "c", "d", "e", "f", "g", "h")])
    store.close()
    bench.store_config = msgspec.structs.replace(bench.store_config, quotas=_quotas(crate=5 * UNIT))
    store = bench.open()
    assert store.reserve(_length(2), ("releases:/dist/t", b"")) is not None
    assert _keys(store) == ["c", "d", "e", "f", "g", "h", "r", "s"]
    store.close()


def test_small_objects_of_several_classes_count_in_theirs(tmp_path: Path) -> None:
    bench = _bench(tmp_path, quotas=_quotas(index=2 * UNIT))
    store = bench.open()
    for name in "abc":
        put(store, f"index:/{name}", name.encode() * KIB)
        bench.clock.advance(10)
    put(store, "releases:/dist/x.sha256", b"x" * KIB)
    assert _keys(store) == ["b", "c", "x.sha256"]
    assert store.used_bytes == 3 * UNIT
    store.close()


def test_what_classes_take_agrees_with_the_budget_whatever_happens(tmp_path: Path) -> None:
    bench = _bench(tmp_path)
    store = bench.open()
    _fill(store, bench, [*_releases("r"), *_crates("a", "b")], 700)
    store.withdraw(_crates("a"))
    store.reserve(_length(9))
    put(store, "crates:/one", b"line")
    put(store, "index:/one", b"line")
    classes: Mapping[int, int] = store.index.class_bytes()
    assert sum(classes.values()) == store.index.blob_bytes()
    assert classes[CRATE] == footprint(4)  # the first key that named it
    store.close()


# Pins


def test_pinned_keys_and_prefixes_are_left_alone(tmp_path: Path) -> None:
    bench = _bench(tmp_path, pins=("crates:/a", "releases:/dist/*"))
    store = bench.open()
    _fill(store, bench, [*_crates("a", "aa"), *_releases("r"), *_crates("b")])
    assert store.reserve(_length(8)) is not None
    assert _keys(store) == ["a", "r"]
    assert store.reserve(_length(1)) is None
    store.close()


def test_changed_pins_count_from_the_next_start_on(tmp_path: Path) -> None:
    bench = _bench(tmp_path, pins=("crates:/a",))
    store = bench.open()
    _fill(store, bench, _crates("a", "b"))
    assert store.reserve(_length(9)) is not None
    assert _keys(store) == ["a"]
    store.close()
    bench.store_config = msgspec.structs.replace(bench.store_config, pins=("crates:/b",))
    store = bench.open()
    _fill(store, bench, _crates("b"))
    assert store.reserve(_length(9)) is not None
    assert _keys(store) == ["b"]
    store.close()


def test_a_pinned_key_that_moves_on_lets_its_former_blob_go(tmp_path: Path) -> None:
    bench = _bench(tmp_path, pins=("index:/a",))
    store = bench.open()
    put(store, "index:/a", b"first" * 100)
    with store.reserve(_length(9)) or pytest.fail("no room"):
        assert _keys(store) == ["a"]
    put(store, "index:/a", b"second" * 100)
    assert store.reserve(_length(9)) is not None
    assert set(bench.blob_files()) == {sha256(b"second" * 100).hex()}
    store.close()


def test_a_blob_stays_while_any_pinned_key_names_it(tmp_path: Path) -> None:
    bench = _bench(tmp_path, pins=("crates:/kept",))
    store = bench.open()
    _publish(store, "crates:/other", b"same")
    _publish(store, "crates:/kept", b"same")
    store.withdraw(["crates:/other"])
    assert store.reserve(_length(10)) is None
    store.withdraw(["crates:/kept"])
    assert store.reserve(_length(10)) is not None
    store.close()

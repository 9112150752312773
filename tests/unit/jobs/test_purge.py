"""Purge and gc as wishes: what is looked at is what goes, step by step."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.jobs.purge import Gc, Purge, PurgeWish, with_generations
from mirror.store.purging import STEP_KEYS
from tests.unit.store.bench import Bench, absence_of, put

CHANNEL = "releases:/dist/channel-rust-stable.toml"


def test_files_of_one_generation_go_together_with_the_one_before() -> None:
    wanted = with_generations([f"{CHANNEL}.asc", "crates:/crates/a/a-1.0.0.crate"])
    assert set(wanted) == {
        *(CHANNEL + end + former for end in ("", ".sha256", ".asc") for former in ("", "#former")),
        "crates:/crates/a/a-1.0.0.crate",
    }


def test_of_the_keys_that_a_name_can_mean_the_first_stored_one_goes(tmp_path: Path) -> None:
    bench = Bench(str(tmp_path))
    store = bench.open()
    put(store, "second", b"2")
    put(store, "third", b"3")
    wish = PurgeWish(names=(("first", "second", "third"), ("nobody",)))
    assert Purge(store.purger, wish).look().keys == 1
    assert Purge(store.purger, wish).carry_out(lambda _: None).keys == 1
    assert store.lookup("second") is None
    assert store.lookup("third") is not None
    store.close()


def test_a_prefix_of_many_keys_goes_in_steps_that_are_told(tmp_path: Path) -> None:
    bench = Bench(str(tmp_path), budget_bytes=1 << 30)
    store = bench.open()
    count = STEP_KEYS + 20
    store.record([absence_of(f"crates:/crates/a/{number}") for number in range(count)])
    put(store, "crates:/crates/b", b"b")
    told: list[int] = []
    purge = Purge(store.purger, PurgeWish(prefixes=("crates:/crates/a/",)))
    assert purge.look().absences == count
    assert purge.carry_out(told.append).keys == count
    assert told == [STEP_KEYS, count]
    assert purge.look().keys == 0
    assert store.lookup("crates:/crates/b") is not None
    store.close()


@pytest.mark.parametrize("to_bytes", [None, 0], ids=["as-it-is", "to-nothing"])
def test_gc_does_what_it_said(to_bytes: int | None, tmp_path: Path) -> None:
    bench = Bench(str(tmp_path))
    store = bench.open()
    put(store, "named", b"named")
    put(store, "gone", b"orphan")
    store.withdraw(["gone"])
    store.record([absence_of("absent")])
    bench.clock.advance(31)
    gc = Gc(store.purger, store.quarantined, bench.clock, to_bytes)
    would, told = gc.look(), list[int]()
    assert (would.unnamed_blobs, would.absences) == (1, 1)
    done = gc.carry_out(told.append)
    assert (done.unnamed_blobs, done.unnamed_bytes) == (1, would.unnamed_bytes)
    assert (done.absences, done.evicted_bytes) == (1, would.evicted_bytes)
    assert done.used_bytes == would.used_bytes - would.unnamed_bytes - would.evicted_bytes
    assert (store.lookup("named") is None) == (to_bytes == 0)
    assert told[-1] == would.unnamed_bytes + would.evicted_bytes
    store.close()

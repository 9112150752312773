"""Coded forms: found by content, counted, evicted with it, healed, and never in the way."""

from __future__ import annotations

import os
from typing import cast

import pytest

from mirror.errors import StoreError
from mirror.store.budget import footprint
from mirror.store.entry import NoVariant, Stored
from mirror.store.reader import BlobChanged
from mirror.store.store import Store
from tests.unit.store.bench import START_AT, Bench, put, sha256

LINES = b'{"name":"serde","vers":"1.0.0"}\n' * 100
FORM = b"coded " * 20
KEY = "index:/se/rd/serde"


def coded(store: Store, key: str = KEY, content: bytes = LINES, form: bytes = FORM) -> Stored:
    stored = put(store, key, content, proof="parsed")
    store.variants.put({stored.entry.digest: form})
    return stored


def variant_of(store: Store, stored: Stored) -> Stored:
    found = store.variants.find(stored)
    assert isinstance(found, Stored)
    return found


def lasting(store: Store, key: str = KEY) -> Stored:
    stored = store.lookup(key)
    assert stored is not None
    return stored


def used_at(store: Store) -> dict[bytes, int]:
    rows = store.index._read("SELECT digest, rank_ms FROM blob")
    return dict(cast("list[tuple[bytes, int]]", rows))


def test_a_form_is_found_by_keeper_and_workers_as_a_stored_response(
    bench: Bench, store: Store
) -> None:
    stored = coded(store)
    reader = bench.reader()
    for found in (store.variants.find(stored), reader.variant(stored)):
        assert isinstance(found, Stored)
        assert (found.entry.key, found.entry.digest) == (KEY, sha256(FORM))
        assert reader.load_small(found) == FORM
    assert reader.load_small(stored) == LINES
    reader.close()


def test_what_does_not_pay_is_remembered_and_takes_no_room(bench: Bench, store: Store) -> None:
    stored = put(store, KEY, LINES, proof="parsed")
    reader = bench.reader()
    assert reader.variant(stored) is store.variants.find(stored) is NoVariant.UNKNOWN
    before = store.used_bytes
    store.variants.put({stored.entry.digest: b""})
    assert reader.variant(stored) is store.variants.find(stored) is NoVariant.POINTLESS
    assert store.used_bytes == before
    reader.close()


def test_forms_count_in_the_budget_and_move_no_epoch(bench: Bench, store: Store) -> None:
    stored = put(store, KEY, LINES, proof="parsed")
    epoch, before = bench.page.epoch, store.used_bytes
    store.variants.put({stored.entry.digest: FORM})
    assert store.used_bytes == before + footprint(len(FORM))
    store.variants.put({stored.entry.digest: FORM})  # again: the same file
    assert store.used_bytes == before + footprint(len(FORM))
    assert bench.page.epoch == epoch


def test_a_form_of_what_has_gone_leaves_nothing(bench: Bench, store: Store) -> None:
    before = store.used_bytes
    store.variants.put({sha256(b"never stored"): FORM})
    assert bench.blob_files() == {}
    assert store.used_bytes == before
    assert bench.temps() == []


def test_a_form_is_evicted_with_its_content(bench: Bench) -> None:
    store = bench.open()
    stored = coded(store)
    big = bytes((1 << 20) - 2 * footprint(0) + 4096)
    bench.clock.advance(10)
    put(store, "crates:/big", big)
    assert store.lookup(KEY) is None
    assert store.variants.find(stored) is NoVariant.UNKNOWN
    assert set(bench.blob_files()) == {sha256(big).hex()}
    assert store.used_bytes == footprint(len(big))
    store.close()


def test_eviction_of_a_form_alone_leaves_its_content(bench: Bench) -> None:
    store = bench.open()
    stored = coded(store)
    # The content was used since; of the form nobody has told, as after a rescan.
    with store.index.changing() as changes:
        changes._run("UPDATE blob SET rank_ms = 0 WHERE digest = ?", sha256(FORM))
    needed = (1 << 20) - footprint(len(LINES))
    put(store, "crates:/big", bytes(needed - footprint(0)))
    assert lasting(store).entry.digest == stored.entry.digest
    assert store.variants.find(stored) is NoVariant.UNKNOWN
    assert sha256(FORM).hex() not in bench.blob_files()
    store.close()


def test_a_form_is_used_whenever_its_content_is(bench: Bench) -> None:
    store = bench.open()
    coded(store)
    bench.clock.advance(10)
    put(store, "crates:/colder", b"c" * 5000)
    bench.clock.advance(10)
    store.touch([KEY])
    rows = used_at(store)
    at_ms = int((START_AT + 20) * 1000)
    assert rows[sha256(LINES)] == rows[sha256(FORM)] == at_ms
    assert rows[sha256(b"c" * 5000)] < at_ms
    store.close()


def test_a_form_becomes_the_coldest_with_its_content(store: Store) -> None:
    coded(store)
    put(store, KEY, LINES + b"{}\n", proof="parsed")
    rows = used_at(store)
    assert rows[sha256(LINES)] == rows[sha256(FORM)] == 0


def test_a_condemned_content_takes_its_form_along(bench: Bench, store: Store) -> None:
    stored = coded(store)
    with open(bench.blob(LINES), "r+b") as file:
        file.write(b"X")
    assert store.attest(stored) is None
    assert store.lookup(KEY) is None
    assert bench.blob_files() == {}
    assert store.used_bytes == 0


def test_a_flipped_form_is_quarantined_under_its_contents_key_and_made_again(
    bench: Bench, store: Store
) -> None:
    stored = coded(store)
    variant = variant_of(store, stored)
    with open(bench.blob(FORM), "r+b") as file:
        file.write(b"X")
    reader = bench.reader()
    assert isinstance(reader.open_blob(variant), BlobChanged)
    assert not store.variants.attest(variant)
    assert store.variants.find(stored) is NoVariant.UNKNOWN
    [reason] = store.quarantined.summary().newest
    assert (reason.keys, reason.expected) == ((KEY,), sha256(FORM).hex())
    assert "blob-condemned" in bench.log.names()
    assert reader.load_small(lasting(store)) == LINES
    store.variants.put({stored.entry.digest: FORM})
    assert reader.load_small(variant_of(store, stored)) == FORM
    reader.close()


def test_a_touched_form_is_vouched_for_anew(bench: Bench, store: Store) -> None:
    stored = coded(store)
    os.utime(bench.blob(FORM))  # moves ctime
    reader = bench.reader()
    before = variant_of(store, stored)
    assert isinstance(reader.open_blob(before), BlobChanged)
    assert store.variants.attest(before)
    assert reader.load_small(variant_of(store, stored)) == FORM
    reader.close()


def test_a_withdrawn_key_has_no_form(store: Store) -> None:
    coded(store)
    store.withdraw([KEY])
    assert store.lookup(KEY) is None


def test_a_blob_that_a_key_names_outlives_the_content_it_is_the_form_of(
    bench: Bench, store: Store
) -> None:
    coded(store)
    put(store, "crates:/same", FORM)
    store._catalog.drop_blob(sha256(LINES))
    assert store.lookup("crates:/same") is not None
    assert sha256(FORM).hex() in bench.blob_files()


def test_two_names_of_one_content_share_its_form_until_the_last_goes(store: Store) -> None:
    stored = coded(store)
    put(store, "index:/twin", LINES, proof="parsed")
    store.withdraw([KEY])
    twin = lasting(store, "index:/twin")
    assert variant_of(store, twin).entry.key == "index:/twin"
    assert variant_of(store, twin).entry.digest == variant_of(store, stored).entry.digest


def test_a_lost_index_forgets_forms_and_takes_the_same_file_again(bench: Bench) -> None:
    store = bench.open()
    coded(store)
    store.close()
    os.unlink(bench.layout.index)
    store = bench.open()
    used_bytes = store.used_bytes
    assert used_bytes == footprint(len(LINES)) + footprint(len(FORM))
    found = lasting(store)
    assert store.variants.find(found) is NoVariant.UNKNOWN
    attested = store.attest(found)
    assert attested is not None
    store.variants.put({attested.entry.digest: FORM})
    assert store.used_bytes == used_bytes
    reader = bench.reader()
    assert reader.load_small(variant_of(store, attested)) == FORM
    reader.close()
    store.close()


def test_forms_survive_a_restart(bench: Bench) -> None:
    store = bench.open()
    coded(store)
    store.close()
    store = bench.open()
    reader = bench.reader()
    assert reader.load_small(variant_of(store, lasting(store))) == FORM
    reader.close()
    store.close()


def test_without_room_nothing_is_stored_and_nothing_reserved(bench: Bench) -> None:
    store = bench.open()
    stored = put(store, KEY, LINES, proof="parsed")
    before = store.used_bytes
    with pytest.raises(StoreError, match="no room"):
        store.variants.put({stored.entry.digest: bytes(2 << 20)})
    assert store.used_bytes == before
    assert bench.temps() == []
    store.close()


def test_an_unnamed_content_may_have_a_form(store: Store) -> None:
    """The entry of a digest may be withdrawn while its form is made."""
    stored = put(store, KEY, LINES, proof="parsed")
    store.withdraw([KEY])
    store.variants.put({stored.entry.digest: FORM})
    assert isinstance(store.variants.find(stored), Stored)

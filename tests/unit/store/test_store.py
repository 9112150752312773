"""The store's door: what each call promises when nothing goes wrong on the disk."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mirror.errors import StoreError
from mirror.store.budget import footprint
from mirror.store.catalog import ABSENCES_MAX
from mirror.store.changes import Changes
from mirror.store.index import Index
from mirror.store.reader import BlobChanged, BlobFile
from mirror.store.store import Store
from tests.faults.files import FaultFiles
from tests.unit.store.bench import (
    START_AT,
    Bench,
    absence_of,
    contents_of,
    entry_of,
    publish,
    put,
    sha256,
)

BODY = bytes(range(256)) * 20


def test_a_published_blob_is_attested_and_served(store: Store, bench: Bench) -> None:
    stored = publish(store, "releases:/a", BODY)
    reader = bench.reader()
    assert reader.lookup("releases:/a") == stored == store.index.lookup("releases:/a")
    assert reader.load_small(stored) == BODY
    assert bench.blob_files() == {sha256(BODY).hex(): len(BODY)}
    assert bench.temps() == []
    assert store.used_bytes == footprint(len(BODY))


def test_one_digest_under_two_keys_is_one_file(store: Store, bench: Bench) -> None:
    first = publish(store, "releases:/a", BODY)
    second = publish(store, "releases:/b", BODY)
    assert second.attestation == first.attestation
    assert len(bench.blob_files()) == 1
    assert store.used_bytes == footprint(len(BODY))
    assert bench.temps() == []


def test_publish_refuses_an_entry_that_states_another_digest(store: Store, bench: Bench) -> None:
    reservation = store.reserve(len(BODY))
    assert reservation is not None
    partial = store.begin(
        "k", digest=sha256(b"other"), validator='"v"', length=len(BODY), reservation=reservation
    )
    partial.write(BODY)
    with pytest.raises(StoreError, match="what landed is"):
        store.publish(partial, [entry_of("k", b"other")])
    assert (bench.blob_files(), bench.temps(), store.used_bytes) == ({}, [], 0)


def test_put_small_answers_in_the_order_of_its_items(store: Store) -> None:
    items = [(entry_of(key, key.encode(), proof="parsed"), key.encode()) for key in "cab"]
    items.append(items[0])
    assert [stored.entry.key for stored in store.put_small(items)] == ["c", "a", "b", "c"]
    assert store.put_small([]) == []


def test_put_small_of_two_contents_under_one_key_keeps_the_last(store: Store) -> None:
    stored = store.put_small(
        [(entry_of("k", content, proof="parsed"), content) for content in (b"one", b"two")]
    )
    assert [one.entry.digest for one in stored] == [sha256(b"one"), sha256(b"two")]
    found = store.lookup("k")
    assert found is not None
    assert found.entry.digest == sha256(b"two")


def test_an_empty_object_is_stored_like_any_other(store: Store, bench: Bench) -> None:
    put(store, "releases:/empty", b"", proof="parsed")
    assert contents_of(bench.reader(), ["releases:/empty"]) == {"releases:/empty": b""}


def test_put_small_refuses_content_that_is_not_its_digest(store: Store, bench: Bench) -> None:
    with pytest.raises(StoreError):
        store.put_small([(entry_of("a", b"a"), b"a"), (entry_of("b", b"b"), b"x")])
    assert store.lookup("a") is None
    assert bench.blob_files() == {}


def test_a_generation_switch_moves_the_epoch_once(store: Store, bench: Bench) -> None:
    names = ["t", "t.sha256", "t.asc"]
    for content in (b"one", b"two"):
        store.put_small(
            [
                (entry_of(n, content + n.encode(), proof="generation"), content + n.encode())
                for n in names
            ]
        )
        if content == b"one":
            before = bench.page.epoch
    assert bench.page.epoch == before + 1


def test_a_changed_index_file_does_not_move_the_epoch(store: Store, bench: Bench) -> None:
    put(store, "index:/se/rd/serde", b"one", proof="parsed")
    before = bench.page.epoch
    put(store, "index:/se/rd/serde", b"two", proof="parsed")
    assert bench.page.epoch == before


def test_record_refreshes_times_and_keeps_the_blob(store: Store) -> None:
    stored = put(store, "index:/se/rd/serde", b"lines", proof="parsed")
    fresher = replace(stored.entry, confirmed_at=START_AT + 60, fresh_until=START_AT + 120)
    assert [one.entry for one in store.record([fresher])] == [fresher]
    found = store.lookup("index:/se/rd/serde")
    assert found is not None
    assert (found.entry, found.attestation) == (fresher, stored.attestation)


def test_record_leaves_out_an_entry_whose_blob_is_not_stored(store: Store) -> None:
    assert store.record([entry_of("k", b"never stored")]) == []
    assert store.lookup("k") is None
    assert store.record([]) == []


def test_an_absence_is_remembered_and_replaces_a_body_with_an_epoch(
    store: Store, bench: Bench
) -> None:
    put(store, "k", b"body", proof="parsed")
    before = bench.page.epoch
    store.record([absence_of("k")])
    found = store.lookup("k")
    assert found is not None
    assert (found.entry.status, found.attestation) == (404, None)
    assert bench.page.epoch == before + 1
    store.record([absence_of("other")])
    assert bench.page.epoch == before + 1


def test_forgotten_absences_do_not_pile_up(store: Store, bench: Bench) -> None:
    store.record([absence_of(f"old{i}") for i in range(10)])
    bench.clock.advance(86400)
    store.record([absence_of("fresh", fresh_until=bench.clock.now() + 30)])
    assert [store.lookup(f"old{i}") for i in range(10)] == [None] * 10
    assert store.lookup("fresh") is not None


def test_expired_absences_go_faster_than_others_come(store: Store, bench: Bench) -> None:
    """Those of a group commit leave twice as many old ones behind."""
    store.record([absence_of(f"old{i}") for i in range(600)])
    bench.clock.advance(86400)
    later = bench.clock.now() + 30
    store.record([absence_of(f"fresh{i}", fresh_until=later) for i in range(300)])
    assert [store.lookup(f"old{i}") for i in range(600)] == [None] * 600


def test_absences_are_bounded_and_the_first_to_end_go(store: Store, bench: Bench) -> None:
    until = bench.clock.now() + 30
    store.record([absence_of("first", fresh_until=until)])
    more = [absence_of(f"k{i}", fresh_until=until + 1 + i) for i in range(ABSENCES_MAX)]
    store.record(more)
    assert store.lookup("first") is None
    assert all(store.lookup(entry.key) for entry in (more[0], more[-1]))


def test_entries_of_prefix_leaves_absences_out(store: Store) -> None:
    put(store, "crates:/a/1", b"one")
    store.record([absence_of("crates:/a/2")])
    assert [entry.key for entry in store.entries_of_prefix("crates:/a/")] == ["crates:/a/1"]


def test_records_are_switched_in_the_commit_of_their_puts(store: Store, bench: Bench) -> None:
    """A reader between any two calls sees the whole former generation or the whole next one."""
    old = {key: b"old " + key.encode() for key in ("t", "t.sha256", "t.asc")}
    store.put_small([(entry_of(k, body, proof="generation"), body) for k, body in old.items()])
    reader = bench.reader()
    seen: list[tuple[str, ...]] = []

    class Watching(Index):
        """The index of the store; the reader looks after every commit."""

        @contextlib.contextmanager
        def changing(self, *, durable: bool = False) -> Iterator[Changes]:
            with super().changing(durable=durable) as changes:
                yield changes
            found = [reader.lookup(key) for key in old]
            seen.append(tuple(str(f.entry.status) if f else "-" for f in found))

    store.index.__class__ = Watching
    files = [(key, b"new " + key.encode()) for key in ("t", "t.sha256")]
    store.put_small(
        [(entry_of(key, body, proof="generation"), body) for key, body in files],
        [absence_of("t.asc")],
    )
    reader.close()
    assert seen == [("200", "200", "200"), ("200", "200", "404")]


def test_a_record_whose_blob_is_gone_does_not_stop_the_puts(store: Store) -> None:
    gone = entry_of("gone", b"evicted")
    assert store.put_small([(entry_of("k", b"body"), b"body")], [gone])
    assert store.lookup("gone") is None
    assert store.put_small([], [absence_of("k")]) == []


def test_withdraw_removes_durably_and_moves_the_epoch(store: Store, bench: Bench) -> None:
    put(store, "k", b"body", proof="parsed")
    before = bench.page.epoch
    store.withdraw(["k", "unknown"])
    assert store.lookup("k") is None
    assert bench.page.epoch == before + 1
    assert not os.path.exists(bench.layout.head("k"))


def test_adopt_names_what_is_here_and_takes_its_length(store: Store, bench: Bench) -> None:
    put(store, "a", BODY)
    unknown_length = replace(entry_of("b", BODY, proof="manifest"), length=0)
    adopted = store.adopt(sha256(BODY), unknown_length)
    assert adopted is not None
    assert adopted.entry.length == len(BODY)
    assert contents_of(bench.reader(), ["b"]) == {"b": BODY}


def test_adopt_of_what_is_not_here_is_none(store: Store) -> None:
    assert store.adopt(sha256(b"nothing"), entry_of("k", b"nothing")) is None
    assert store.lookup("k") is None


def test_adopt_drops_a_row_whose_file_is_gone(store: Store, bench: Bench) -> None:
    put(store, "a", BODY)
    os.unlink(bench.blob(BODY))
    assert store.adopt(sha256(BODY), entry_of("b", BODY)) is None
    assert (store.lookup("a"), store.used_bytes) == (None, 0)


def test_a_replaced_file_is_refused_by_workers_and_attested_anew(
    store: Store, bench: Bench
) -> None:
    stored = put(store, "a", BODY)
    copy = bench.blob(BODY) + ".copy"
    with open(copy, "wb") as file:
        file.write(BODY)
    os.replace(copy, bench.blob(BODY))
    reader = bench.reader()
    assert isinstance(reader.open_blob(stored), BlobChanged)
    again = store.attest(stored)
    assert again is not None
    opened = reader.open_blob(again)
    assert isinstance(opened, BlobFile)
    os.close(opened.fd)


def test_a_damaged_file_is_quarantined_with_every_key_naming_it(store: Store, bench: Bench) -> None:
    stored = put(store, "a", b"good")
    put(store, "b", b"good")
    before = bench.page.epoch
    with open(bench.blob(b"good"), "r+b") as file:
        file.write(b"evil")
    assert store.attest(stored) is None
    assert (store.lookup("a"), store.lookup("b"), store.used_bytes) == (None, None, 0)
    assert bench.page.epoch == before + 1
    assert bench.blob_files() == {}
    [reason] = [n for n in os.listdir(bench.layout.quarantine) if n.endswith(".json")]
    with open(f"{bench.layout.quarantine}/{reason}") as file:
        record = json.load(file)
    assert (record["keys"], record["expected"], record["got"]) == (
        ["a", "b"], sha256(b"good").hex(), sha256(b"evil").hex(),
    )  # fmt: skip
    assert "blob-condemned" in bench.log.names()


def test_an_unreadable_blob_is_condemned_so_that_it_can_be_fetched_again(
    store: Store, bench: Bench, files: FaultFiles
) -> None:
    put(store, "a", BODY)
    files.damaged.add(bench.blob(BODY))
    assert store.adopt(sha256(BODY), entry_of("b", BODY)) is None
    assert store.lookup("a") is None
    assert publish(store, "a", BODY).entry.digest == sha256(BODY)


def test_quarantining_a_partial_keeps_its_bytes_and_reason(store: Store, bench: Bench) -> None:
    reservation = store.reserve(4)
    assert reservation is not None
    partial = store.begin(
        "k", digest=sha256(b"good"), validator='"v"', length=4, reservation=reservation
    )
    partial.write(b"evil")
    store.quarantine(partial, "digest mismatch")
    store.abandon(partial, True)
    names = sorted(os.listdir(bench.layout.quarantine))
    with open(f"{bench.layout.quarantine}/{names[0]}", "rb") as file:
        assert file.read() == b"evil"
    assert (bench.temps(), store.used_bytes) == ([], 0)


def stated(store: Store, path: str) -> bytes | None:
    found = store.vouched(path)
    return None if found is None else found.digest


def test_a_manifest_vouches_by_path_and_the_one_read_last_counts(store: Store) -> None:
    one, two = entry_of("t", b"one"), entry_of("t", b"two")
    put(store, "t", b"one")
    store.vouch(one, [("/dist/a", b"1" * 32), ("/dist/b", b"2" * 32)])
    assert store.manifest_read("t") == one.digest
    put(store, "t", b"two")
    assert store.manifest_read("t") is None
    store.vouch(two, [("/dist/a", b"3" * 32)])
    assert store.manifest_read("t") == two.digest
    assert stated(store, "/dist/a") == b"3" * 32
    assert (stated(store, "/dist/b"), stated(store, "/dist/c")) == (None, None)


def test_what_manifests_stated_that_are_gone_goes_with_the_next(store: Store) -> None:
    kept, gone = entry_of("kept", b"kept"), entry_of("gone", b"gone")
    for entry, path in ((kept, "/dist/k"), (gone, "/dist/g")):
        put(store, entry.key, entry.key.encode())
        store.vouch(entry, [(path, b"1" * 32)])
    store.withdraw(["gone"])
    store.vouch(entry_of("next", b"next"), [("/dist/n", b"1" * 32)])
    assert (stated(store, "/dist/g"), store.manifest_read("gone")) == (None, None)
    assert stated(store, "/dist/k") == stated(store, "/dist/n") == b"1" * 32


def test_knowledge_stays_with_the_dated_copy_when_the_head_moves_on(store: Store) -> None:
    head, path = "releases:/dist/channel-rust-stable.toml", "/dist/2026-01-01/a.tar.xz"
    dated = "releases:/dist/2026-01-01/channel-rust-stable.toml"
    put(store, head, b"day one")
    store.vouch(entry_of(head, b"day one"), [(path, b"1" * 32)])
    put(store, dated, b"day one", proof="signed-generation")
    put(store, head, b"day two")
    store.vouch(entry_of(head, b"day two"), [("/dist/2026-02-02/a.tar.xz", b"2" * 32)])
    found = store.vouched(path)
    assert found is not None
    assert (found.digest, found.is_signed) == (b"1" * 32, True)
    assert found.voucher == f"{dated}@{entry_of('', b'day one').digest.hex()}"


def test_a_signed_manifest_counts_more_than_one_read_later(store: Store) -> None:
    signed = entry_of("signed", b"signed", proof="signed-generation")
    put(store, "signed", b"signed", proof="signed-generation")
    put(store, "other", b"other")
    store.vouch(signed, [("/dist/a", b"1" * 32)])
    store.vouch(entry_of("other", b"other"), [("/dist/a", b"2" * 32)])
    assert stated(store, "/dist/a") == b"1" * 32


def test_entries_of_prefix_are_sorted_and_exact(store: Store) -> None:
    for key in ("crates:/crates/foo/foo-2", "crates:/crates/foo/foo-1", "crates:/crates/foob/x"):
        put(store, key, key.encode())
    found = [entry.key for entry in store.entries_of_prefix("crates:/crates/foo/")]
    assert found == ["crates:/crates/foo/foo-1", "crates:/crates/foo/foo-2"]


def test_a_closed_store_opens_again_with_everything_in_it(bench: Bench) -> None:
    store = bench.open()
    publish(store, "a", BODY)
    store.vouch(entry_of("a", BODY), [("/p", b"1" * 32)])
    store.close()
    again = bench.open()
    assert contents_of(bench.reader(), ["a"]) == {"a": BODY}
    assert stated(again, "/p") == b"1" * 32
    assert again.used_bytes == footprint(len(BODY))
    again.close()


def test_the_repr_shows_the_budget(store: Store) -> None:
    assert repr(store).endswith("<Budget 0 of 1048576: 0 in blobs, 0 reserved, 0 in partials>>")

"""The scrub's looks: what is good is noted, what is not is condemned once it was seen twice."""

from __future__ import annotations

import errno
import os

import pytest

from mirror.errors import StoreError
from mirror.store.attesting import Condemned, Verdict
from mirror.store.entry import Attestation
from mirror.store.scrubbing import Due
from mirror.store.store import Store
from tests.faults.files import FaultFiles
from tests.unit.store.bench import Bench, contents_of, entry_of, put, sha256

FAR_MS = 1 << 60


def due_of(store: Store, content: bytes) -> Due:
    return next(
        due for due in store.scrubber.due(FAR_MS, None, 100) if due.digest == sha256(content)
    )


def look(store: Store, content: bytes) -> Verdict | None:
    return store.scrubber.look(due_of(store, content), lambda _: None)


def rewrite(path: str, content: bytes) -> None:
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.truncate(0)
        file.write(content)


def test_the_oldest_check_comes_first_and_noting_moves_it_to_the_end(
    bench: Bench, store: Store
) -> None:
    for number in range(5):
        put(store, f"k{number}", b"%d" % number)
        bench.clock.advance(1)
    order = [due.digest for due in store.scrubber.due(FAR_MS, None, 100)]
    assert order == [sha256(b"%d" % number) for number in range(5)]
    first, second = store.scrubber.due(FAR_MS, None, 2)
    assert store.scrubber.due(FAR_MS, second, 1)[0].digest == sha256(b"2")
    store.scrubber.note([first])
    assert store.scrubber.due(FAR_MS, None, 100)[-1].digest == sha256(b"0")
    assert store.scrubber.oldest_check_ms() == second.checked_at_ms


def test_what_is_stored_is_checked_as_of_then(bench: Bench, store: Store) -> None:
    put(store, "k", b"content")
    assert due_of(store, b"content").checked_at_ms == store.scrubber.now_ms()


def test_good_blob_is_good_and_its_look_holds_nothing(bench: Bench, store: Store) -> None:
    put(store, "k", b"content")

    def meanwhile(_: int) -> None:
        assert store.adopt(sha256(b"content"), entry_of("other", b"content")) is not None

    assert store.scrubber.look(due_of(store, b"content"), meanwhile) is None


def test_what_progress_raises_ends_the_look_and_leaves_no_file_open(
    store: Store, files: FaultFiles
) -> None:
    put(store, "k", b"content")
    before = set(files.open_files)

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.scrubber.look(due_of(store, b"content"), stop)
    assert files.open_files == before


def attest_as_it_is(bench: Bench, store: Store, content: bytes) -> None:
    """Let the row agree with the file, as it does with one that rots without a trace."""
    found = os.lstat(bench.blob(content))
    with store.index.changing() as changes:
        changes._run(
            "UPDATE blob SET inode = ?, length = ?, ctime_ns = ? WHERE digest = ?",
            found.st_ino, found.st_size, found.st_ctime_ns, sha256(content),
        )  # fmt: skip


@pytest.mark.parametrize("is_hidden", [True, False], ids=["attested", "seen-at-open"])
def test_damaged_blob_is_condemned_with_every_key_and_told_to_the_healer(
    is_hidden: bool, bench: Bench, store: Store
) -> None:
    told: list[Condemned] = []
    store.scrubber.tell_condemned(told.append)
    put(store, "one", b"content")
    put(store, "two", b"content")
    epoch = bench.page.epoch
    rewrite(bench.blob(b"content"), b"CONTENT")
    if is_hidden:
        attest_as_it_is(bench, store, b"content")
    assert look(store, b"content") is Verdict.CONDEMNED
    assert contents_of(bench.reader(), ["one", "two"]) == {}
    assert bench.page.epoch > epoch
    assert [(each.digest, sorted(each.keys)) for each in told] == [
        (sha256(b"content"), ["one", "two"])
    ]
    assert store.quarantined.summary().newest[0].got == sha256(b"CONTENT").hex()
    assert store.used_bytes == 0


def test_lost_file_is_told_to_the_healer_too(bench: Bench, store: Store) -> None:
    told: list[Condemned] = []
    store.scrubber.tell_condemned(told.append)
    put(store, "one", b"content")
    os.unlink(bench.blob(b"content"))
    assert look(store, b"content") is Verdict.LOST
    assert told[0].keys == ("one",)
    assert store.used_bytes == 0


def test_blob_that_was_evicted_meanwhile_is_no_find(bench: Bench, store: Store) -> None:
    told: list[Condemned] = []
    store.scrubber.tell_condemned(told.append)
    put(store, "one", b"content")
    due = due_of(store, b"content")
    store.purger.purge(["one"])
    assert store.scrubber.look(due, lambda _: None) is Verdict.GONE
    assert told == []


def test_good_file_with_another_identity_is_vouched_for_and_no_use_of_it(
    bench: Bench, store: Store
) -> None:
    put(store, "k", b"content")
    before = due_of(store, b"content")
    bench.clock.advance(100)
    os.chmod(bench.blob(b"content"), 0o600)  # moves the ctime
    assert look(store, b"content") is Verdict.VOUCHED
    after = due_of(store, b"content")
    assert after.attestation != before.attestation
    assert after.checked_at_ms == store.scrubber.now_ms()
    assert contents_of(bench.reader(), ["k"]) == {"k": b"content"}


def test_file_that_changes_after_it_was_read_is_looked_at_again(bench: Bench, store: Store) -> None:
    put(store, "k", b"content")
    os.chmod(bench.blob(b"content"), 0o600)  # so that it is to be vouched for anew
    attester = store.scrubber._attester
    read = attester.vouch_read

    def late(digest: bytes, attestation: Attestation) -> Verdict:
        rewrite(bench.blob(b"content"), b"CONTENT")
        return read(digest, attestation)

    attester.vouch_read = late  # type: ignore[method-assign]  # the moment between two steps
    assert look(store, b"content") is Verdict.CONDEMNED
    assert contents_of(bench.reader(), ["k"]) == {}


def test_blob_that_is_evicted_after_it_was_read_gets_no_row(bench: Bench, store: Store) -> None:
    put(store, "k", b"content")
    os.chmod(bench.blob(b"content"), 0o600)
    due = due_of(store, b"content")

    def evict(_: int) -> None:
        store.purger.purge(["k"])

    assert store.scrubber.look(due, evict) is Verdict.GONE
    assert store.used_bytes == 0
    assert bench.blob_files() == {}


def test_unreadable_sector_condemns_and_a_lack_of_descriptors_does_not(
    bench: Bench, store: Store, files: FaultFiles
) -> None:
    put(store, "k", b"content")
    files.fail_at(1, errno.EMFILE, for_good=True)
    with pytest.raises(StoreError):
        look(store, b"content")
    assert files.fired
    files.heal()
    assert contents_of(bench.reader(), ["k"]) == {"k": b"content"}
    files.damaged.add(bench.blob(b"content"))
    assert look(store, b"content") is Verdict.CONDEMNED


def test_blob_that_no_key_names_and_a_coded_form_are_looked_at(bench: Bench, store: Store) -> None:
    told: list[Condemned] = []
    store.scrubber.tell_condemned(told.append)
    put(store, "k", b"content")
    store.variants.put({sha256(b"content"): b"form"})
    put(store, "unnamed", b"orphan")
    store.withdraw(["unnamed"])
    assert look(store, b"orphan") is None
    rewrite(bench.blob(b"form"), b"FORM")
    assert look(store, b"form") is Verdict.CONDEMNED
    assert (told[0].keys, told[0].coded) == ((), ("k",))
    assert contents_of(bench.reader(), ["k"]) == {"k": b"content"}


def test_note_of_a_file_that_was_replaced_meanwhile_is_not_taken(
    bench: Bench, store: Store
) -> None:
    put(store, "k", b"content")
    due = due_of(store, b"content")
    os.chmod(bench.blob(b"content"), 0o600)
    bench.clock.advance(10)
    assert look(store, b"content") is Verdict.VOUCHED
    noted_ms = due_of(store, b"content").checked_at_ms
    bench.clock.advance(10)
    store.scrubber.note([due])
    assert due_of(store, b"content").checked_at_ms == noted_ms


def test_checks_noted_by_a_clock_that_was_ahead_do_not_count(bench: Bench, store: Store) -> None:
    bench.clock.advance(1e7)
    put(store, "k", b"content")
    bench.clock.advance(-1e7)
    store.scrubber.distrust_after(store.scrubber.now_ms() + 1000)
    assert store.scrubber.oldest_check_ms() == 0


def test_where_it_was_outlives_a_restart(bench: Bench) -> None:
    store = bench.open()
    for number in range(3):
        put(store, f"k{number}", b"%d" % number)
    bench.clock.advance(10)
    store.scrubber.note(store.scrubber.due(FAR_MS, None, 2))
    store.scrubber.note_pass("1 2 3")
    store.close()
    store = bench.open()
    try:
        until_ms = store.scrubber.now_ms() - 1
        assert len(store.scrubber.due(until_ms, None, 100)) == 1
        assert store.scrubber.pass_note() == "1 2 3"
    finally:
        store.close()

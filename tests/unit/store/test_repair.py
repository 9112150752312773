"""Repair in the background: what is asked for meanwhile, what changes meanwhile, and its end."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mirror.errors import StoreError
from mirror.jobs.purge import Gc, Purge, PurgeWish
from mirror.store.budget import footprint
from mirror.store.recovery import Need
from mirror.store.store import Store
from tests.faults.files import FaultFiles
from tests.faults.synced_database import cut, synced_copies
from tests.unit.store.bench import (
    Bench,
    contents_of,
    end_process,
    entry_of,
    publish,
    put,
    sha256,
)
from tests.unit.store.steps import check_accounts

BODY = b"crate" * 500
LINES = b'{"name":"serde"}\n'
NEWER = b'{"name":"serde","vers":"2"}\n'
KEY = "index:/se/rd/serde"
MANY = 300  # more than two batches


@pytest.fixture
def wide(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(str(tmp_path), budget_bytes=64 << 20)
    yield made
    made.page.close()


def _filled(bench: Bench) -> None:
    store = bench.open()
    publish(store, "crates:/a", BODY)
    put(store, KEY, LINES, proof="parsed")
    store.close()


def _lost(bench: Bench, files: FaultFiles | None = None) -> Store:
    """A filled store, opened without its index, with everything still to be repaired."""
    _filled(bench)
    os.unlink(bench.layout.index)
    return bench.open(files or _roomy(), repairs_later=True)


def _roomy() -> FaultFiles:
    """A disk that holds little else, so that what is stored meanwhile fits beyond doubt."""
    files = FaultFiles()
    files.taken = 100_000
    return files


def _after_a_power_cut(bench: Bench, harm: Callable[[], None]) -> Store:
    """A filled store that `harm` was done to, opened in another boot without a clean close."""
    crashed = FaultFiles()
    store: Store | None = bench.open(crashed)
    assert store is not None
    publish(store, "crates:/a", BODY)
    put(store, KEY, LINES, proof="parsed")
    end_process(store, crashed)
    store = None
    harm()
    files = FaultFiles()
    files.boot = "boot-2"
    return bench.open(files, repairs_later=True)


def test_a_recorded_key_is_answered_before_the_rescan_comes_to_it(bench: Bench) -> None:
    store = _lost(bench)
    assert store.index.lookup(KEY) is None
    found = store.lookup(KEY)
    assert found is not None
    assert store.attest(found) is not None
    assert contents_of(bench.reader(), [KEY]) == {KEY: LINES}
    assert store.repair.is_open
    store.close()


def test_a_known_digest_is_adopted_before_the_rescan_comes_to_it(bench: Bench) -> None:
    store = _lost(bench)
    assert store.adopt(sha256(BODY), entry_of("crates:/a", BODY)) is not None
    assert contents_of(bench.reader(), ["crates:/a"]) == {"crates:/a": BODY}
    assert store.repair.run() is False
    check_accounts(bench, store)
    store.close()


def test_an_unknown_key_costs_no_commit_while_the_rescan_runs(bench: Bench) -> None:
    files = FaultFiles()
    store = _lost(bench, files)
    files.calls.clear()
    assert store.lookup("index:/un/kn/unknown") is None
    assert len(files.calls) == 1
    store.close()


def test_the_budget_is_in_doubt_until_the_end_and_exact_from_there(bench: Bench) -> None:
    files = FaultFiles()
    files.taken = 700_000
    store = _lost(bench, files)
    assert store.used_bytes == 700_000
    assert store.reserve(bench.store_config.budget - 700_000) is None
    held = store.reserve(4096)
    assert held is not None
    assert store.used_bytes == 700_000 + footprint(4096)
    held.release()
    publish(store, "crates:/b", b"b" * 4096)
    assert store.used_bytes == 700_000 + footprint(4096)
    store.withdraw([KEY])
    while store.repair.run(0.0):
        assert store.used_bytes >= 700_000
    check_accounts(bench, store)
    store.close()


def test_nothing_is_evicted_for_room_that_nobody_has_counted(bench: Bench) -> None:
    files = FaultFiles()
    files.taken = 1 << 40
    store = _lost(bench, files)
    assert store.lookup(KEY) is not None
    assert store.reserve(1) is None
    assert store.lookup(KEY) is not None
    store.repair.run()
    held = store.reserve(1)
    assert held is not None
    held.release()
    store.close()


def test_what_a_disk_that_does_not_say_what_is_used_may_hold_is_the_budget(bench: Bench) -> None:
    class Silent(FaultFiles):
        def taken_bytes(self, path: str) -> int:
            raise OSError(errno.EIO, path)

    store = _lost(bench, Silent())
    assert store.used_bytes == bench.store_config.budget
    store.close()


def test_what_is_withdrawn_meanwhile_does_not_come_back(bench: Bench) -> None:
    store = _lost(bench)
    store.withdraw([KEY])
    assert store.lookup(KEY) is None
    store.repair.run()
    assert store.lookup(KEY) is None
    check_accounts(bench, store)
    store.close()


def test_what_is_stored_meanwhile_is_newer_than_its_record(bench: Bench) -> None:
    store = _lost(bench)
    put(store, KEY, NEWER, proof="parsed")
    store.repair.run()
    assert contents_of(bench.reader(), [KEY]) == {KEY: NEWER}
    check_accounts(bench, store)
    store.close()


def test_what_is_condemned_meanwhile_is_not_found_again(bench: Bench) -> None:
    store = _lost(bench)
    with open(bench.blob(BODY), "r+b") as file:
        file.write(b"X")
    assert store.adopt(sha256(BODY), entry_of("crates:/a", BODY)) is None
    store.repair.run()
    assert not store.index.has_blob(sha256(BODY))
    check_accounts(bench, store)
    store.close()


def test_a_generation_of_which_a_part_has_moved_on_is_left_as_it_is(bench: Bench) -> None:
    store = bench.open()
    names = ("t", "t.sha256", "t.asc")
    store.put_small(
        [(entry_of(name, name.encode(), proof="generation"), name.encode()) for name in names]
    )
    store.close()
    os.unlink(bench.layout.index)
    store = bench.open(_roomy(), repairs_later=True)
    # A record that was left behind by a crash between heads and commit: another file, unnamed.
    other = put(store, "t", b"moved", proof="index")
    assert store.lookup("t.asc") is None
    store.repair.run()
    assert [entry.key for entry in store.entries_of_prefix("t")] == [other.entry.key]
    store.close()


def test_a_killed_repair_is_begun_anew_by_the_next_start(bench: Bench) -> None:
    crashed = FaultFiles()
    store: Store | None = _lost(bench, crashed)
    assert store is not None
    store.repair.run(0.0)
    end_process(store, crashed)
    store = None
    again = bench.open(repairs_later=True)
    assert again.repair.is_open
    again.repair.run()
    assert again.index.has_blob(sha256(BODY))
    check_accounts(bench, again)
    again.close()
    assert not bench.open(repairs_later=True).repair.is_open


def test_a_repair_that_a_stop_interrupts_is_begun_anew_by_the_next_start(bench: Bench) -> None:
    _lost(bench).close()
    files = FaultFiles()
    files.boot = "boot-2"  # clean as it is, what was to be done is still to be done
    again = bench.open(files, repairs_later=True)
    assert again.repair.is_open
    assert again.repair.run() is False
    check_accounts(bench, again)
    again.close()


def test_a_disk_that_fails_the_repair_is_told_and_the_next_turn_begins_anew(bench: Bench) -> None:
    files = FaultFiles()
    store = _lost(bench, files)
    failed = 0
    for call in range(1, 100):
        files.fail_at(call, errno.EIO)
        try:
            is_open = store.repair.run()
        except StoreError:
            failed += 1
            assert store.repair.is_open
            continue
        finally:
            files.heal()
        if not is_open:
            break
    assert failed > 0
    store.repair.run()
    check_accounts(bench, store)
    store.close()


def test_many_files_take_many_small_commits(wide: Bench) -> None:
    store = wide.open()
    contents = {f"crates:/{n}": b"%d" % n for n in range(MANY)}
    store.put_small([(entry_of(key, body), body) for key, body in contents.items()])
    store.close()
    os.unlink(wide.layout.index)
    store = wide.open(repairs_later=True)
    turns = 0
    while store.repair.run(0.0):
        turns += 1
    assert turns >= 3
    assert wide.log.names()[-2:] == ["index-repair-begun", "index-rescanned"]
    assert wide.log.events[-1][1]["blobs"] == MANY
    check_accounts(wide, store)
    store.close()


def test_progress_is_told_while_there_is_some(bench: Bench) -> None:
    store = _lost(bench)
    before = store.repair.progress()
    assert before is not None
    assert (before.need, before.blobs_found) == ("rescan", 0)
    store.repair.run(0.0)
    meanwhile = store.repair.progress()
    assert meanwhile is not None
    assert (meanwhile.step, meanwhile.entries_found) == ("heads", 1)
    store.repair.run()
    assert store.repair.progress() is None
    assert "2 blobs" in repr(store.repair)
    store.close()


@pytest.mark.parametrize("repairs_later", [False, True])
def test_after_a_power_cut_rows_without_a_file_go(bench: Bench, repairs_later: bool) -> None:
    store = _after_a_power_cut(bench, lambda: os.unlink(bench.blob(BODY)))
    assert store.lookup("crates:/a") is not None  # a worker finds no file: a miss
    store.repair.run()
    assert store.lookup("crates:/a") is None
    assert store.lookup(KEY) is not None
    check_accounts(bench, store)
    if repairs_later:
        store.close()
    else:
        end_process(store, FaultFiles())


def test_after_a_power_cut_a_file_of_another_length_is_condemned(bench: Bench) -> None:
    store = _after_a_power_cut(bench, lambda: os.truncate(bench.blob(BODY), 100))
    store.repair.run()
    assert store.lookup("crates:/a") is None
    assert len(os.listdir(bench.layout.quarantine)) == 2
    check_accounts(bench, store)
    store.close()


def test_after_a_power_cut_a_damaged_index_is_found_and_made_again(wide: Bench) -> None:
    def harm() -> None:
        size = os.path.getsize(wide.layout.index)
        with open(wide.layout.index, "r+b") as file:  # a page that no start reads
            file.seek(size - 4096)
            file.write(b"\xff" * 4096)

    crashed = FaultFiles()
    store: Store | None = wide.open(crashed)
    assert store is not None
    publish(store, "crates:/a", BODY)
    put(store, KEY, LINES, proof="parsed")
    many = {f"crates:/{n}": b"%d" % n for n in range(MANY)}
    store.put_small([(entry_of(key, body), body) for key, body in many.items()])
    store.index._writer.wal_checkpoint(mode=3)  # TRUNCATE: what is damaged is what is read
    end_process(store, crashed)
    store = None
    harm()
    files = FaultFiles()
    files.boot = "boot-2"
    again = wide.open(files, repairs_later=True)
    again.repair.run()
    assert "index-damaged" in wide.log.names()
    assert again.lookup(KEY) is not None
    assert again.adopt(sha256(BODY), entry_of("crates:/a", BODY)) is not None
    check_accounts(wide, again)
    again.close()


def test_damage_met_while_running_begins_a_repair_and_answers_meanwhile(bench: Bench) -> None:
    store = bench.open(repairs_later=True)
    publish(store, "crates:/a", BODY)
    put(store, KEY, LINES, proof="parsed")
    with store._lock:
        store._catalog.rebuild()
    assert store.repair.progress() is not None
    assert store.lookup(KEY) is not None
    assert store.adopt(sha256(BODY), entry_of("crates:/a", BODY)) is not None
    store.repair.run()
    check_accounts(bench, store)
    store.close()


def test_a_rebuild_that_the_disk_fails_is_begun_anew_by_the_next_change(bench: Bench) -> None:
    files = FaultFiles()
    store = bench.open(files, repairs_later=True)
    publish(store, "crates:/a", BODY)
    put(store, KEY, LINES, proof="parsed")
    failed = 0
    for call in range(1, 100):
        files.fail_at(call, errno.EIO)
        try:
            with store._lock:
                store._catalog.rebuild()
        except StoreError:
            failed += 1
        finally:
            files.heal()
        if not files.fired:
            break
        store.touch([])
        assert store.lookup(KEY) is not None
        store.repair.run()
        check_accounts(bench, store)
    assert failed > 0
    store.close()


def test_an_index_made_anew_without_the_note_of_its_repair_is_made_once_more(bench: Bench) -> None:
    """The database fails at that very commit: else nobody would look for the blobs."""
    store = bench.open(repairs_later=True)
    publish(store, "crates:/a", BODY)
    begin, refused = store._catalog.on_rebuilt, StoreError("index.db", "disk I/O error")

    def refuse() -> None:
        store._catalog.on_rebuilt = begin
        raise refused

    store._catalog.on_rebuilt = refuse
    with store._lock, pytest.raises(StoreError, match="disk I/O error"):
        store._catalog.rebuild()
    assert "index-repair-begun" not in bench.log.names()
    store.touch([])
    assert "index-repair-begun" in bench.log.names()
    store.repair.run()
    check_accounts(bench, store)
    store.close()


def test_a_power_cut_after_a_start_finds_no_word_of_a_clean_close(bench: Bench) -> None:
    """Without the word that this boot has begun, what came since would be there uncounted."""
    _filled(bench)
    files = FaultFiles()
    with synced_copies(bench.layout.index):
        store = bench.open(files)
        publish(store, "crates:/b", NEWER)
        end_process(store, files)
        del store
        gc.collect()
    assert cut(bench.layout.index) > 0
    other = FaultFiles()
    other.boot = "boot-2"
    again = bench.open(other)
    check_accounts(bench, again)
    again.close()


def test_a_rebuild_overtakes_the_repair_that_runs(bench: Bench) -> None:
    store = _lost(bench)
    store.repair.run(0.0)
    with store._lock:
        store._catalog.rebuild()
    store.repair.run()
    assert bench.log.names().count("index-rescanned") == 1
    assert store.index.has_blob(sha256(BODY))
    check_accounts(bench, store)
    store.close()


def test_an_empty_store_needs_no_repair(bench: Bench) -> None:
    store = bench.open(repairs_later=True)
    assert not store.repair.is_open
    assert not store.has_objects
    assert store.repair.run() is False
    assert store.index.fact("repair") == Need.NOTHING.value
    store.close()


def test_a_purge_knows_the_keys_that_the_rescan_has_not_come_to(bench: Bench) -> None:
    store = _lost(bench)
    wish = PurgeWish(names=((KEY,),), prefixes=())
    assert Purge(store.purger, wish).carry_out(lambda _: None).keys == 1
    store.repair.run()
    assert store.lookup(KEY) is None
    check_accounts(bench, store)
    store.close()


def test_nothing_is_collected_before_it_is_known_what_has_no_name(bench: Bench) -> None:
    store = _lost(bench)
    collection = Gc(store.purger, store.quarantined, bench.clock, None)
    with pytest.raises(StoreError, match=r"is being repaired.*index-rescanned"):
        collection.carry_out(lambda _: None)
    store.repair.run()
    assert collection.carry_out(lambda _: None).unnamed_blobs == 0  # nobody has asked for it yet
    assert store.adopt(sha256(BODY), entry_of("crates:/a", BODY)) is not None
    bench.clock.advance(60)  # it lingers
    store.withdraw(["crates:/a"])
    assert collection.carry_out(lambda _: None).unnamed_blobs == 1
    check_accounts(bench, store)
    store.close()


def test_a_generation_of_equal_files_is_counted_once(bench: Bench) -> None:
    store = bench.open()
    names = ("t", "t.sha256", "t.asc")
    store.put_small([(entry_of(name, b"same", proof="generation"), b"same") for name in names])
    store.close()
    os.unlink(bench.layout.index)
    store = bench.open()
    assert store.used_bytes == footprint(4)
    check_accounts(bench, store)
    store.close()


def test_a_file_in_the_place_of_a_directory_does_not_stop_the_repair(bench: Bench) -> None:
    store = _lost(bench)
    outer = os.path.dirname(os.path.dirname(bench.blob(BODY)))
    with open(f"{outer}/zz", "wb"):
        pass
    store.repair.run()
    assert not store.repair.is_open
    os.unlink(f"{outer}/zz")
    check_accounts(bench, store)
    store.close()

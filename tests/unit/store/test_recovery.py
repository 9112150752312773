"""Opening a store: ownership, format, a lost or damaged index, what a crash left."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from mirror.errors import StoreError
from mirror.store.budget import footprint
from mirror.store.entry import Entry, former_key
from mirror.store.files import RealFiles
from mirror.store.recovery import boot_id
from mirror.store.state import StateDatabase
from mirror.store.store import Store
from tests.faults.files import FaultFiles
from tests.unit.store.bench import Bench, contents_of, end_process, entry_of, publish, put, sha256

BODY = b"crate" * 500
LINES = b'{"name":"serde"}\n'


def _remove(path: str) -> None:
    os.unlink(path)


def _garble_head(path: str) -> None:
    with open(path, "r+b") as file:
        file.write(os.urandom(200))


def _empty(path: str) -> None:
    os.truncate(path, 0)


def _halve(path: str) -> None:
    os.truncate(path, os.path.getsize(path) // 2)


def _zero_the_rest(path: str) -> None:
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(bytes(os.path.getsize(path) - 4096))


def _replace(path: str) -> None:
    os.unlink(path)
    with open(path, "wb") as file:
        file.write(b"not a database at all" * 300)


def _filled(bench: Bench) -> None:
    store = bench.open()
    publish(store, "crates:/a", BODY)
    put(store, "index:/se/rd/serde", LINES, proof="parsed")
    store.close()


@pytest.mark.parametrize(
    "damage", [_remove, _garble_head, _empty, _halve, _zero_the_rest, _replace]
)
@pytest.mark.parametrize("boot", ["boot-1", "boot-2"])
def test_a_lost_index_costs_a_rescan_not_a_download(
    bench: Bench, damage: Callable[[str], None], boot: str
) -> None:
    _filled(bench)
    damage(bench.layout.index)
    files = FaultFiles()
    files.boot = boot
    before = bench.page.epoch
    store = bench.open(files)
    assert bench.page.epoch > before
    assert store.used_bytes == footprint(len(BODY)) + footprint(len(LINES))
    assert store.lookup("crates:/a") is None
    assert store.adopt(sha256(BODY), entry_of("crates:/a", BODY)) is not None
    found = store.lookup("index:/se/rd/serde")
    assert found is not None
    assert found.attestation is not None
    assert found.attestation.inode == 0  # hashed when it is first asked for
    assert store.attest(found) is not None
    assert contents_of(bench.reader(), ["crates:/a", "index:/se/rd/serde"]) == {
        "crates:/a": BODY,
        "index:/se/rd/serde": LINES,
    }
    store.close()


def test_damage_found_while_running_is_repaired_by_the_write_that_meets_it(bench: Bench) -> None:
    store = bench.open()
    publish(store, "crates:/a", BODY)
    store.vouch(entry_of("m", b"m"), ((f"/dist/{i}", sha256(b"x")) for i in range(5000)))
    store.index._writer.wal_checkpoint()
    with open(bench.layout.index, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(os.path.getsize(bench.layout.index) - 4096))
    store.index._writer.release_memory()
    put(store, "index:/se/rd/serde", LINES, proof="parsed")
    assert {"index-damaged", "index-rescanned"} <= set(bench.log.names())
    assert store.adopt(sha256(BODY), entry_of("crates:/a", BODY)) is not None
    assert store.used_bytes == footprint(len(BODY)) + footprint(len(LINES))
    store.close()


def test_a_blob_whose_bytes_changed_while_the_index_was_lost_is_not_adopted(bench: Bench) -> None:
    _filled(bench)
    os.unlink(bench.layout.index)
    with open(bench.blob(BODY), "r+b") as file:
        file.write(b"X")
    store = bench.open()
    assert store.adopt(sha256(BODY), entry_of("crates:/a", BODY)) is None
    assert store.used_bytes == footprint(len(LINES))
    store.close()


def test_a_head_whose_blob_is_gone_or_of_another_size_names_nothing(bench: Bench) -> None:
    _filled(bench)
    os.unlink(bench.layout.index)
    os.truncate(bench.blob(LINES), 3)
    store = bench.open()
    assert store.lookup("index:/se/rd/serde") is None
    store.close()


def test_a_withdrawn_object_does_not_come_back_with_a_rescan(bench: Bench) -> None:
    store = bench.open()
    put(store, "index:/se/rd/serde", LINES, proof="parsed")
    store.withdraw(["index:/se/rd/serde"])
    store.close()
    os.unlink(bench.layout.index)
    again = bench.open()
    assert again.lookup("index:/se/rd/serde") is None
    again.close()


def test_half_a_generation_in_heads_comes_back_not_at_all(bench: Bench) -> None:
    store = bench.open()
    names = ("t", "t.sha256", "t.asc")
    items: list[tuple[Entry, bytes]] = [
        (entry_of(name, name.encode(), proof="generation"), name.encode()) for name in names
    ]
    store.put_small(items)
    store.close()
    os.unlink(bench.layout.index)
    os.unlink(bench.layout.head("t.asc"))
    again = bench.open()
    assert [again.lookup(name) for name in names] == [None, None, None]
    again.close()


def test_stray_files_among_blobs_and_heads_are_ignored(bench: Bench) -> None:
    _filled(bench)
    os.unlink(bench.layout.index)
    for path in ("blobs/stray", "blobs/ab/cd/nothex", "heads/zz/x.json", "heads/zz/torn.json"):
        where = f"{bench.layout.root}/{path}"
        os.makedirs(os.path.dirname(where), exist_ok=True)
        with open(where, "wb") as file:
            file.write(b'{"version":1,')
    misplaced = bench.layout.blob(sha256(b"misplaced"))
    with open(f"{bench.layout.blobs}/ab/cd/{os.path.basename(misplaced)}", "wb") as file:
        file.write(b"misplaced")
    store = bench.open()
    assert store.used_bytes == footprint(len(BODY)) + footprint(len(LINES))
    store.close()


def test_a_log_without_its_database_is_not_believed(bench: Bench) -> None:
    files = FaultFiles()
    store = bench.open(files)
    put(store, "index:/gone", b"body", proof="parsed")
    os.unlink(bench.layout.index)
    os.unlink(bench.layout.head("index:/gone"))
    files.bury()
    again = bench.open()
    assert again.lookup("index:/gone") is None
    again.close()


def test_after_a_clean_close_and_another_boot_nothing_is_scanned(bench: Bench) -> None:
    _filled(bench)
    files = FaultFiles()
    files.boot = "boot-2"
    store = bench.open(files)
    assert "index-rescanned" not in bench.log.names()
    assert store.lookup("crates:/a") is not None
    store.close()


def test_after_another_boot_files_without_rows_are_found(bench: Bench) -> None:
    crashed = FaultFiles()
    store: Store | None = bench.open(crashed)
    assert store is not None
    publish(store, "crates:/a", BODY)
    path = bench.layout.blob(sha256(b"orphan"))
    os.makedirs(os.path.dirname(path))
    with open(path, "wb") as file:
        file.write(b"orphan")
    end_process(store, crashed)
    store = None
    same_boot = FaultFiles()
    store = bench.open(same_boot)
    assert not store.index.has_blob(sha256(b"orphan"))
    end_process(store, same_boot)
    store = None
    files = FaultFiles()
    files.boot = "boot-2"
    again = bench.open(files)
    assert again.index.has_blob(sha256(b"orphan"))
    assert again.lookup("crates:/a") is not None
    again.close()


def test_a_store_has_one_owner_and_the_error_names_the_lock(bench: Bench) -> None:
    store = bench.open()
    with pytest.raises(StoreError, match="another running mirror owns it") as caught:
        bench.open()
    assert caught.value.source == bench.layout.lock
    store.close()
    bench.open().close()


def test_a_state_directory_has_one_owner(bench: Bench) -> None:
    store = bench.open()
    bench.layout = type(bench.layout)(root=f"{bench.root}/other")
    bench.store_config = type(bench.store_config)(path=bench.layout.root)
    with pytest.raises(StoreError, match="another running mirror owns it") as caught:
        bench.open()
    assert caught.value.source == f"{bench.state_config.path}/state.lock"
    store.close()


def test_a_store_of_another_format_is_refused_and_left_alone(bench: Bench) -> None:
    _filled(bench)
    with open(bench.layout.format, "w") as file:
        file.write("rust-mirror store 2\n")
    with pytest.raises(StoreError, match="states 'rust-mirror store 2'"):
        bench.open()
    assert os.path.exists(bench.layout.index)


def test_a_damaged_state_database_says_what_to_do_and_stops_no_hit(bench: Bench) -> None:
    path = f"{bench.state_config.path}/state.db"
    StateDatabase.open(path).close()
    with open(path, "r+b") as file:
        file.write(b"x" * 4096)
    with pytest.raises(StoreError, match=r"state\.db: damaged database.*restore it from a backup"):
        StateDatabase.open(path)
    assert os.path.exists(path)
    _filled(bench)


def test_channels_recorded_in_one_call_are_generations_of_their_own(bench: Bench) -> None:
    """A group commit holds several; when one of them moves on, a rescan still knows the other."""
    store = bench.open()
    files = {name: name.encode() for name in ("a", "a.sha256", "b", "b.sha256")}
    items = [(entry_of(key, body, proof="generation"), body) for key, body in files.items()]
    store.put_small(items)
    moved = {"a": b"new a", "a.sha256": b"new a.sha256"}
    store.put_small([(entry_of(k, body, proof="generation"), body) for k, body in moved.items()])
    store.close()
    os.unlink(bench.layout.index)
    again = bench.open()
    assert {entry.key for entry in again.entries_of_prefix("")} == files.keys()
    again.close()


def test_current_and_former_generation_come_back_whole_and_apart(bench: Bench) -> None:
    """One call records both; later the former alone loses a file, and comes back not at all."""
    store = bench.open()
    current = {name: name.encode() for name in ("m.toml", "m.toml.sha256", "m.toml.asc")}
    former = {former_key(name): b"former " + body for name, body in current.items()}
    files = {**current, **former}
    store.put_small(
        [(entry_of(key, body, proof="signed-generation"), body) for key, body in files.items()]
    )
    store.close()
    os.unlink(bench.layout.index)
    store = bench.open()
    assert {entry.key for entry in store.entries_of_prefix("")} == files.keys()
    store.close()
    os.unlink(bench.layout.index)
    os.unlink(bench.layout.head(former_key("m.toml.asc")))
    store = bench.open()
    assert {entry.key for entry in store.entries_of_prefix("")} == current.keys()
    store.close()


def test_missing_directories_are_made_with_their_modes(bench: Bench) -> None:
    bench.store_config = type(bench.store_config)(path=f"{bench.root}/a/b/store")
    bench.state_config = type(bench.state_config)(path=f"{bench.root}/c/state")
    store = bench.open()
    assert os.stat(f"{bench.root}/a/b/store").st_mode & 0o777 == 0o755
    assert os.stat(f"{bench.root}/c/state").st_mode & 0o777 == 0o700
    store.close()


def test_the_kernel_names_its_boot() -> None:
    assert len(boot_id(RealFiles())) == 36


def test_a_kernel_that_does_not_say_is_no_error() -> None:
    class Silent(RealFiles):
        def open_read(self, path: str) -> int:
            raise FileNotFoundError(path)

    assert boot_id(Silent()) == ""

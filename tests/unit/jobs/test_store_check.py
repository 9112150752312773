"""Everything on disk is judged once, and what moves meanwhile is looked at again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from mirror.jobs.chain import Grade
from tests.unit.jobs.shelf_bench import CRATE, INDEX, Quiet, ShelfBench, index_of
from tests.unit.store.bench import absence_of, sha256

GOOD = b"good bytes"
KEY = "releases:/manifests.txt"


class Meddler(Quiet):
    """A Watch in whose calls the running mirror does something."""

    def __init__(self, deed: Callable[[], object]) -> None:
        super().__init__()
        self._deed: Callable[[], object] | None = deed

    def read(self, size_bytes: int) -> None:
        super().read(size_bytes)
        deed, self._deed = self._deed, None
        if deed is not None:
            deed()


def spoil(shelf: ShelfBench, content: bytes, *, unseen: bool = False) -> str:
    """Change one byte; `unseen`: the index is told of the file's new identity, as rot looks."""
    path = shelf.bench.blob(content)
    with open(path, "r+b") as file:
        file.write(b"!")
    if unseen:
        found = os.lstat(path)
        with shelf.store.index.changing() as changes:
            changes._run(
                "UPDATE blob SET inode = ?, ctime_ns = ? WHERE digest = ?",
                found.st_ino, found.st_ctime_ns, sha256(content),
            )  # fmt: skip
    return path


def test_each_file_is_read_once_however_many_keys_name_it(shelf: ShelfBench) -> None:
    for number in range(5):
        shelf.put(f"releases:/rustup/archive/1.2{number}.0/x86_64/rustup-init", GOOD)
    shelf.store.record([absence_of("releases:/dist/2026-03-05/none.tar.xz")])
    watch = Quiet()
    report = shelf.report(watch)
    assert (report.files, report.file_bytes, report.absences) == (1, len(GOOD), 1)
    assert (watch.read_bytes, watch.files, watch.entries) == (len(GOOD), 1, 6)
    assert watch.extent is not None
    assert (watch.extent.entries, watch.extent.blob_bytes) == (6, len(GOOD))
    assert report.classes["rustup"].objects == 5


def test_every_key_of_a_damaged_file_is_told(shelf: ShelfBench) -> None:
    keys = ["releases:/manifests.txt", "releases:/rustup/rustup-init.sh"]
    for key in keys:
        shelf.put(key, GOOD)
    path = spoil(shelf, GOOD)
    report = shelf.report()
    assert [(found.key, found.path) for found in report.wrong] == [(key, path) for key in keys]
    assert (report.classes["release"].wrong, report.classes["rustup"].wrong) == (1, 1)


def test_advice_tells_whether_the_mirror_notices_by_itself(shelf: ShelfBench) -> None:
    shelf.put(KEY, GOOD)
    path = spoil(shelf, GOOD)
    assert shelf.report().wrong[0].advice.startswith("nothing to do: the mirror does not serve it")
    spoil(shelf, GOOD, unseen=True)
    assert f"`touch {path}`" in shelf.report().wrong[0].advice
    assert "WRONG" not in shelf.chain(KEY).steps[0].text
    assert shelf.chain(KEY).grade is Grade.WRONG


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_that_may_not_be_read_is_not_called_rot(shelf: ShelfBench) -> None:
    shelf.put(KEY, GOOD)
    os.chmod(shelf.bench.blob(GOOD), 0)
    (found,) = shelf.report().wrong
    assert "give it back to the mirror's user" in found.advice


def test_file_evicted_while_it_is_looked_for_is_no_error(shelf: ShelfBench) -> None:
    """The directory entry goes between the page of the index and the look at the file."""
    contents = [bytes([65 + number]) * 10 for number in range(2)]
    for number, content in enumerate(contents):
        shelf.put(f"releases:/rustup/archive/1.2{number}.0/x86_64/rustup-init", content)
    last = max(sha256(content) for content in contents)
    victim = next(content for content in contents if sha256(content) == last)

    def evict() -> None:
        shelf.store._catalog.drop_blob(last)
        os.unlink(shelf.bench.blob(victim))

    watch = Meddler(evict)
    report = shelf.report(watch)
    assert report.is_good
    assert report.unbacked == 0


def test_file_replaced_by_good_bytes_meanwhile_is_good(shelf: ShelfBench) -> None:
    shelf.put(KEY, GOOD)
    path = spoil(shelf, GOOD)

    def repair() -> None:
        with open(path + ".new", "wb") as file:
            file.write(GOOD)
        os.rename(path + ".new", path)

    assert shelf.report(Meddler(repair)).is_good


def test_missing_file_is_wrong_and_needs_nobody(shelf: ShelfBench) -> None:
    shelf.put(KEY, GOOD)
    os.unlink(shelf.bench.blob(GOOD))
    (found,) = shelf.report().wrong
    assert (found.got, found.expected) == ("no file", sha256(GOOD).hex())
    assert found.advice.startswith("nothing to do")


def test_link_in_the_place_of_a_file_is_not_followed(shelf: ShelfBench) -> None:
    shelf.put(KEY, GOOD)
    path = shelf.bench.blob(GOOD)
    os.rename(path, path + ".aside")
    os.symlink(path + ".aside", path)
    assert shelf.report().wrong[0].reason == "the file cannot be read"


def test_damaged_file_that_no_key_names_is_told(shelf: ShelfBench) -> None:
    shelf.put(KEY, GOOD)
    shelf.put(KEY, b"another")
    path = spoil(shelf, GOOD)
    (found,) = shelf.report().wrong
    assert (found.key, found.path) == ("", path)


def test_entry_without_a_row_for_its_file_is_a_miss_not_an_error(shelf: ShelfBench) -> None:
    shelf.put(KEY, GOOD)
    with shelf.store.index.changing() as changes:
        changes._run("DELETE FROM blob")
    report = shelf.report()
    assert (report.is_good, report.unbacked, report.strays) == (True, 1, 1)


def test_files_that_no_row_knows_are_told_up_to_a_bound(shelf: ShelfBench) -> None:
    shelf.put(KEY, GOOD)
    folder = os.path.dirname(shelf.bench.blob(GOOD))
    for number in range(25):
        with open(f"{folder}/stray-{number}", "wb"):
            pass
    report = shelf.report()
    assert (report.strays, len(report.stray_paths), report.is_good) == (25, 20, True)


def test_crate_that_is_withdrawn_while_it_is_judged_is_no_error(shelf: ShelfBench) -> None:
    """The index file is taken over first, the crate withdrawn next; both between two looks."""
    shelf.put(INDEX, index_of(v1_0_0=sha256(GOOD)))
    shelf.put(CRATE, GOOD, proof="index")

    def change() -> None:
        shelf.put(INDEX, index_of(v1_0_1=sha256(GOOD)))
        shelf.store.withdraw([CRATE])

    assert shelf.report(Meddler(change)).is_good


@pytest.mark.parametrize("pages", [1, 3])
def test_more_entries_than_a_page_are_all_judged(shelf: ShelfBench, pages: int) -> None:
    count = pages * 500 + 1
    entry = shelf.put(KEY, GOOD)
    shelf.store.record(
        [
            replace(entry, key=f"releases:/rustup/archive/1.{n}.0/x86_64/rustup-init")
            for n in range(count)
        ]
    )
    report = shelf.report()
    assert report.classes["rustup"].objects == count


def test_remembered_absence_is_no_content(shelf: ShelfBench) -> None:
    shelf.store.record([absence_of(KEY, fresh_until=float("inf"))])
    chain = shelf.chain(KEY)
    assert (chain.grade, chain.is_sound) == (Grade.NOTE, False)
    assert "upstream had no such object, last asked on 2023-11-14" in chain.steps[0].text

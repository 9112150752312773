"""The shared page: one layout for every process, words that arrive, foreign files refused."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

import pytest

from mirror.errors import StoreError
from mirror.store.page import KEEPER_SLOT, MAX_SLOTS, SEQUENCE_WORDS, SharedPage


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "shared.page")


def test_what_one_mapping_writes_another_reads(path: str) -> None:
    made = SharedPage.create(path, 4)
    other = SharedPage.attach(path)
    made.beat(2, 123_456)
    made.set_pid(3, 77)
    made.saw_epoch(0, made.bump_epoch())
    made.beat(KEEPER_SLOT, 5)
    assert made.index_replaced() == other.index_generation == 1
    assert (other.slots, other.heartbeat(2), other.pid(3)) == (4, 123_456, 77)
    assert other.seen_epoch(0) == other.epoch == 2
    assert other.heartbeat(KEEPER_SLOT) == 5
    assert [other.heartbeat(slot) for slot in (0, 1, 3)] == [0, 0, 0]
    made.close()
    other.close()


def test_records_do_not_overlap(path: str) -> None:
    page = SharedPage.create(path, 3)
    slots = [KEEPER_SLOT, 0, 1, 2]
    for slot in slots:
        page.set_pid(slot, 100 + slot)
        page.beat(slot, 200 + slot)
        page.saw_epoch(slot, 300 + slot)
        for _ in range(slot + 2):
            page.count_restart(slot)
    assert [
        (page.pid(s), page.heartbeat(s), page.seen_epoch(s), page.restarts(s)) for s in slots
    ] == [(100 + s, 200 + s, 300 + s, s + 2) for s in slots]
    words = page.sequence_words()
    assert len(words) == SEQUENCE_WORDS
    assert not any(words)
    words.release()
    page.close()


def test_a_process_in_a_slot_starts_without_beat_and_epoch(path: str) -> None:
    page = SharedPage.create(path, 1)
    page.beat(0, 9)
    page.saw_epoch(0, 9)
    page.count_restart(0)
    page.set_pid(0, 5)
    assert (page.heartbeat(0), page.seen_epoch(0), page.restarts(0)) == (0, 0, 1)
    page.close()


@pytest.mark.parametrize("slot", [4, -2, 1000])
def test_a_slot_that_is_not_there_is_an_error(path: str, slot: int) -> None:
    page = SharedPage.create(path, 4)
    with pytest.raises(IndexError):
        page.beat(slot, 1)
    page.close()


@pytest.mark.parametrize("slots", [0, MAX_SLOTS + 1])
def test_an_impossible_number_of_slots_is_misuse(path: str, slots: int) -> None:
    with pytest.raises(ValueError, match="slots"):
        SharedPage.create(path, slots)


def test_a_fresh_page_is_another_file_so_that_orphans_cannot_write_into_it(path: str) -> None:
    orphan = SharedPage.create(path, 2)
    orphan.bump_epoch()
    fresh = SharedPage.create(path, 2)
    orphan.bump_epoch()
    assert (fresh.epoch, orphan.epoch) == (1, 3)
    orphan.close()
    fresh.close()


def test_the_pages_blocks_are_allocated_so_that_a_full_disk_cannot_kill_a_worker(
    path: str,
) -> None:
    page = SharedPage.create(path, 8)
    found = os.stat(path)
    assert found.st_blocks * 512 >= found.st_size
    page.close()


@pytest.mark.parametrize(
    "content",
    [b"", b"x" * 100, b"\0" * mmap.PAGESIZE, b"rmirpage" + b"\x07" + b"\0" * 4087],
    ids=["empty", "odd-size", "zeros", "other-version"],
)
def test_a_foreign_file_is_refused(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)
    with pytest.raises(StoreError, match="not a shared page"):
        SharedPage.attach(path)


def test_a_cut_page_is_refused_instead_of_raising_sigbus_later(path: str) -> None:
    SharedPage.create(path, 8).close()
    os.truncate(path, mmap.PAGESIZE)
    with pytest.raises(StoreError):
        SharedPage.attach(path)


def test_an_absent_page_and_an_absent_directory_are_store_errors(path: str) -> None:
    with pytest.raises(StoreError):
        SharedPage.attach(path)
    with pytest.raises(StoreError) as caught:
        SharedPage.create(f"{path}/nowhere/page", 1)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOENT


def test_a_failed_creation_leaves_no_temp(tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    with pytest.raises(StoreError):
        SharedPage.create(str(tmp_path / "page"), 1)
    assert os.listdir(tmp_path) == ["page"]


def test_a_forked_child_shares_the_page(path: str) -> None:
    page = SharedPage.create(path, 1)
    pid = os.fork()
    if pid == 0:
        page.beat(0, 42)
        os._exit(0)
    os.waitpid(pid, 0)
    assert page.heartbeat(0) == 42
    assert repr(page) == "<SharedPage 1 slots, epoch 1>"
    page.close()

"""Every file-system call of every operation fails once: nothing half-done stays behind."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from mirror.errors import StoreError
from mirror.store.store import Store
from tests.faults.files import DeadProcessError, FaultFiles, PowerCutFiles
from tests.unit.store.bench import Bench, contents_of, end_process, put
from tests.unit.store.steps import (
    STEPS,
    Step,
    check_accounts,
    check_blobs,
    check_state,
    prepare,
)

_MOST_CALLS = 400
# What a store does most; the others are close to it, and `make check-full` runs all.
_IN_QUICK = ("publish",)
EACH_STEP = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in _IN_QUICK else [pytest.mark.full]) for name in STEPS],
)
_BUDGET_BYTES = 256 * 1024


def _bench(root: Path, number: int) -> Bench:
    directory = root / str(number)
    directory.mkdir()
    return Bench(str(directory), budget_bytes=_BUDGET_BYTES)


def _run_failing(store: Store, step: Step) -> bool:
    """Run the step; True when it succeeded. Any error but StoreError fails the test."""
    try:
        step.run(store)
    except StoreError:
        return False
    return True


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(errno.EIO, id="EIO", marks=pytest.mark.full),
        pytest.param(errno.ENOSPC, id="ENOSPC"),
    ],
)
@EACH_STEP
def test_a_failing_call_leaves_the_old_state_or_the_new_one(
    tmp_path: Path, name: str, error: int
) -> None:
    step = STEPS[name]
    for call in range(1, _MOST_CALLS):
        bench = _bench(tmp_path, call)
        files = FaultFiles()
        store = bench.open(files)
        prepare(store)
        files.fail_at(call, error)
        succeeded = _run_failing(store, step)
        fired = files.fired
        files.heal()
        served = check_state(bench, step)
        if not succeeded:
            assert bench.temps() == []
        assert "reserved" in repr(store)
        assert " 0 reserved" in repr(store)
        if served != step.unreadable:
            assert _run_failing(store, step)
            assert dict(check_state(bench, step)) == dict(step.expected), (call, served)
        store.close()
        again = bench.open()
        check_accounts(bench, again)
        again.close()
        bench.page.close()
        if not fired:
            return
    pytest.fail("the operation has no end")


@EACH_STEP
def test_a_process_killed_at_any_call_leaves_the_old_state_or_the_new_one(
    tmp_path: Path, name: str
) -> None:
    step = STEPS[name]
    for call in range(1, _MOST_CALLS):
        bench = _bench(tmp_path, call)
        files = FaultFiles()
        store: Store | None = bench.open(files)
        assert store is not None
        prepare(store)
        files.die_at(call)
        died = _dies(store, step)
        check_state(bench, step)
        end_process(store, files)
        store = None
        again = bench.open()
        check_state(bench, step)
        check_accounts(bench, again)
        step.run(again)
        assert dict(check_state(bench, step)) == dict(step.expected)
        again.close()
        bench.page.close()
        if not died:
            return
    pytest.fail("the operation has no end")


@EACH_STEP
def test_a_power_cut_at_any_call_leaves_no_wrong_blob(tmp_path: Path, name: str) -> None:
    step = STEPS[name]
    for call in range(1, _MOST_CALLS):
        bench = _bench(tmp_path, call)
        attic = tmp_path / f"attic{call}"
        attic.mkdir()
        files = PowerCutFiles(str(attic))
        store: Store | None = bench.open(files)
        assert store is not None
        prepare(store)
        files.die_at(call)
        died = _dies(store, step)
        files.cut()
        end_process(store, files)
        store = None
        later = FaultFiles()
        later.boot = "boot-2"
        again = bench.open(later)
        check_blobs(bench)
        check_state(bench, step)
        step.run(again)
        check_state(bench, step)
        again.close()
        bench.page.close()
        if not died:
            return
    pytest.fail("the operation has no end")


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EMFILE], ids=str)
def test_a_failing_call_while_opening_is_a_store_error_and_frees_the_lock(
    tmp_path: Path, error: int
) -> None:
    for call in range(1, _MOST_CALLS):
        bench = _bench(tmp_path, call)
        files = FaultFiles()
        files.fail_at(call, error)
        try:
            store = bench.open(files)
        except StoreError:
            files.heal()
            assert files.open_files == set()
            store = bench.open(files)
        store.close()
        assert files.open_files == set()
        bench.page.close()
        if not files.fired:
            return
    pytest.fail("opening has no end")


def test_a_disk_that_fails_for_good_never_hides_what_is_stored(tmp_path: Path) -> None:
    """Read-only remount: hits go on, every change is a StoreError, and it heals."""
    bench = _bench(tmp_path, 0)
    files = FaultFiles()
    store = bench.open(files)
    prepare(store)
    for name in ("publish", "switch-generation", "replace-index-file", "quarantine"):
        files.fail_at(1, errno.EROFS, for_good=True)
        try:
            STEPS[name].run(store)
        except StoreError:
            pass
        else:
            pytest.fail("a dead disk took the change")
        files.heal()
        assert " 0 reserved" in repr(store)
        check_state(bench, STEPS[name])
    for name in ("publish", "switch-generation"):
        STEPS[name].run(store)
    store.close()


def _dies(store: Store, step: Step) -> bool:
    try:
        step.run(store)
    except DeadProcessError:
        return True
    return False


def test_directories_that_somebody_removed_are_made_again(tmp_path: Path) -> None:
    bench = Bench(str(tmp_path))
    store = bench.open()
    stored = put(store, "crates:/a", b"a")
    shutil.rmtree(os.path.dirname(os.path.dirname(store.blob_path(stored.entry.digest))))
    with pytest.raises(StoreError):
        put(store, "crates:/a", b"a")
    put(store, "crates:/a", b"a")
    assert contents_of(bench.reader(), ["crates:/a"]) == {"crates:/a": b"a"}
    store.close()
    bench.page.close()

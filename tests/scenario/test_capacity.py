"""A store without room, on disks that refuse: hits go on, misses pass through whole, one alarm."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.faults.mounts import fill_up, read_only, require_mounts, tmpfs
from tests.scenario.body_checker import BodyChecker, known, warmed
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import Client, Reply, at_once, digests, fetch
from tests.scenario.upstream_objects import Archive, fresh_archive, log_of, sha256_of, slow_archive

MIB = 1 << 20
BUDGET = 20 * MIB
SETTINGS = {
    "store.free_floor": "0",
    "store.free_inodes": "0",
    # Fifty bodies share a few places of those that pass through.
    "limits.queue_wait": "2m",
    "scrub.enabled": "false",
}


class DiskWatch:
    """Looks, as often as it can, how much of the disk a store takes."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.most_bytes = 0
        self.looks = 0

    def __enter__(self) -> DiskWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.is_set():
            self.most_bytes = max(self.most_bytes, bytes_on_disk(self._store))
            self.looks += 1
            time.sleep(0.002)  # a look costs a core; the bodies need it


def bytes_on_disk(store: Path) -> int:
    """Return what bodies, whole and in parts, and their records take."""
    return sum(
        _blocks(os.path.join(folder, name))
        for part in ("blobs", "partial", "heads")
        for folder, _, names in os.walk(store / part)
        for name in names
    )


def _blocks(path: str) -> int:
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path).st_blocks * 512
    return 0


def whole(archives: list[Archive]) -> set[tuple[int, bool, str]]:
    return {(200, True, archive.sha256) for archive in archives}


@pytest.mark.full
def test_fifty_cold_objects_at_once_never_pass_the_budget_and_all_arrive(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    archives = [fresh_archive(6 * MIB) for _ in range(50)]
    settings = {**SETTINGS, "store.budget": str(BUDGET)}
    with Edge(tmp_path, upstream, settings=settings) as edge:
        with DiskWatch(edge.store) as watch:
            replies = fetched_at_once(edge, archives)
        assert digests(replies) == whole(archives)
        passed = len(edge.named("pass-through"))
        print(f"50 whole, {passed} passed through, {watch.most_bytes} of {BUDGET} bytes at most,")
        print(f"{watch.looks} looks at the disk")
        assert passed > 0
        assert 6 * MIB < watch.most_bytes <= BUDGET
        assert watch.looks > 20
        assert edge.wrong_blobs() == []
        assert edge.own_faults() == []
        assert edge.status()["store"]["used_bytes"] <= BUDGET


def fetched_at_once(edge: Edge, archives: list[Archive]) -> list[Reply]:
    return at_once(len(archives), lambda i: fetch(edge.port, archives[i].path, keeps_content=False))


@contextlib.contextmanager
def on_tmpfs(tmp_path: Path, upstream: SimulatorProcess, size: int, **more: str) -> Iterator[Edge]:
    """Run a mirror whose store is a file system of its own."""
    require_mounts()
    root = tmp_path / "edge"
    settings = {**SETTINGS, "store.budget": "1GiB", **more}
    with tmpfs(root / "store", size), Edge(root, upstream, settings=settings) as edge:
        yield edge


def alarms(edge: Edge) -> list[str]:
    return [item["kind"] for item in edge.named("store-trouble")]


def wait_until_recovered(edge: Edge, times: int = 1) -> None:
    wait_until(lambda: len(edge.named("store-recovered")) >= times, "the store takes content again")


def is_stored(edge: Edge, archive: Archive) -> bool:
    fetch(edge.port, archive.path, keeps_content=False)
    return archive.sha256 in edge.blobs()


def begun(client: Client, archive: Archive, size: int) -> tuple[Any, bytes]:
    response = client.begin(archive.path)
    return response, response.read(size)


@pytest.mark.full
def test_a_disk_that_others_fill_under_a_body_cuts_nobody_and_recovers(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    with on_tmpfs(tmp_path, upstream, 40 * MIB) as edge:
        warm = warmed(edge, 2_000, 400_000)
        with BodyChecker(edge.port, [known(each) for each in warm], threads=1) as checker:
            slow = slow_archive(upstream, 12 * MIB, 6 * MIB)
            with Client(edge.port) as first, Client(edge.port) as second:
                response, start = begun(first, slow, 2 * MIB)
                follower, followed = begun(second, slow, MIB)
                others = fill_up(edge.store)
                assert sha256_of(start + response.read()) == slow.sha256
                assert sha256_of(followed + follower.read()) == slow.sha256
            assert alarms(edge) == ["disk-full"]
            fill_up(edge.store)  # also what the body has given back
            cold = [fresh_archive(size) for size in (3_000, 700_000, 3 * MIB) * 3]
            replies = [fetch(edge.port, each.path) for each in cold]
            assert digests(replies) == whole(cold)
            # It may have been over in between, and each is told once, whatever it meets.
            assert alarms(edge) == ["disk-full"] * (1 + len(edge.named("store-recovered")))
            assert len(alarms(edge)) <= 3
            section = edge.status()["store"]
            assert (section["is_storing"], section["trouble"]["kind"]) == (False, "disk-full")
            others.unlink()
            wait_until_recovered(edge, len(alarms(edge)))
        print(
            checker, f"{len(log_of(upstream, slow.path))} requests for the body that lost its disk"
        )
        checker.verdict()
        assert checker.failed_total == 0
        assert edge.status()["store"]["is_storing"] is True
        stored = fresh_archive(MIB)
        wait_until(lambda: is_stored(edge, stored), "it is stored again")
        assert edge.wrong_blobs() == []
        assert list((edge.store / "partial").iterdir()) == []
        assert edge.own_faults() == []


@pytest.mark.full
def test_a_store_that_becomes_read_only_goes_on_serving(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    with on_tmpfs(tmp_path, upstream, 40 * MIB) as edge:
        warm = warmed(edge, 2_000, 400_000)
        with read_only(edge.store):
            cold = [fresh_archive(size) for size in (3_000, 700_000, 2 * MIB) * 2]
            replies = [fetch(edge.port, each.path) for each in [*cold, *warm]]
            assert digests(replies) == whole([*cold, *warm])
            assert alarms(edge) == ["read-only"]
        wait_until_recovered(edge)
        stored = fresh_archive(MIB)
        wait_until(lambda: is_stored(edge, stored), "it is stored again")
        assert alarms(edge) == ["read-only"]
        assert edge.own_faults() == []


@pytest.mark.full
def test_a_floor_is_kept_free_and_a_disk_below_it_stores_nothing(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    floor = 16 * MIB
    more = {"store.free_floor": str(floor)}
    with on_tmpfs(tmp_path, upstream, 40 * MIB, **more) as edge:
        others = fill_up(edge.store, leave_bytes=floor // 2)
        late = [fresh_archive(size) for size in (3_000, 2 * MIB) * 4]
        replies = [fetch(edge.port, each.path, keeps_content=False) for each in late]
        assert digests(replies) == whole(late)
        assert alarms(edge) == ["free-floor"]
        assert edge.blobs() == {}
        others.unlink()
        wait_until_recovered(edge)
        cold = [fresh_archive(5 * MIB) for _ in range(8)]  # as much as the disk has
        replies = [fetch(edge.port, each.path, keeps_content=False) for each in cold]
        assert digests(replies) == whole(cold)
        room = os.statvfs(edge.store)
        assert room.f_bavail * room.f_frsize >= floor
        assert edge.blobs()
        assert alarms(edge) == ["free-floor"]
        assert edge.own_faults() == []


@contextlib.contextmanager
def limited(pid: int, which: int, soft: int) -> Iterator[None]:
    """Let a process have less of something for the block."""
    before = resource.prlimit(pid, which)
    resource.prlimit(pid, which, (soft, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, which, before)


@pytest.mark.full
def test_files_that_may_not_grow_so_long_cut_nobody(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    with Edge(tmp_path, upstream, settings=SETTINGS) as edge:
        warm = warmed(edge, 400_000)
        slow = slow_archive(upstream, 8 * MIB, 6 * MIB)
        with Client(edge.port) as client:
            response, start = begun(client, slow, MIB)
            with limited(edge.pids()["keeper"], resource.RLIMIT_FSIZE, 4 * MIB):
                assert sha256_of(start + response.read()) == slow.sha256
                replies = [fetch(edge.port, each.path) for each in [*warm, fresh_archive(6 * MIB)]]
                assert all(reply.is_complete and reply.status == 200 for reply in replies)
        assert set(alarms(edge)) == {"disk-full"}
        wait_until(lambda: is_stored(edge, slow), "it is stored after all")
        assert edge.own_faults() == []


def open_files(pid: int) -> int:
    return max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))


def cpu_s(pid: int) -> float:
    cells = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(cells[11]) + int(cells[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.full
def test_a_keeper_without_descriptors_leaves_hits_alone_and_recovers(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    with Edge(tmp_path, upstream, settings=SETTINGS) as edge:
        warm = warmed(edge, 2_000, 400_000)
        keeper = edge.pids()["keeper"]
        cold = [fresh_archive(2 * MIB) for _ in range(4)]
        with limited(keeper, resource.RLIMIT_NOFILE, open_files(keeper) + 1):
            hits = [fetch(edge.port, each.path) for each in warm * 5]
            assert digests(hits) == whole(warm)
            # It has none for upstream either: a miss may fail, and is never cut short or wrong.
            misses = fetched_at_once(edge, cold)
            for archive, reply in zip(cold, misses, strict=True):
                assert not known(archive).is_lied_about(reply)
        assert any(reply.status != 200 for reply in misses) or alarms(edge)
        assert edge.pids()["keeper"] == keeper

        def is_whole(archive: Archive) -> bool:
            return known(archive).is_told_right(fetch(edge.port, archive.path))

        for archive in cold:
            wait_until(partial(is_whole, archive), "misses are answered again")
        wait_until(lambda: is_stored(edge, cold[0]), "they are stored again")


@pytest.mark.full
def test_a_worker_without_descriptors_neither_spins_nor_lies(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    with Edge(tmp_path, upstream, workers=1, settings=SETTINGS) as edge:
        [large] = warmed(edge, 3 * MIB)
        worker = edge.pids()["worker-0"]
        with Client(edge.port) as client:
            assert known(large).is_told_right(client.fetch(large.path))
            with limited(worker, resource.RLIMIT_NOFILE, open_files(worker) + 1):
                refused: list[Reply] = []
                waiting = [
                    threading.Thread(target=lambda: refused.append(fetch(edge.port, large.path)))
                    for _ in range(8)
                ]
                for thread in waiting:
                    thread.start()
                began_s, began_at = cpu_s(worker), time.monotonic()
                replies = [client.fetch(large.path) for _ in range(10)]
                wait_until(lambda: time.monotonic() - began_at > 2.0, "two seconds have passed")
                spent_s = cpu_s(worker) - began_s
            for thread in waiting:
                thread.join()
        assert not any(known(large).is_lied_about(reply) for reply in [*replies, *refused])
        failed = sum(reply.status == 503 or not reply.status for reply in [*replies, *refused])
        print(f"{failed} of {len(replies) + len(refused)} failed, {spent_s:.2f} s of CPU in 2 s")
        assert failed > 0
        assert spent_s < 1.0
        wait_until(
            lambda: known(large).is_told_right(fetch(edge.port, large.path)), "it serves again"
        )
        assert edge.pids()["worker-0"] == worker
        assert edge.own_faults() == []


@pytest.mark.full
def test_a_full_state_directory_costs_no_client_anything(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    require_mounts()
    root = tmp_path / "edge"
    with tmpfs(root / "state", 64 * MIB), Edge(root, upstream, settings=SETTINGS) as edge:
        warm = warmed(edge, 2_000, 400_000)
        others = fill_up(edge.state)
        cold = [fresh_archive(size) for size in (3_000, 700_000, 2 * MIB)]
        replies = [fetch(edge.port, each.path) for each in [*warm, *cold] * 2]
        assert digests(replies) == whole([*warm, *cold])
        others.unlink()
        assert known(warm[0]).is_told_right(fetch(edge.port, warm[0].path))
        assert edge.own_faults() == []

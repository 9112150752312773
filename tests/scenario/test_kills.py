"""Processes are killed while clients read: no complete wrong body, and soon all is whole again."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.body_checker import (
    BodyChecker,
    Known,
    Readers,
    known,
    pinned_to_each_worker,
    warmed,
)
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import Client, Reply, digests, fetch
from tests.scenario.upstream_objects import Archive, count_of, fresh_archive, log_of, sha256_of

pytestmark = pytest.mark.full

WHOLE_DEADLINE_S = 10.0
# A keeper that is killed often comes back later each time, at last after 5 s; waiting for it longer
# than that keeps the transfers through it alive.
SETTINGS = {"serve.keeper_wait": "20s"}
VICTIMS = ("worker", "keeper", "both")


@pytest.fixture
def edge(tmp_path: Path, upstream: SimulatorProcess) -> Iterator[Edge]:
    with Edge(tmp_path, upstream, settings=SETTINGS) as running:
        yield running


def fresh_known() -> Known:
    return known(fresh_archive(400_000))


def kill(edge: Edge, names: list[str], number: signal.Signals = signal.SIGKILL) -> set[int]:
    pids = {edge.pids()[name] for name in names}
    for name in names:
        edge.send(number, name)
    return pids


def wait_until_whole(edge: Edge, killed: set[int]) -> float:
    """Return the seconds until every process has been replaced and a miss is answered."""
    began_at = time.monotonic()

    def is_whole() -> bool:
        pids = edge.pids()
        return len(pids) == 3 and killed.isdisjoint(pids.values())

    wait_until(is_whole, "every process was replaced", WHOLE_DEADLINE_S)
    cold = fresh_known()
    wait_until(
        lambda: cold.is_told_right(fetch(edge.port, cold.path)),
        "a miss is answered",
        WHOLE_DEADLINE_S,
    )
    return time.monotonic() - began_at


def one_round(edge: Edge, upstream: SimulatorProcess, victims: str, warm: Known) -> float:
    """Kill during a transfer and reads; return the seconds until the service was whole."""
    slow = fresh_archive(1_500_000)
    upstream.control.faults({"kind": "rate", "path": slow.path, "bytes_per_s": 5_000_000})
    workers = [name for name in edge.pids() if name != "keeper"]
    names = {"worker": workers[:1], "keeper": ["keeper"], "both": [workers[-1], "keeper"]}[victims]
    with Readers(pinned_to_each_worker(edge, 2), warm) as readers, Client(edge.port) as client:
        on_worker = edge.worker_of(client.connect())
        begun = client.begin(slow.path)
        first = begun.read(1000)
        took_s = wait_until_whole(edge, kill(edge, names))
        if on_worker not in names:
            # The transfer went through a survivor: it goes on, also without the first keeper.
            assert sha256_of(first + begun.read()) == slow.sha256
    assert readers.right_total > 0
    assert set(readers.failed_on) <= set(names)
    return took_s


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(3, id="3-rounds"),
        pytest.param(40, id="40-rounds", marks=pytest.mark.timeout(900)),
    ],
)
def test_kills_during_transfers_cost_time_and_never_a_wrong_body(
    rounds: int, edge: Edge, upstream: SimulatorProcess
) -> None:
    warm = [known(archive) for archive in warmed(edge, 2_000, 300_000, 1_000_000)]
    times: list[tuple[str, float]] = []
    with BodyChecker(edge.port, warm, fresh_known) as checker:
        for number in range(rounds):
            victims = VICTIMS[number % len(VICTIMS)]
            times.append((victims, one_round(edge, upstream, victims, warm[1])))
    print("whole again after:", ", ".join(f"{name} {took_s:.2f} s" for name, took_s in times))
    print(checker)
    checker.verdict()
    assert edge.wrong_blobs() == []


def test_transfer_through_a_surviving_worker_goes_on_over_the_death_of_the_keeper(
    edge: Edge, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(3_000_000)
    upstream.control.faults(
        {"kind": "rate", "path": archive.path, "bytes_per_s": 3_000_000, "count": 1, "name": "slow"}
    )
    with Client(edge.port) as client:
        response = client.begin(archive.path)
        first = response.read(200_000)
        kill(edge, ["keeper"])
        assert sha256_of(first + response.read()) == archive.sha256
    assert upstream.control.faults_fired()["slow"] == 1
    assert len(log_of(upstream, archive.path)) == 2  # cut off; the rest
    assert count_of(upstream, archive.key)["ranged"] == 1


def test_hits_need_no_keeper(edge: Edge) -> None:
    """The keeper is stopped, not dead, so nobody replaces it while the hits are asked for."""
    [warm] = warmed(edge, 300_000)
    edge.send(signal.SIGSTOP, "keeper")
    replies = [fetch(edge.port, warm.path) for _ in range(20)]
    edge.send(signal.SIGCONT, "keeper")
    assert digests(replies) == {(200, True, warm.sha256)}


@pytest.mark.full
@pytest.mark.parametrize("name", ["worker-0", "keeper"])
def test_hung_process_is_replaced(name: str, edge: Edge) -> None:
    [warm] = warmed(edge, 100_000)
    survivors = pinned_to_each_worker(edge, 2, spared=name)
    with Readers(survivors, known(warm)) as readers:
        began_at = time.monotonic()
        hung = kill(edge, [name], signal.SIGSTOP)
        wait_until(lambda: bool(edge.named("process-hung")), "the silence is noticed")
        took_s = wait_until_whole(edge, hung)
    print(f"noticed and replaced after {time.monotonic() - began_at:.2f} s, {took_s:.2f} s of it")
    assert edge.named("process-hung")[0]["name"] == name
    assert readers.failed_on == []


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(1, id="1-round"),
        pytest.param(40, id="40-rounds", marks=pytest.mark.timeout(600)),
    ],
)
def test_crash_of_everything_at_any_byte_of_a_fill_keeps_what_has_landed(
    rounds: int, edge: Edge, upstream: SimulatorProcess
) -> None:
    chance = random.Random(rounds)
    for _ in range(rounds):
        # Many times what socket buffers swallow: upstream counts what it has handed to them, also
        # of the answer that only its head was wanted of.
        archive = fresh_archive(24_000_000)
        upstream.control.faults(
            {"kind": "rate", "path": archive.path, "bytes_per_s": 40_000_000, "count": 1}
        )
        crash_during_fill(edge, archive, at_byte=chance.randrange(1, 20_000_000))
        edge.start()
        assert digests([fetch(edge.port, archive.path)]) == {(200, True, archive.sha256)}
        assert count_of(upstream, archive.key)["bytes"] < 2 * archive.length
        wait_until_published(edge, archive)
    wait_until(lambda: list((edge.store / "partial").iterdir()) == [], "no temp is left")
    assert edge.wrong_blobs() == []


def crash_during_fill(edge: Edge, archive: Archive, *, at_byte: int) -> None:
    """Start a fill, and crash everything when so many of its bytes have landed."""
    replies: list[Reply] = []
    client = threading.Thread(target=lambda: replies.append(fetch(edge.port, archive.path)))
    client.start()
    wait_until(lambda: landed_bytes(edge) >= at_byte, "the fill is that far")
    edge.kill_all()
    client.join()
    assert not known(archive).is_lied_about(replies[0])


def wait_until_published(edge: Edge, archive: Archive) -> None:
    """Clients have it as soon as it is verified; the disk has it a little later."""
    wait_until(lambda: archive.sha256 in edge.blobs(), f"{archive} is published")


def landed_bytes(edge: Edge) -> int:
    """Return the size of the largest temp."""
    folder = edge.store / "partial"
    sizes = [path.stat().st_size for path in folder.glob("?" * 64) if path.exists()]
    return max(sizes, default=0)


def test_prefix_that_landed_before_a_crash_is_not_fetched_again(
    edge: Edge, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(1_000_000)
    upstream.control.faults(
        {"kind": "stall", "path": archive.path, "at": 800_000, "count": 1, "name": "stall"}
    )
    crash_during_fill(edge, archive, at_byte=700_000)
    upstream.control.reset_counts()
    edge.start()
    assert digests([fetch(edge.port, archive.path)]) == {(200, True, archive.sha256)}
    [rest] = [record for record in log_of(upstream, archive.path) if record["status"] == 206]
    assert rest["fields"]["if-range"] == archive.content.etag
    assert 0 < rest["content_bytes"] < archive.length // 2


# The checker itself must be able to fail.


def test_checker_convicts_a_server_that_sends_a_complete_wrong_body(
    upstream: SimulatorProcess,
) -> None:
    archive = fresh_archive(300_000)
    upstream.control.faults(
        {"kind": "corrupt", "path": archive.path, "at": 150_000, "skip": 3, "name": "lie"}
    )
    port = urlsplit(upstream.releases_url).port
    assert port is not None
    with BodyChecker(port, [known(archive)], threads=2) as checker:
        wait_until(lambda: bool(checker.lies), "the lie is found")
    assert upstream.control.faults_fired()["lie"] >= 1
    with pytest.raises(AssertionError, match=archive.path):
        checker.verdict()


def test_checker_forgives_a_server_whose_bodies_break_off(upstream: SimulatorProcess) -> None:
    archive = fresh_archive(300_000)
    upstream.control.faults(
        {"kind": "cut", "path": archive.path, "at": 150_000, "count": 3, "name": "cut"}
    )
    port = urlsplit(upstream.releases_url).port
    assert port is not None
    with BodyChecker(port, [known(archive)], threads=2) as checker:
        wait_until(lambda: checker.right_total > 0, "a whole body came")
    assert checker.failed_total == upstream.control.faults_fired()["cut"] == 3
    checker.verdict()


def test_checker_convicts_a_server_that_denies_an_object(upstream: SimulatorProcess) -> None:
    port = urlsplit(upstream.releases_url).port
    assert port is not None
    denied = Known(path="/dist/no-such-thing", sha256="0" * 64)
    with BodyChecker(port, [denied], threads=1) as checker:
        wait_until(lambda: bool(checker.lies), "the denial is found")

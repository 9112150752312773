"""The supervisor with real processes and real signals; the children are simple (`supervised`)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

DEADLINE_S = 15.0
ROOT = Path(__file__).parents[3]


@dataclass
class Family:
    """A running supervisor; `events` grows while they are waited for."""

    process: subprocess.Popen[bytes]
    state: Path
    log: Path
    events: list[dict[str, Any]] = field(default_factory=list)

    def read(self) -> list[dict[str, Any]]:
        content = self.log.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        self.events = [json.loads(line) for line in whole.splitlines()]
        return self.events

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.read() if event["event"] == name]

    def wait(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        until(
            lambda: len(self.named(name)) >= count, lambda: f"{count} times {name}: {self.events}"
        )
        return self.named(name)

    def address(self) -> tuple[str, int]:
        host, _, port = self.wait("ready")[0]["listen"][0].rpartition(":")
        return host, int(port)

    def ask(self) -> tuple[int, int]:
        """Return slot and pid of the worker that accepts."""
        with socket.create_connection(self.address(), timeout=DEADLINE_S) as connection:
            slot, pid = connection.makefile().readline().split()
        return int(slot), int(pid)

    def worker_pids(self, count: int) -> set[int]:
        """Ask until `count` different workers have answered."""
        seen: set[int] = set()

        def all_seen() -> bool:
            seen.add(self.ask()[1])
            return len(seen) >= count

        until(all_seen, lambda: f"only {seen} answer")
        return seen

    def pid_of(self, name: str) -> int:
        return int(self.named_process(name)[-1]["child_pid"])

    def named_process(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.wait("process-ready") if event["name"] == name]

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        return self.process.wait(DEADLINE_S)


def until(holds: Callable[[], bool], complaint: Callable[[], str]) -> None:
    deadline_at = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline_at, complaint()
        time.sleep(0.02)


@contextlib.contextmanager
def running(state: Path, workers: int, **options: Any) -> Iterator[Family]:
    log = state / "log"
    with open(log, "wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.supervisor.supervised", str(state), str(workers)],
            cwd=ROOT,
            stderr=stderr,
            **options,
        )
    family = Family(process, state, log)
    try:
        yield family
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_every_lane_is_served_and_term_ends_workers_before_the_keeper(tmp_path: Path) -> None:
    with running(tmp_path, 2) as family:
        family.worker_pids(2)
        family.tell(signal.SIGTERM)
        assert family.end() == 0
        ended = [event["name"] for event in family.named("process-drained")]
        assert (len(ended), ended[-1]) == (3, "keeper")


def test_killed_worker_and_keeper_are_whole_again_in_two_seconds(tmp_path: Path) -> None:
    with running(tmp_path, 2) as family:
        family.address()
        killed = [family.pid_of("worker-0"), family.pid_of("keeper")]
        at = time.monotonic()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        family.wait("process-ready", 5)
        assert time.monotonic() - at < 2
        assert [event["restart_in_s"] for event in family.named("process-died")] == [0, 0]
        assert {event["ended"] for event in family.named("process-died")} == {"SIGKILL"}


def test_connection_of_a_dead_workers_lane_waits_for_its_successor(tmp_path: Path) -> None:
    with running(tmp_path, 1) as family:
        first = family.ask()[1]
        os.kill(first, signal.SIGKILL)
        assert family.ask()[1] != first


def test_crashing_worker_waits_longer_each_time(tmp_path: Path) -> None:
    with running(tmp_path, 1) as family:
        family.address()
        (tmp_path / "mode").write_text("crash")
        os.kill(family.pid_of("worker-0"), signal.SIGKILL)
        died = family.wait("process-died", 4)
        assert [event["restart_in_s"] for event in died[:4]] == [0, 0.1, 0.25, 0.5]


@pytest.mark.full
def test_hung_worker_is_relieved_at_once_and_killed_later(tmp_path: Path) -> None:
    with running(tmp_path, 1) as family:
        hung = family.ask()[1]
        os.kill(hung, signal.SIGSTOP)
        family.wait("process-silent")
        family.wait("process-ready", 3)
        assert not family.named("process-drained")
        assert family.wait("process-drained")[0]["ended"] == "SIGKILL"
        assert family.ask()[1] != hung


def test_worker_that_was_only_slow_drains_behind_its_successor(tmp_path: Path) -> None:
    with running(tmp_path, 1) as family:
        slow = family.ask()[1]
        os.kill(slow, signal.SIGSTOP)
        family.wait("process-ready", 3)
        os.kill(slow, signal.SIGCONT)
        assert family.wait("process-drained")[0]["ended"] == "exit 0"
        assert family.ask()[1] != slow


def test_refusal_at_the_first_start_ends_the_mirror(tmp_path: Path) -> None:
    (tmp_path / "mode").write_text("refuse")
    with running(tmp_path, 1) as family:
        assert family.end() == 1
        assert family.named("process-refused")[0]["reason"] == "a.key = 'x': something else"


def test_refusal_after_a_good_start_is_retried(tmp_path: Path) -> None:
    with running(tmp_path, 2) as family:
        family.address()
        (tmp_path / "mode").write_text("refuse")
        os.kill(family.pid_of("keeper"), signal.SIGKILL)
        family.wait("process-died", 2)
        (tmp_path / "mode").write_text("")
        family.wait("process-ready", 4)
        assert family.process.poll() is None


def test_reload_replaces_everybody_without_refusing_a_connection(tmp_path: Path) -> None:
    with running(tmp_path, 2) as family:
        before = family.worker_pids(2)
        (tmp_path / "reload").write_text("2")
        family.tell(signal.SIGHUP)
        asked = 0
        while len(family.named("process-ready")) < 6:
            family.ask()
            asked += 1
        family.wait("process-drained", 3)
        assert asked > 0
        assert not any(is_alive(pid) for pid in before)
        assert not family.worker_pids(2) & before


def test_wrong_configuration_changes_nothing(tmp_path: Path) -> None:
    with running(tmp_path, 1) as family:
        before = family.ask()
        (tmp_path / "reload").write_text("many")
        family.tell(signal.SIGHUP)
        assert family.wait("reload-refused")[0]["key"] == "serve.workers"
        assert family.ask() == before


def test_failing_successor_leaves_the_former_in_place(tmp_path: Path) -> None:
    with running(tmp_path, 1) as family:
        before = family.ask()
        (tmp_path / "mode").write_text("crash")
        (tmp_path / "reload").write_text("1")
        family.tell(signal.SIGHUP)
        family.wait("reload-undone")
        assert family.ask() == before


def keepers_ready(family: Family) -> int:
    return len([event for event in family.named("process-ready") if event["name"] == "keeper"])


def test_keeper_that_refuses_a_reload_goes_back_to_the_former_configuration(tmp_path: Path) -> None:
    with running(tmp_path, 1) as family:
        family.address()
        (tmp_path / "reload").write_text("2 keeper")
        family.tell(signal.SIGHUP)
        undone = family.wait("reload-undone")
        assert (undone[0]["name"], undone[0]["ended"]) == ("keeper", "exit 78")
        until(lambda: keepers_ready(family) == 2, lambda: f"no keeper: {family.events}")
        # Workers too: one with the former configuration is left, by way of a successor.
        family.wait("process-drained", 4)
        assert len(family.worker_pids(1)) == 1
        assert [event["workers"] for event in family.named("workers-changed")] == [2, 1]
        refusals = [event["process"] for event in family.named("process-refused")]
        assert refusals == ["keeper"], "it was asked once"
        assert family.named("process-died") == []


def test_reload_that_fails_half_way_through_the_workers_changes_nobody(tmp_path: Path) -> None:
    with running(tmp_path, 2) as family:
        family.worker_pids(2)
        keeper = family.pid_of("keeper")
        (tmp_path / "reload").write_text("2 second")
        family.tell(signal.SIGHUP)
        family.wait("reload-undone")
        # Two at first, one of the other configuration, and its successor of the former one.
        family.wait("process-drained", 2)
        assert len(family.named("process-refused")) == 1
        family.worker_pids(2)
        assert is_alive(keeper)
        assert keepers_ready(family) == 1


def test_good_reload_after_an_undone_one_is_taken(tmp_path: Path) -> None:
    with running(tmp_path, 1) as family:
        family.address()
        (tmp_path / "reload").write_text("1 keeper")
        family.tell(signal.SIGHUP)
        family.wait("reload-undone")
        (tmp_path / "reload").write_text("2")
        family.tell(signal.SIGHUP)
        assert family.wait("reloaded")[0]["workers"] == 2
        family.worker_pids(2)
        assert len(family.named("reload-undone")) == 1


def test_number_of_workers_follows_ttin_ttou_and_reload(tmp_path: Path) -> None:
    with running(tmp_path, 1) as family:
        family.address()
        family.tell(signal.SIGTTIN)
        family.worker_pids(2)
        family.tell(signal.SIGTTOU)
        family.wait("workers-changed", 2)
        # Every connection is answered, also those that the kernel gives to the removed lane.
        for _ in range(40):
            family.ask()
        (tmp_path / "reload").write_text("3")
        family.tell(signal.SIGHUP)
        family.worker_pids(3)


def test_removed_lane_finds_an_heir_although_a_first_successor_died(tmp_path: Path) -> None:
    with running(tmp_path, 2) as family:
        family.address()
        (tmp_path / "mode").write_text("crash")
        family.tell(signal.SIGTTOU)
        family.wait("successor-failed")
        (tmp_path / "mode").write_text("")
        family.wait("process-ready", 4)  # the keeper, two workers, the heir
        for _ in range(40):
            family.ask()


def test_last_worker_stays_whatever_is_asked(tmp_path: Path) -> None:
    with running(tmp_path, 1) as family:
        before = family.ask()
        family.tell(signal.SIGTTOU)
        assert family.ask() == before


@pytest.mark.full
def test_second_term_ends_at_once_and_deaf_workers_end_at_the_deadline(tmp_path: Path) -> None:
    (tmp_path / "mode").write_text("deaf")
    with running(tmp_path, 1) as family:
        family.address()
        family.tell(signal.SIGTERM)
        family.wait("draining")
        family.tell(signal.SIGTERM)
        assert family.end() == 1
    with running(tmp_path, 1) as family:
        family.address()
        at = time.monotonic()
        family.tell(signal.SIGTERM)
        family.wait("drain-deadline")
        family.tell(signal.SIGTERM)  # the keeper of this test is deaf too
        family.end()
        assert time.monotonic() - at < DEADLINE_S


def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    with running(tmp_path, 2) as family:
        family.address()
        pids = [int(event["child_pid"]) for event in family.named("process-ready")]
        family.process.kill()
        family.process.wait()
        until(lambda: not any(is_alive(pid) for pid in pids), lambda: f"{pids} live on")


LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3, inheritable=True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.executable, [sys.executable, "-m", "tests.unit.supervisor.supervised", *sys.argv[2:]])
"""


def test_inherited_sockets_replace_the_configured_addresses(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as listening, open(log, "wb") as stderr:
        fd = listening.fileno()
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, str(fd), str(tmp_path), "2"],
            cwd=ROOT,
            stderr=stderr,
            pass_fds=(fd,),
        )
        family = Family(process, tmp_path, log)
        try:
            assert family.address() == listening.getsockname()
            family.worker_pids(2)
        finally:
            process.terminate()
            process.wait(DEADLINE_S)


@pytest.mark.parametrize("variables", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}])
def test_listen_variables_of_another_process_are_ignored_and_forgotten(
    variables: dict[str, str],
) -> None:
    from mirror.supervisor.listeners import inherited_sockets

    environ = dict(variables)
    assert inherited_sockets(environ) == []
    assert environ == {}

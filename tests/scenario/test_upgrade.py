"""Another version on disk takes over: same process, same sockets, nobody turned away."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import mirror
from mirror.simulator.process import SimulatorProcess
from mirror.supervisor.upgrade import TRIAL_FLAG
from tests.scenario.body_checker import known, warmed
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import Client, Reply, fetch
from tests.scenario.tls_client import get
from tests.scenario.upstream_objects import Archive, fresh_archive, log_of, sha256_of
from tests.scenario.visitors import Visitors
from tests.tls_files import client_context, make_server, settings_of

pytestmark = pytest.mark.full

NEXT = "0.2.0-next"
PACKAGE = Path(mirror.__file__).parent


class Program:
    """A copy of the product that a test may change while it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(PACKAGE, folder / "mirror")
        # Python adds the current directory, which is the checkout, for `-m` unless told not to.
        self.environment = {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}

    def change(self, file: str, old: str, new: str) -> None:
        path = self.folder / "mirror" / file
        text = path.read_text()
        assert old in text, f"{file} has no {old!r}"
        # By a rename, as a package manager does; the length differs, so no compiled file is taken.
        assert len(old) != len(new)
        beside = path.with_suffix(".part")
        beside.write_text(text.replace(old, new))
        beside.rename(path)

    def release(self, version: str = NEXT) -> None:
        """Put another version there."""
        self.change("__init__.py", mirror.__version__, version)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "program")


@pytest.fixture
def edge(tmp_path: Path, program: Program, upstream: SimulatorProcess) -> Iterator[Edge]:
    with Edge(tmp_path / "edge", upstream, environment=program.environment) as running:
        yield running


def upgrade(edge: Edge) -> None:
    """SIGUSR2, and wait until every process is the other version's."""
    before = len(edge.named("upgraded"))
    edge.send(signal.SIGUSR2)
    wait_until(lambda: len(edge.named("upgraded")) > before or refused(edge), "it is upgraded")
    assert not refused(edge), edge.named("upgrade-refused")


def refused(edge: Edge) -> bool:
    return bool(edge.named("upgrade-refused"))


class Download:
    """A whole body that is read on a thread of its own."""

    def __init__(self, port: int, archive: Archive) -> None:
        self.archive = archive
        self._replies: list[Reply] = []
        self._thread = threading.Thread(target=self._run, args=(port,))
        self._thread.start()

    def _run(self, port: int) -> None:
        self._replies.append(fetch(port, self.archive.path, keeps_content=False))

    @property
    def is_over(self) -> bool:
        return bool(self._replies)

    def is_right(self) -> bool:
        self._thread.join()
        [reply] = self._replies
        return reply.is_complete and reply.sha256 == self.archive.sha256


def stalled_downloads(edge: Edge, upstream: SimulatorProcess, count: int) -> list[Download]:
    """Begin downloads of cold objects whose rest comes by another keeper only."""
    archives = [fresh_archive(8_000_000) for _ in range(count)]
    for archive in archives:
        upstream.control.faults(
            {"kind": "stall", "path": archive.path, "at": 4_000_000, "count": 1, "name": "stall"}
        )
    downloads = [Download(edge.port, archive) for archive in archives]
    wait_until(lambda: upstream.control.faults_fired().get("stall") == count, "all have begun")
    return downloads


def test_upgrade_refuses_and_resets_no_connection(
    tmp_path: Path, program: Program, upstream: SimulatorProcess
) -> None:
    made = make_server(tmp_path / "tls")
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        control_port = reserved.getsockname()[1]
    settings = {
        **settings_of(made),
        "control.listen": f"127.0.0.1:{control_port}",
        "serve.keeper_wait": "60s",  # a busy machine takes its time to start one
    }
    trusting = client_context(made.authority)
    with Edge(
        tmp_path / "edge", upstream, settings=settings, environment=program.environment
    ) as edge:
        warm = [known(archive) for archive in warmed(edge, 2_000, 100_000, 3_000_000)]
        edge.send(signal.SIGTTIN)  # a lane beyond the configured number is handed over too
        wait_until(lambda: len(edge.pids()) == 4, "there are three workers")
        supervisor, before = edge.process.pid, set(edge.pids().values())
        downloads = stalled_downloads(edge, upstream, 3)
        program.release()
        with Visitors(edge.port, warm[:2]) as visitors, Client(edge.port) as reader:
            held = reader.begin(warm[2].path)  # a hit whose client reads slowly
            first = held.read(1000)
            wait_until(lambda: visitors.right_total > 100, "visitors come")
            assert not any(download.is_over for download in downloads)
            upgrade(edge)
            seen = visitors.right_total
            wait_until(lambda: visitors.right_total > seen + 100, "visitors come to the other")
            assert sha256_of(first + held.read()) == warm[2].sha256
            assert get(edge.tls_port, trusting, "/livez")[0] == 200
        assert all(download.is_right() for download in downloads)
        print(visitors, edge.named("upgraded"))
        assert visitors.complaints == []
        assert edge.process.pid == supervisor
        wait_until(lambda: before.isdisjoint(edge.pids().values()), "the former ones have drained")
        assert len(edge.pids()) == 3, "as many as the configuration says"
        assert fetch(control_port, "/version").content.count(NEXT.encode()) == 1
        assert edge.named("taking-over")[0]["drains_first"] is False
        assert edge.own_faults() == []
    for download in downloads:  # the beginning, and the rest for the other keeper
        answers = [record["status"] for record in log_of(upstream, download.archive.path)]
        assert answers == [200, 206]
    assert edge.process.returncode == 0


def test_version_that_cannot_take_over_changes_nothing(edge: Edge, program: Program) -> None:
    """What else is refused: `tests/unit/test_app_upgrade.py`, `tests/unit/supervisor`."""
    before = edge.pids()
    program.release()
    fault = ("fill/filler.py", "import asyncio\n", "import no_such_module\n")
    program.change(*fault)
    assert "no_such_module" in refusal(edge, 1)
    program.change(fault[0], fault[2], fault[1])
    edge.write_file("[serve]\nno_such_key = 1\n")
    assert "no_such_key" in refusal(edge, 2)
    assert edge.pids() == before
    assert fetch(edge.port, "/livez").status == 200


def refusal(edge: Edge, count: int) -> str:
    """Ask for an upgrade and return why it was refused, for the `count`-th time."""
    edge.send(signal.SIGUSR2)
    wait_until(lambda: len(edge.named("upgrade-refused")) == count, "it is refused")
    assert edge.named("upgrade-refused")[-1]["hint"]
    return str(edge.named("upgrade-refused")[-1]["reason"])


def test_worker_that_does_not_start_leaves_the_former_one_serving(
    edge: Edge, program: Program
) -> None:
    """The trial run cannot see everything: the fault comes when a worker runs."""
    [warm] = warmed(edge, 100_000)
    before = edge.pids()
    program.release()
    fault = ("serve/worker.py", "loop = asyncio.get_running_loop()\n", "loop = no_loop\n")
    program.change(*fault)
    edge.send(signal.SIGUSR2)
    with Visitors(edge.port, [known(warm)], count=2) as visitors:
        wait_until(lambda: len(edge.named("successor-failed")) >= 2, "it is tried again")
        assert edge.pids() == before
    assert visitors.right_total > 0
    assert visitors.complaints == []
    assert edge.named("upgraded") == []
    program.change(fault[0], fault[2], fault[1])
    upgrade(edge)
    wait_until(lambda: set(before.values()).isdisjoint(edge.pids().values()), "all are replaced")


def test_version_with_another_protocol_drains_first_and_lets_connections_wait(
    edge: Edge, program: Program, upstream: SimulatorProcess
) -> None:
    warm = [known(archive) for archive in warmed(edge, 2_000, 100_000)]
    archive = fresh_archive(3_000_000)
    upstream.control.faults(
        {"kind": "rate", "path": archive.path, "bytes_per_s": 2_000_000, "name": "slow"}
    )
    before = set(edge.pids().values())
    download = Download(edge.port, archive)
    wait_until(lambda: upstream.control.faults_fired().get("slow") == 1, "it has begun")
    program.release()
    program.change("fill/frames.py", "PROTOCOL_VERSION = ", "PROTOCOL_VERSION = 100 + ")
    with Visitors(edge.port, warm) as visitors:
        upgrade(edge)
        seen = visitors.right_total
        wait_until(lambda: visitors.right_total > seen + 50, "the other version answers")
    print(visitors)
    assert visitors.complaints == []
    assert download.is_right()
    assert edge.named("taking-over")[0]["drains_first"] is True
    assert before.isdisjoint(edge.pids().values())
    assert fetch(edge.port, fresh_archive(300_000).path).status == 200  # its keeper answers
    assert len(log_of(upstream, archive.path)) == 1
    assert edge.own_faults() == []


def test_signals_that_come_during_an_upgrade_are_taken_after_it(
    edge: Edge, program: Program
) -> None:
    """By default SIGHUP and SIGUSR2 end a process, and a program that starts has no handler."""
    program.release()
    edge.send(signal.SIGUSR2)
    wait_until(lambda: bool(edge.named("upgrading")), "it gives way")
    for number in (signal.SIGUSR2, signal.SIGHUP, signal.SIGTTIN) * 5:
        edge.send(number)
    wait_until(lambda: bool(edge.named("reloaded")), "the reload is done")
    assert fetch(edge.port, "/livez").status == 200
    seen = len(edge.named("upgrading"))
    edge.send(signal.SIGUSR2)
    wait_until(lambda: len(edge.named("upgrading")) > seen, "it gives way again")
    edge.send(signal.SIGTERM)
    assert edge.process.wait(60) == 0
    assert edge.own_faults() == []


def trial_runs(edge: Edge) -> list[int]:
    """Return the children of the supervisor that try another version."""
    children = Path(f"/proc/{edge.process.pid}/task/{edge.process.pid}/children").read_text()
    found = []
    for pid in map(int, children.split()):
        with contextlib.suppress(OSError):
            if TRIAL_FLAG.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def test_upgrade_waits_for_the_keeper_that_another_one_drains(edge: Edge, program: Program) -> None:
    """Else its successor would start one beside the one that still holds the store."""
    keeper = edge.pids()["keeper"]
    program.release()
    edge.send(signal.SIGUSR2)
    wait_until(lambda: bool(edge.named("process-drained")), "a worker is replaced")
    os.kill(keeper, signal.SIGSTOP)
    wait_until(lambda: len(edge.named("process-drained")) == 2, "the other one too")
    edge.send(signal.SIGUSR2)
    wait_until(lambda: bool(trial_runs(edge)), "the next one is tried")
    wait_until(lambda: not trial_runs(edge), "its trial is over")
    with contextlib.suppress(ProcessLookupError):  # a busy machine: its time to drain was over
        os.kill(keeper, signal.SIGCONT)
    wait_until(lambda: len(edge.named("upgrading")) == 2, "it gives way again")
    wait_until(lambda: bool(edge.named("upgraded")), "all are the other version's")
    told = [(event["event"], event.get("name")) for event in edge.events]
    giving_way = [at for at, (event, _) in enumerate(told) if event == "upgrading"]
    assert told.index(("process-drained", "keeper")) < giving_way[1]
    assert edge.named("process-refused") == []


def test_command_upgrades_and_says_which_version_runs(edge: Edge, program: Program) -> None:
    def run_command() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mirror", "upgrade", "--set", f"state.path={edge.state}"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def open_files() -> int:
        return len(os.listdir(f"/proc/{edge.process.pid}/fd"))

    program.release()
    for count in range(1, 3):
        done = run_command()
        assert (done.returncode, done.stderr) == (0, "")
        assert NEXT in done.stdout
        wait_until(lambda: len(edge.pids()) == 3, "the former ones have drained")
        if count == 1:
            before = open_files()
    assert open_files() == before, "an upgrade leaves no descriptor behind"
    program.change("serve/worker.py", "import asyncio\n", "import\n")
    refusal = run_command()
    assert refusal.returncode == 1
    assert "SyntaxError" in refusal.stderr
    assert "Traceback" not in refusal.stderr
    edge.stop()
    absent = run_command()
    assert absent.returncode == 1
    assert "no mirror is running" in absent.stderr

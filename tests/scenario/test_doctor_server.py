"""`rust-mirror doctor` beside a real mirror: a well one is well, a planted fault is found."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from mirror.cli.main import run
from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import fetch
from tests.tls_files import make_server, settings_of, sign

pytestmark = pytest.mark.full

SETTINGS = {"store.budget": "64MiB", "upstream.contact": "operator@mirror.example"}
CRATE = "/crates/harvest/harvest-1.0.0.crate"
Doctor = Callable[..., dict[str, Any]]


@pytest.fixture
def doctor(mirror: Edge, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Examine the mirror of this module, with changes to its settings."""

    def examine(changes: Mapping[str, str] | None = None, *flags: str) -> dict[str, Any]:
        settings = {**mirror.settings, "serve.public_url": mirror.url, **(changes or {})}
        return examined(settings, capsys, *flags)

    return examine


def examined(
    settings: Mapping[str, str], capsys: pytest.CaptureFixture[str], *flags: str
) -> dict[str, Any]:
    arguments = ["doctor", "--json", *flags]
    for key, value in settings.items():
        arguments += ["--set", f"{key}={value}"]
    code = run(arguments)
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    document: dict[str, Any] = json.loads(printed.out)
    assert code == (0 if document["is_well"] else 1)
    return document


def verdicts(document: dict[str, Any], subject: str) -> list[str]:
    return [each["verdict"] for each in document["findings"] if each["subject"] == subject]


def sentences(document: dict[str, Any], subject: str) -> str:
    return "; ".join(e["sentence"] for e in document["findings"] if e["subject"] == subject)


def bad(document: dict[str, Any]) -> dict[str, str]:
    return {
        each["subject"]: each["sentence"]
        for each in document["findings"]
        if each["verdict"] in ("wrong", "risk")
    }


def test_a_mirror_that_is_well_is_called_so(doctor: Doctor, mirror: Edge) -> None:
    assert fetch(mirror.port, CRATE).status == 200
    document = doctor()
    assert bad(document) == {}
    assert document["is_running"] is True
    assert sentences(document, "public_url") == "leads to this mirror"
    assert f"listening at 127.0.0.1:{mirror.port}" in {
        each["subject"] for each in document["findings"] if each["verdict"] == "good"
    }
    for subject in ("processes", "storing", "permissions", "open files", "store disk"):
        assert verdicts(document, subject) == ["good"], subject
    for subject in ("state database", "store index", "store writing", "state writing"):
        assert verdicts(document, subject) == ["good"], subject
    assert "0 files" not in sentences(document, "store index")
    assert "good" in verdicts(document, "clock")
    silent = [each for each in document["findings"] if each["verdict"] != "good"]
    assert all(each["remedy"] for each in silent)
    assert not list(mirror.store.glob("doctor-*"))
    assert not list(mirror.state.glob("doctor-*"))


def test_offline_asks_no_upstream(doctor: Doctor, upstream: SimulatorProcess) -> None:
    before = len(upstream.control.log())
    document = doctor({}, "--offline")
    assert len(upstream.control.log()) == before
    assert not [e for e in document["findings"] if e["subject"].startswith("upstream ")]
    assert doctor()["findings"]
    assert len(upstream.control.log()) > before


@pytest.mark.parametrize(
    ("changes", "subject", "verdict"),
    [
        ({"serve.public_url": "http://127.0.0.1:1"}, "public_url", "wrong"),
        ({"serve.public_url": "http://name.invalid"}, "public_url", "wrong"),
        ({"upstream.crates.urls": "http://127.0.0.1:1"}, "upstream crates", "wrong"),
        ({"upstream.index.urls": "http://name.invalid"}, "upstream index", "wrong"),
        ({"upstream.contact": ""}, "upstream contact", "note"),
        ({"upstream.proxy": "http://name.invalid:3128"}, "public_url", "good"),
        ({"store.budget": "512TiB"}, "store room", "risk"),
        ({"store.free_floor": "512TiB"}, "store room", "wrong"),
        ({"store.free_floor": "0"}, "store and state", "risk"),
        ({"store.free_inodes": "1000000000"}, "store inodes", "wrong"),
        ({"serve.trusted_proxies": "0.0.0.0/0"}, "trusted_proxies", "wrong"),
        ({"serve.max_connections": "1048576"}, "open files", "risk"),
        ({"serve.hot_memory": "64TiB"}, "memory", "wrong"),
        ({"accounting.prices": "/nowhere/prices.toml"}, "file", "wrong"),
        ({"serve.listen": "127.0.0.1:1"}, "listening at 127.0.0.1:1", "wrong"),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else str(value),
)
def test_a_planted_fault_is_found(
    doctor: Doctor, changes: dict[str, str], subject: str, verdict: str
) -> None:
    document = doctor(changes)
    assert verdict in verdicts(document, subject), document["findings"]
    if verdict in ("wrong", "risk"):
        assert not document["is_well"]


def test_one_url_of_two_that_is_away_is_a_risk(doctor: Doctor, mirror: Edge) -> None:
    urls = f"http://127.0.0.1:1,{mirror.settings['upstream.crates.urls']}"
    document = doctor({"upstream.crates.urls": urls})
    assert sorted(verdicts(document, "upstream crates")) == ["note", "risk"]


def test_an_upstream_that_leads_back_is_found(doctor: Doctor, mirror: Edge) -> None:
    document = doctor({"upstream.index.urls": f"{mirror.url}/index"})
    assert "leads back to this machine" in bad(document)["upstream index"]


def test_a_silent_upstream_does_not_hold_the_command_up(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # accepts nobody: the kernel does
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        document = doctor({"upstream.releases.urls": url})
    assert "upstream releases" in bad(document)
    assert "took longer" not in json.dumps(document)


class _Server(http.server.BaseHTTPRequestHandler):
    """Answers everything the same; set by `serving`."""

    answer: tuple[int, Mapping[str, str], bytes] = (200, {}, b"")

    def do_GET(self) -> None:
        status, fields, content = self.answer
        self.send_response_only(status)
        for name, value in {**fields, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@contextmanager
def serving(status: int, fields: Mapping[str, str], content: bytes) -> Iterator[str]:
    handler = type("Handler", (_Server,), {"answer": (status, fields, content)})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_clock_that_differs_from_upstream_is_found(doctor: Doctor) -> None:
    for ahead, verdict in ((timedelta(minutes=1), "risk"), (timedelta(hours=-2), "wrong")):
        date = format_datetime(datetime.now(UTC) + ahead, usegmt=True)
        with serving(200, {"Date": date}, b"{}") as url:
            document = doctor({"upstream.index.urls": url, "upstream.releases.urls": url})
        assert verdict in verdicts(document, "clock"), document["findings"]
    assert "ahead of upstream" in bad(document)["clock"]


def test_public_url_that_leads_elsewhere_is_found(doctor: Doctor, mirror: Edge) -> None:
    with serving(200, {}, b"hello") as url:
        assert "leads to something else" in bad(doctor({"serve.public_url": url}))["public_url"]
    with serving(301, {"Location": "/livez"}, b"") as url:
        assert "in a circle" in bad(doctor({"serve.public_url": url}))["public_url"]
    with serving(200, {}, b"live\n") as url:
        document = doctor({"serve.public_url": url})
        assert "another mirror" in sentences(document, "public_url")
    with serving(301, {"Location": f"{mirror.url}/livez"}, b"") as url:
        document = doctor({"serve.public_url": url})
        assert f"after a redirect to {mirror.url}" in bad(document)["public_url"]


def test_certificates_are_judged_and_keys_kept_secret(
    doctor: Doctor, tmp_path: Path, mirror: Edge
) -> None:
    made = make_server(tmp_path / "own")

    def of(pair: Any, **changes: str) -> dict[str, Any]:
        return doctor({**settings_of(pair), "serve.public_url": "https://localhost:1", **changes})

    fresh = sign(tmp_path, "fresh", made, ends_in=timedelta(days=60), lasts=timedelta(days=90))
    assert "certificate" not in bad(of(fresh))
    soon = sign(tmp_path, "soon", made, ends_in=timedelta(days=20))
    assert "risk" in verdicts(of(soon), "certificate")
    now = sign(tmp_path, "now", made, ends_in=timedelta(days=3))
    assert "wrong" in verdicts(of(now), "certificate")
    past = sign(tmp_path, "past", made, ends_in=timedelta(days=-3))
    assert "has expired" in sentences(of(past), "certificate")
    other = of(fresh, **{"serve.tls.private_key": str(soon.private_key)})
    assert "not that of the first" in bad(other)["certificate"] or "key" in str(bad(other))
    named = of(
        fresh,
        **{"serve.public_url": "https://other.example:8443", "serve.tls_listen": "127.0.0.1:8443"},
    )
    assert "not for other.example" in sentences(named, "certificate")
    fresh.private_key.chmod(0o644)
    assert "every user" in bad(of(fresh))["private key file"]
    assert "PRIVATE KEY" not in json.dumps(of(fresh))
    mixed = tmp_path / "mixed.pem"
    mixed.write_bytes(fresh.certificate.read_bytes() + soon.certificate.read_bytes())
    disordered = of(fresh, **{"serve.tls.certificate": str(mixed)})
    assert "has not issued it" in bad(disordered)["certificate chain"]


def test_an_open_state_directory_and_a_dead_worker_are_found(
    tmp_path: Path, upstream: SimulatorProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    with Edge(tmp_path, upstream, workers=1, settings=SETTINGS) as edge:
        edge.state.chmod(0o755)
        assert "state directory" in bad(examined(edge.settings, capsys))
        edge.state.chmod(0o700)
        before = edge.pids()["worker-0"]
        edge.send(signal.SIGKILL, "worker-0")
        wait_until(lambda: edge.pids().get("worker-0", before) != before, "the worker is replaced")
        document = examined(edge.settings, capsys)
        assert "worker-0 was restarted 1 times" in sentences(document, "processes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The directories of a mirror that has stored something and was stopped."""

    store: Path
    state: Path
    settings: dict[str, str]


@pytest.fixture(scope="module")
def stopped_once(
    tmp_path_factory: pytest.TempPathFactory, module_simulator: SimulatorProcess
) -> Edge:
    root = tmp_path_factory.mktemp("stopped")
    with Edge(root, module_simulator, workers=1, settings=SETTINGS) as edge:
        assert fetch(edge.port, CRATE).status == 200
    return edge


@pytest.fixture
def stopped(
    tmp_path: Path,
    stopped_once: Edge,
    upstream: SimulatorProcess,
    capsys: pytest.CaptureFixture[str],
) -> Stopped:
    """A copy for one test; there is nothing wrong with it."""
    store, state = tmp_path / "store", tmp_path / "state"
    is_socket = shutil.ignore_patterns("*.sock")
    shutil.copytree(stopped_once.store, store, ignore=is_socket)
    shutil.copytree(stopped_once.state, state, ignore=is_socket)
    paths = {"store.path": str(store), "state.path": str(state)}
    found = Stopped(store=store, state=state, settings={**stopped_once.settings, **paths})
    assert bad(examined(found.settings, capsys)) == {}
    return found


def _spoil_index(edge: Stopped) -> None:
    (edge.store / "index.db").write_bytes(b"no database" * 1000)


def _lose_index(edge: Stopped) -> None:
    (edge.store / "index.db").unlink()


def _zero_page(edge: Stopped) -> None:
    with (edge.state / "state.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)


def _lose_state(edge: Stopped) -> None:
    (edge.state / "state.db").unlink()


def _other_format(edge: Stopped) -> None:
    (edge.store / "format").write_text("rust-mirror store 9\n")


def _open_store(edge: Stopped) -> None:
    edge.store.chmod(0o777)


@pytest.mark.parametrize(
    ("plant", "subject", "verdict"),
    [
        (_spoil_index, "store index", "wrong"),
        (_lose_index, "store index", "risk"),
        (_zero_page, "state database", "wrong"),
        (_lose_state, "state database", "wrong"),
        (_other_format, "store format", "wrong"),
        (_open_store, "store directory", "risk"),
    ],
)
def test_damage_is_found_without_a_running_mirror(
    stopped: Stopped,
    capsys: pytest.CaptureFixture[str],
    plant: Callable[[Stopped], None],
    subject: str,
    verdict: str,
) -> None:
    plant(stopped)
    document = examined(stopped.settings, capsys)
    assert verdicts(document, subject) == [verdict], document["findings"]
    assert document["is_running"] is False


def test_leftovers_are_told(stopped: Stopped, capsys: pytest.CaptureFixture[str]) -> None:
    part = stopped.store / "partial" / ("a" * 64)
    part.write_bytes(b"x" * 100)
    os.utime(part, (0, 0))
    (stopped.store / "quarantine" / "1-ab").write_bytes(b"x" * 10)
    document = examined(stopped.settings, capsys)
    assert verdicts(document, "unfinished downloads") == ["note"]
    assert verdicts(document, "quarantine") == ["note"]


def test_looking_writes_nothing_beside_the_databases(
    stopped: Stopped, capsys: pytest.CaptureFixture[str]
) -> None:
    def listed() -> list[tuple[str, int]]:
        roots = (stopped.store, stopped.state)
        return sorted(
            (str(path), path.stat().st_mtime_ns)
            for root in roots
            for path in root.rglob("*")
            if path.is_file() and not path.name.endswith("-shm")
        )

    """But for the marks of readers (-shm), which SQLite keeps where a log lies."""
    before = listed()
    assert before
    examined(stopped.settings, capsys)
    assert listed() == before


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no tmpfs at /dev/shm")
def test_a_state_directory_in_memory_is_found(
    tmp_path: Path, stopped: Stopped, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path("/dev/shm") / f"doctor-{os.getpid()}"
    folder.mkdir(mode=0o700)
    try:
        document = examined({**stopped.settings, "state.path": str(folder)}, capsys)
    finally:
        shutil.rmtree(folder)
    assert "is in memory" in bad(document)["state disk"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_a_user_who_may_not_look_is_told_so(
    doctor: Doctor, mirror: Edge, capsys: pytest.CaptureFixture[str]
) -> None:
    doctor()  # what it imports may not be readable afterwards
    mirror.root.chmod(0o700)
    os.seteuid(65534)
    try:
        document = examined(mirror.settings, capsys, "--offline")
    finally:
        os.seteuid(0)
    assert document["is_running"] is None
    hidden = [each for each in document["findings"] if each["verdict"] == "note"]
    subjects = {each["subject"] for each in hidden if "as root" in each["remedy"]}
    assert {"running mirror", "store", "store disk", "state database", "store index"} <= subjects
    assert "wrong" not in {each["verdict"] for each in document["findings"]}


def test_people_get_every_remedy(mirror: Edge) -> None:
    command = [sys.executable, "-m", "mirror", "doctor"]
    for key, value in {**mirror.settings, "serve.trusted_proxies": "0.0.0.0/0"}.items():
        command += ["--set", f"{key}={value}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "✗ trusted_proxies 0.0.0.0/0: everybody may claim" in done.stdout
    assert "→ name the addresses of your proxies only" in done.stdout
    assert "1 of these ask for somebody's hand." in done.stdout
    assert done.stderr == ""

"""A mirror in processes of its own: `rust-mirror serve`, on a port the kernel chose.

Rules:
1. Only processes that this object started are signalled, by their ids.
2. What the mirror writes to standard error is kept; `events` are its JSON lines.
3. Waiting is polling a condition with a deadline; no fixed pauses.

Runs in: tests.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from mirror.simulator.process import SimulatorProcess

DEADLINE_S = 60.0
EVENT_DEADLINE_S = 10.0
_POLL_S = 0.01
_CRASHES = frozenset(
    ("answer-crashed", "ask-crashed", "fill-crashed", "process-failed", "request-failed")
)


def wait_until(claim: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Poll `claim` until it holds; fail with `what` after the deadline."""
    end_at = time.monotonic() + deadline_s
    while not claim():
        if time.monotonic() > end_at:
            raise AssertionError(f"not within {deadline_s:.0f} s: {what}")
        time.sleep(_POLL_S)


class Edge:
    """A running mirror below `root`; start and stop it as often as the scenario needs."""

    def __init__(
        self,
        root: Path,
        simulator: SimulatorProcess,
        *,
        workers: int = 2,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.root = root
        self.store = root / "store"
        self.state = root / "state"
        self.events: list[dict[str, Any]] = []
        self.raw_lines: list[str] = []
        self.url = ""
        self.port = 0
        self.tls_port = 0
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._environment = {**os.environ, "NO_PROXY": "*", **(environment or {})}
        self._settings = {
            "serve.listen": "127.0.0.1:0",
            "serve.workers": str(workers),
            "control.listen": "",
            "store.path": str(self.store),
            "store.budget": "8GiB",
            "state.path": str(self.state),
            "upstream.releases.urls": simulator.releases_url,
            "upstream.crates.urls": simulator.crates_url,
            "upstream.index.urls": simulator.index_url,
            "trust.release_key_fingerprints": simulator.fingerprint,
            # Requests upstream are counted, and on a busy machine any of them may look slow.
            "upstream.hedge_percent": "0",
            **(settings or {}),
        }

    def start(self) -> Self:
        """Start and wait until every process is ready; a second start keeps the port."""
        self._process = subprocess.Popen(
            self._command(), stderr=subprocess.PIPE, text=True, env=self._environment
        )
        seen = len(self.events)
        self._reader = threading.Thread(target=self._read_events, args=(self._process,))
        self._reader.start()
        wait_until(
            lambda: self._find("ready", seen) is not None or self._has_ended(),
            "the mirror is ready",
        )
        ready = self._find("ready", seen)
        assert ready is not None, "\n".join(self.raw_lines[-20:])
        self.port = self._keep_port("serve.listen", ready["listen"])
        self.tls_port = self._keep_port("serve.tls_listen", ready["tls_listen"])
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def start_in_vain(self) -> tuple[int, str]:
        """Start what must be refused; return the exit status and what it printed."""
        ended = subprocess.run(
            self._command(),
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment,
            timeout=DEADLINE_S,
            check=False,
        )
        return ended.returncode, ended.stderr

    def write_file(self, text: str) -> None:
        """Write the configuration file; flags given as `settings` win over it."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._file.write_text(text)

    def send(self, number: signal.Signals, name: str = "") -> None:
        """Send a signal to the supervisor, or to the process called `name`."""
        os.kill(self.pids()[name] if name else self.process.pid, number)

    def stop(self) -> int:
        """SIGTERM and wait; return the exit status."""
        process = self.process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        status = process.wait(DEADLINE_S)
        if self._reader is not None:
            self._reader.join(DEADLINE_S)
        return status

    def kill_all(self) -> None:
        """SIGKILL the supervisor and each of its processes at once: a crash of everything."""
        # Stopped first, it restarts nobody; killed last, its death does not tell the others to end.
        _kill(self.process.pid, signal.SIGSTOP)
        for pid in [*self.pids().values(), self.process.pid]:
            _kill(pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)
        if self._reader is not None:
            self._reader.join(DEADLINE_S)

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None, "not started"
        return self._process

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()

    # Looking

    @property
    def settings(self) -> dict[str, str]:
        """What the mirror is started with, beyond its file."""
        return dict(self._settings)

    def status(self) -> dict[str, Any]:
        """Return what `rust-mirror status --json` prints."""
        command = [sys.executable, "-m", "mirror", "status", "--json"]
        command += ["--config", str(self._file)]
        for key in ("store.path", "state.path"):
            command += ["--set", f"{key}={self._settings[key]}"]
        printed = subprocess.run(command, capture_output=True, text=True, check=False)
        document: dict[str, Any] = json.loads(printed.stdout)
        return document

    def pids(self) -> dict[str, int]:
        """Return the process id of each ready process by its name, as last announced."""
        found = {}
        for event in list(self.events):
            if event["event"] == "process-ready":
                found[str(event["name"])] = int(event["child_pid"])
        return {name: pid for name, pid in found.items() if _is_alive(pid)}

    def named(self, event: str) -> list[dict[str, Any]]:
        return [item for item in list(self.events) if item["event"] == event]

    def own_faults(self) -> list[str]:
        """Return what the mirror said about mistakes of its own: crashes and tracebacks."""
        crashes = [item for item in list(self.events) if item["event"] in _CRASHES]
        strays = [line for line in self.raw_lines if not line.startswith("{")]
        return [json.dumps(item) for item in crashes] + strays

    def event_of(self, event: str, key: str) -> dict[str, Any]:
        """Wait for an event about the object `key` and return it."""

        def found() -> list[dict[str, Any]]:
            return [item for item in self.named(event) if item.get("key") == key]

        wait_until(lambda: bool(found()), f"event {event} about {key}", EVENT_DEADLINE_S)
        return found()[0]

    def blobs(self) -> dict[str, Path]:
        """Return the published files by name."""
        folder = self.store / "blobs"
        return {path.name: path for path in folder.glob("*/*/*") if path.is_file()}

    def wrong_blobs(self) -> list[str]:
        """Return the published files whose content does not have the digest that is their name."""
        return [name for name, path in self.blobs().items() if _sha256_of_file(path) != name]

    def peak_memory_bytes(self) -> dict[str, int]:
        """Return the largest resident size that each process has had."""
        pids = {"supervisor": self.process.pid, **self.pids()}
        return {name: _peak_memory_bytes(pid) for name, pid in pids.items()}

    def worker_of(self, client: socket.socket, *, server_port: int = 0) -> str:
        """Return the name of the worker that holds the other end of a connection.

        `server_port` 0: that of plaintext.
        """
        port = client.getsockname()[1]

        def holder() -> str:
            inode = _inode_of_server_end(server_port or self.port, port)
            holders = [name for name, pid in self.pids().items() if _holds(pid, inode)]
            return holders[0] if inode and holders else ""

        wait_until(lambda: bool(holder()), "the connection is accepted")
        return holder()

    def get(
        self, path: str, fields: Mapping[str, str] | None = None, method: str = "GET"
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, fields (lower case) and content of one request on its own connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            connection.request(method, path, headers=dict(fields or {}))
            response = connection.getresponse()
            content = response.read()
            names = {name.lower(): value for name, value in response.getheaders()}
            return response.status, names, content
        finally:
            connection.close()

    @property
    def _file(self) -> Path:
        return self.root / "mirror.toml"

    def _command(self) -> list[str]:
        if not self._file.exists():
            self.write_file("")
        command = [sys.executable, "-m", "mirror", "serve", "--config", str(self._file)]
        for key, value in self._settings.items():
            command += ["--set", f"{key}={value}"]
        return command

    def _keep_port(self, key: str, bound: list[str]) -> int:
        """Return the port of the first address, 0 for none, and ask for it at the next start."""
        if not bound:
            return 0
        port = int(bound[0].rpartition(":")[2])
        self._settings[key] = f"127.0.0.1:{port}"
        return port

    def _find(self, name: str, since: int) -> dict[str, Any] | None:
        return next((item for item in self.events[since:] if item["event"] == name), None)

    def _has_ended(self) -> bool:
        return self.process.poll() is not None

    def _read_events(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self.raw_lines.append(line.rstrip("\n"))
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if isinstance(event, dict) and "event" in event:
                    self.events.append(event)


def _sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _peak_memory_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no resident memory")


def _inode_of_server_end(server_port: int, client_port: int) -> str:
    """Find the server's end of a local IPv4 connection in the kernel's table; "" when absent."""
    wanted = (f"{server_port:04X}", f"{client_port:04X}")
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        cells = line.split()
        if (cells[1].rpartition(":")[2], cells[2].rpartition(":")[2]) == wanted:
            return cells[9] if cells[9] != "0" else ""
    return ""


def _holds(pid: int, inode: str) -> bool:
    folder = f"/proc/{pid}/fd"
    for name in _listed(folder):
        try:
            if os.readlink(f"{folder}/{name}") == f"socket:[{inode}]":
                return True
        except OSError:
            continue
    return False


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits for its parent to look is dead."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"

"""The mirror that the demo starts: a process of its own with everything below one directory.

Rules:
1. The settings come from a file that the demo writes; the visitor's environment changes nothing.
2. The process dies with the demo, also when the demo is killed.
3. What it says on standard error goes into a file, whose end is shown when it does not start.

Runs in: the demo.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mirror.cli.control_socket import ask_control
from mirror.config_sources import ENVIRONMENT_PREFIX
from mirror.errors import MirrorError

PREFERRED_PORT = 8080
# Asks for the signal after exec: the demo draws its progress from a thread, and nothing but exec is
# safe between a fork and an exec then.
_PROGRAM = """
from mirror.supervisor.children import die_with_parent
die_with_parent()
from mirror.cli.main import main
main()
"""
_READY_TIMEOUT_S = 30.0
_SETTLED_S = 0.1  # answers to learned heads are counted 25 ms later at most (`serve.tally`)
_STOP_TIMEOUT_S = 20.0
_LOG_TAIL_BYTES = 2000


class DemoError(MirrorError):
    """The demo cannot go on."""

    def __init__(self, what: str, output: str = "") -> None:
        super().__init__(what, source="demo", retryable=False, status=500, hint=output)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamUrls:
    """`signing_key`: the fingerprint of the key that signs the releases there."""

    releases: str
    crates: str
    index: str
    signing_key: str


class DemoMirror:
    """A context manager that starts the mirror below `root` and ends it."""

    def __init__(self, root: Path, upstream: UpstreamUrls) -> None:
        self._root = root
        self._upstream = upstream
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    @property
    def state_path(self) -> str:
        return str(self._root / "state")

    def __enter__(self) -> Self:
        file = self._root / "mirror.toml"
        file.write_text(self._settings())
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(ENVIRONMENT_PREFIX) and not name.lower().endswith("_proxy")
        }
        with open(self._root / "mirror.log", "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, "serve", "--config", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._root,
                env=environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                # Ctrl-C is the demo's: it shows the end, then stops the mirror itself.
                start_new_session=True,
            )
        try:
            self.url = f"http://{self._wait_ready()}"
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Drain and end the mirror; safe to call twice."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def status(self) -> dict[str, Any]:
        """Return the running mirror's status document."""
        document = ask_control(self.state_path, "/status")
        if document is None:
            raise DemoError("the mirror does not answer", self._log_tail())
        return document

    def traffic(self) -> dict[str, Any]:
        """Return what was counted, with all that was answered before the call."""
        time.sleep(_SETTLED_S)
        traffic: dict[str, Any] = self.status()["traffic"]
        return traffic

    def dashboard_url(self) -> str:
        """Return where the dashboard is; the keeper has told it before the mirror was ready."""
        return f"http://{self._told('control-ready')}/"

    def exit_code(self) -> int | None:
        """Return the code of a mirror that ended, None while it runs."""
        return None if self._process is None else self._process.poll()

    def _settings(self) -> str:
        values: dict[str, dict[str, object]] = {
            "serve": {"listen": [f"127.0.0.1:{_free_port()}"], "workers": 2, "drain_timeout": "2s"},
            "control": {"listen": "127.0.0.1:0"},
            "store": {"path": str(self._root / "cache"), "budget": "2GiB"},
            "state": {"path": self.state_path},
            "upstream": {"contact": "demo"},
            "upstream.releases": {"urls": [self._upstream.releases]},
            "upstream.crates": {"urls": [self._upstream.crates]},
            "upstream.index": {"urls": [self._upstream.index]},
            "trust": {"release_key_fingerprints": [self._upstream.signing_key]},
            "log": {"access": str(self._root / "access.log")},
        }
        lines = []
        for table, entries in values.items():
            lines.append(f"[{table}]")
            lines += [f"{name} = {json.dumps(value)}" for name, value in entries.items()]
        return "\n".join(lines) + "\n"

    def _wait_ready(self) -> str:
        """Return the first listen address once every process of the mirror is ready."""
        deadline_at = time.monotonic() + _READY_TIMEOUT_S
        while time.monotonic() < deadline_at and self.exit_code() is None:
            if listen := self._told("ready"):
                return listen
            time.sleep(0.05)
        raise DemoError("the mirror did not start", self._log_tail())

    def _told(self, name: str) -> str:
        """Return the first address of an event; "" while it was not told."""
        for line in (self._root / "mirror.log").read_bytes().splitlines():
            event = _event(line)
            if event.get("event") == name:
                return str(event["listen"][0])
        return ""

    def _log_tail(self) -> str:
        log = (self._root / "mirror.log").read_bytes()
        return log[-_LOG_TAIL_BYTES:].decode(errors="replace")


def _event(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _free_port() -> int:
    """Return the documented port, or 0 (the kernel chooses) when somebody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PREFERRED_PORT))
        except OSError:
            return 0
    return PREFERRED_PORT

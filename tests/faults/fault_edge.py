"""A mirror whose processes can be killed at a crash point: `Edge` with a crash board.

Runs in: tests, benchmark.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mirror.child import CONTROL_SOCKET
from mirror.simulator.process import SimulatorProcess
from mirror.store.points import Point
from tests.faults.board import CrashBoard, Victim
from tests.faults.mirror import BOARD
from tests.scenario.edge import DEADLINE_S, Edge, wait_until


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=DEADLINE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(DEADLINE_S)
        self.sock.connect(str(self._path))


class FaultEdge(Edge):
    """An `Edge` with its board; `strike` arms it, `come_back` sees the death and the return."""

    def __init__(
        self,
        root: Path,
        simulator: SimulatorProcess,
        *,
        workers: int = 2,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        board = root / "crash.board"
        super().__init__(
            root, simulator, workers=workers, settings=settings, environment={BOARD: str(board)}
        )
        self.board = CrashBoard(board)
        self._workers = workers
        self._deaths_before = 0

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        self.board.close()

    def strike(self, point: Point, victim: Victim) -> None:
        """Let `victim` die when `point` is passed next; every process must be there."""
        wait_until(self._is_whole, "every process is there")
        self._deaths_before = len(self.named("process-died"))
        self.board.arm(point, victim)

    @property
    def is_struck(self) -> bool:
        """Whether the kill has happened."""
        return self.board.armed is None

    def come_back(self, victim: Victim) -> None:
        """See that `victim` died, and start again what nobody else starts."""
        if victim is Victim.ALL:
            self.process.wait(DEADLINE_S)
            if self._reader is not None:
                self._reader.join(DEADLINE_S)
            seen = len(self.raw_lines)
            try:
                self.start()
            except AssertionError as exc:
                raise AssertionError(f"{exc}; it said {self.raw_lines[seen:][-12:]}") from exc
        else:
            wait_until(
                lambda: len(self.named("process-died")) > self._deaths_before,
                f"the death of {victim.value} is noticed",
            )

    def _is_whole(self) -> bool:
        return len(self.pids()) == self._workers + 1

    def tell(self, target: str, content: Mapping[str, object]) -> dict[str, Any]:
        """Post to the control socket; return the last line of the answer, {} for none."""
        connection = _UnixConnection(self.state / CONTROL_SOCKET)
        try:
            connection.request("POST", target, json.dumps(content))
            lines = connection.getresponse().read().splitlines()
            last: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        except (OSError, http.client.HTTPException, ValueError):
            return {}  # the mirror died, or has not begun
        finally:
            connection.close()
        return last

    def verb(self, *arguments: str) -> list[str]:
        """Return the command line of an operator's verb about this mirror."""
        command = [sys.executable, "-m", "mirror", *arguments, "--config", str(self._file)]
        for key, value in self._settings.items():
            command += ["--set", f"{key}={value}"]
        return command

    def _command(self) -> list[str]:
        command = super()._command()
        command[command.index("mirror")] = "tests.faults.mirror"
        return command

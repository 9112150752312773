"""A process beside the benchmark's own, which answers each line that it is told.

Units: seconds. Runs in: benchmark, tests.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Self

from benchmarks.results import ROOT

Figures = dict[str, Any]
CHILD_DEADLINE_S = 90.0


class Child:
    """A process that answers each line with one line of JSON."""

    def __init__(self, module: str, orders: Mapping[str, object]) -> None:
        command = [sys.executable, "-m", module, json.dumps(orders)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def tell(self, line: str) -> Figures:
        """Raises RuntimeError when the process is no longer there."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> Figures:
        """Close its input and return the last line, {} when there is none."""
        process = self._process
        if process.stdin is None or process.stdin.closed:
            return {}
        process.stdin.close()
        try:
            assert process.stdout is not None
            with process.stdout:
                lines = process.stdout.read().splitlines()
            process.wait(CHILD_DEADLINE_S)
        finally:
            process.kill()
        last: Figures = json.loads(lines[-1]) if lines else {}
        return last

    def _answer(self) -> Figures:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise RuntimeError(f"{self._process.args!r} has ended")
        answer: Figures = json.loads(line)
        return answer

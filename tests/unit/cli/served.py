"""A mirror started by its command, without any upstream, for tests of the command itself.

Runs in: tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
DEADLINE_S = 20.0
NOBODY = "http://127.0.0.1:9"  # the discard port: refuses at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    code: int
    output: str
    errors: str


def environment(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "mirror", *arguments]


def run(home: Path, *arguments: str) -> Ended:
    """Run a command to its end."""
    ended = subprocess.run(
        command(*arguments),
        env=environment(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return Ended(code=ended.returncode, output=ended.stdout, errors=ended.stderr)


def settings(root: Path, **further: str) -> list[str]:
    """Return the flags of a mirror below `root` on a port of the kernel's choice."""
    values = {
        "serve.listen": "127.0.0.1:0",
        "serve.workers": "1",
        "control.listen": "",
        "store.path": str(root / "store"),
        "state.path": str(root / "state"),
        **{f"upstream.{name}.urls": NOBODY for name in ("releases", "crates", "index")},
        **{key.replace("__", "."): value for key, value in further.items()},
    }
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


@contextlib.contextmanager
def mirror(
    root: Path, *arguments: str, **further: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Yield the running process and its first address."""
    root.mkdir(exist_ok=True)
    log = root / "log"
    with open(log, "wb") as stderr:
        process = subprocess.Popen(
            command("serve", *settings(root, **further), *arguments),
            env=environment(root),
            cwd=root,
            stderr=stderr,
        )
    try:
        yield process, _address(process, log)
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def events(log: Path) -> list[dict[str, Any]]:
    content = log.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]


def wait_for(log: Path, name: str) -> list[dict[str, Any]]:
    """Return the events of that name when there is one."""
    deadline_at = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_at:
        if found := [event for event in events(log) if event["event"] == name]:
            return found
        time.sleep(0.02)
    raise AssertionError(log.read_text())


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline_at = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_at and process.poll() is None:
        for event in events(log):
            if event["event"] == "ready":
                return str(event["listen"][0])
        time.sleep(0.02)
    raise AssertionError(log.read_text())

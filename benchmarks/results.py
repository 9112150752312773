"""What a result file says: figures with command, machine and commit.

Rules:
1. One file per run, `benchmarks/results/<date>-<commit>-<name>.json`; nothing is overwritten.
2. A tree with uncommitted changes is named so: `<commit>+changes`.
3. Paths of the machine are not kept: where the command names one it says PATH.

Runs in: benchmark.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import ssl
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks" / "results"
_PATH = re.compile(r"^(--[a-z-]+=)?[/~].*")


def write_result(name: str, figures: dict[str, object], folder: Path = FOLDER) -> Path:
    """Write `figures` with their circumstances; return the file."""
    today = datetime.datetime.now(datetime.UTC)
    commit = commit_name()
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{today:%Y-%m-%d}-{commit}-{name}"
    path = folder / f"{stem}.json"
    count = 1
    while path.exists():
        count += 1
        path = folder / f"{stem}-{count}.json"
    result = {
        "name": name,
        "at": today.isoformat(timespec="seconds"),
        "commit": commit,
        "command": ["python", "-m", f"benchmarks.{name}", *arguments(sys.argv[1:])],
        "machine": machine(),
        **figures,
    }
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def arguments(given: Sequence[str]) -> list[str]:
    """Return them as a result tells them (rule 3)."""
    return [_PATH.sub(r"\1PATH", one) for one in given]


def commit_name() -> str:
    """Return the short commit, "+changes" when the tree differs, "none" outside git."""
    commit = _output("git", "rev-parse", "--short=10", "HEAD")
    if not commit:
        return "none"
    changed = _output("git", "status", "--porcelain", "--", "mirror")
    return f"{commit}+changes" if changed else commit


def machine() -> dict[str, object]:
    """Return what decides the figures: processor, kernel, versions, congestion control."""
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "nginx": _output("nginx", "-v"),
        "varnish": (_output("varnishd", "-V").splitlines() or [""])[0],
        "wrk": (_output("wrk", "-v").splitlines() or [""])[0],
        "h2load": _output("h2load", "--version"),
        "openssl": ssl.OPENSSL_VERSION,
        "congestion_control": congestion.read_text().strip() if congestion.exists() else "",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _output(*command: str) -> str:
    """Return what the command says on either stream; "" when it is absent or fails in git."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    if command[0] == "git" and done.returncode:
        return ""
    return (done.stdout + done.stderr).strip()

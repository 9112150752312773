"""The mirror under test, started as an operator would, in front of a simulated upstream.

Rules:
1. Its files live in the benchmark's folder; it listens on 127.0.0.1; no TCP control listener.
2. Freshness of index files is an hour, as the rivals' is: a round measures hits, not validation.

Runs in: benchmark.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.processes import Running, await_answer, descendants, free_port, started

_CONFIG = """
[serve]
listen = ["127.0.0.1:{port}"]
workers = {workers}
[control]
listen = ""
[store]
path = "{folder}/store"
budget = "8GiB"
[state]
path = "{folder}/state"
[upstream]
contact = "benchmark"
[upstream.releases]
urls = ["{releases}"]
[upstream.crates]
urls = ["{crates}"]
[upstream.index]
urls = ["{index}"]
[trust]
release_key_fingerprints = ["{signing_key}"]
[freshness]
index = "1h"
"""


class Upstream(Protocol):
    """Where the mirror fetches from: a `SimulatorProcess`, or something in front of one."""

    @property
    def releases_url(self) -> str: ...

    @property
    def crates_url(self) -> str: ...

    @property
    def index_url(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    base: str
    port: int
    running: Running

    def pids(self) -> list[int]:
        """Return the supervisor, the workers and the keeper."""
        return [self.running.pid, *descendants(self.running.pid)]

    def role(self, pid: int) -> str:
        """Say which process `pid` is; the keeper is the one that holds the store's lock."""
        if pid == self.running.pid:
            return "supervisor"
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(link).endswith("/store/lock"):
                    return "keeper"
        return "worker"


@contextlib.contextmanager
def edge(
    folder: Path,
    simulator: Upstream,
    *,
    workers: int,
    core: int | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[Edge]:
    """Run the mirror for the length of the block, ready to serve."""
    folder.mkdir()
    port = free_port()
    config = folder / "mirror.toml"
    config.write_text(
        _CONFIG.format(
            port=port,
            workers=workers,
            folder=folder,
            releases=simulator.releases_url,
            crates=simulator.crates_url,
            index=simulator.index_url,
            signing_key=simulator.fingerprint,
        )
    )
    command: list[str | Path] = [
        Path(sys.executable).parent / "rust-mirror",
        "serve",
        "--config",
        config,
    ]
    with started("mirror", command, folder, core=core, environment=environment) as running:
        base = f"http://127.0.0.1:{port}"
        await_answer(f"{base}/readyz", running)
        yield Edge(base=base, port=port, running=running)

"""Names of simulated objects, and what they must be: the reference that replies are compared with.

Rules:
1. Every archive asked for by `fresh_archive` is one that nobody has asked for before.
2. The reference is computed here or read from upstream directly, never through the mirror.

Runs in: tests.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import urllib.request
from dataclasses import dataclass
from typing import Any

from mirror.simulator.contents import KeyedContent, digest_line
from mirror.simulator.process import SimulatorProcess

DAY = "2026-03-05"
_SEED = 1  # the simulator's default
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A big object of the simulated dist tree."""

    path: str
    length: int
    sha256: str

    def __repr__(self) -> str:
        return f"<Archive {self.path}>"

    @property
    def key(self) -> str:
        return f"releases:{self.path}"

    @property
    def proof_bytes(self) -> int:
        """The length of its `.sha256`."""
        return len(digest_line(self.content, f" {self.path.rpartition('/')[2]}"))

    @property
    def content(self) -> KeyedContent:
        return KeyedContent(_SEED, self.path, self.length)


def fresh_archive(length: int) -> Archive:
    """Return an archive of `length` bytes under a name of its own."""
    path = f"/dist/{DAY}/big-{length}-t{os.getpid()}-{next(_NUMBERS)}.tar.gz"
    content = KeyedContent(_SEED, path, length)
    return Archive(path=path, length=length, sha256=content.sha256.hex())


def slow_archive(upstream: SimulatorProcess, length: int, bytes_per_s: int) -> Archive:
    """Return a fresh archive that upstream sends at this rate, by a fault named "slow"."""
    archive = fresh_archive(length)
    upstream.control.faults(
        {"kind": "rate", "path": archive.path, "bytes_per_s": bytes_per_s, "name": "slow"}
    )
    return archive


def reference(url: str) -> bytes:
    """Return what upstream has at `url`."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url) as response:
        content: bytes = response.read()
    return content


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def count_of(simulator: SimulatorProcess, site_and_path: str) -> dict[str, int]:
    """Return what one object has cost upstream, e.g. of "releases:/manifests.txt"."""
    objects: dict[str, dict[str, int]] = simulator.control.counts()["objects"]
    return objects.get(
        site_and_path,
        {"requests": 0, "bytes": 0, "not_modified": 0, "ranged": 0, "errors": 0},
    )


def log_of(simulator: SimulatorProcess, path: str) -> list[dict[str, Any]]:
    """Return upstream's log records about one path, oldest first."""
    return [record for record in simulator.control.log() if record["path"] == path]


def requests_total(simulator: SimulatorProcess) -> int:
    return int(simulator.control.counts()["total"]["requests"])

"""A cold body that several clients wait for: from their first request until it is published.

Rules:
1. A fill ends when the last client has its last byte and the index names the blob: that is behind
   the sha256 of all of it, the fsync of the file, and that of the directory.
2. Upstream is nginx with the body in its cache, where nginx is installed: the simulator alone is
   slower than the mirror. What was used is in the result.
3. Each round has a new mirror with an empty store; it knows the release's manifest by then, as
   after a first `rustup`. Beside each round the machine's own speeds are measured.
4. The ratio of a round is its rate by the smaller of the disk's and one core's sha256.

Units: bytes, seconds; MB are decimal. Runs in: benchmark (`python -m benchmarks.miss`).
"""

from __future__ import annotations

import contextlib
import hashlib
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.edge import Edge, Upstream, edge
from benchmarks.miss.followers import DEADLINE_S, follow
from benchmarks.miss.machine_speed import MachineSpeed, machine_speed
from benchmarks.miss.roles import cpu_by_role
from benchmarks.rivals import is_installed, nginx
from mirror.simulator.process import SimulatorProcess, start_simulator
from mirror.store.reader import StoreReader

FOLLOWERS = 8
ROUNDS = 5
SIZE = "100MB"
REQUIRED_RATIO = 0.8
_POLL_S = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One round: what it took, and of whose CPU."""

    content_bytes: int
    delivered_s: float
    published_s: float
    cpu_s: dict[str, float]
    machine: MachineSpeed

    @property
    def bytes_per_s(self) -> float:
        return self.content_bytes / max(self.delivered_s, self.published_s)

    @property
    def ratio(self) -> float:
        return self.bytes_per_s / self.machine.least_bytes_per_s

    def figures(self) -> dict[str, object]:
        return {
            "mb_per_s": round(self.bytes_per_s / 1e6, 1),
            "disk_mb_per_s": round(self.machine.disk_bytes_per_s / 1e6, 1),
            "sha256_mb_per_s": round(self.machine.sha256_bytes_per_s / 1e6, 1),
            "ratio": round(self.ratio, 3),
            "delivered_s": round(self.delivered_s, 4),
            "published_s": round(self.published_s, 4),
            "cpu_s": {name: round(used, 3) for name, used in self.cpu_s.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """An `Upstream` whose release files come from somewhere else than the simulator."""

    releases_url: str
    crates_url: str
    index_url: str
    fingerprint: str


def measure(
    *,
    rounds: int = ROUNDS,
    size: str = SIZE,
    followers: int = FOLLOWERS,
    workers: int = 1,
    folder: Path | None = None,
) -> dict[str, object]:
    """Run the rounds; `folder` is where the stores lie (a temporary one by default).

    `ratio` is the median of the rounds, `spread_ratio` how far they scatter around it.
    """
    with tempfile.TemporaryDirectory(prefix="bench-miss-", dir=folder) as name:
        root = Path(name)
        with start_simulator() as simulator, _upstream(simulator, root) as (source, server):
            target = _target(simulator, size)
            content = _content(source, target)
            fills = [
                _round(root / str(number), source, target, content, followers, workers)
                for number in range(rounds)
            ]
    return {**summary(fills), "followers": followers, "workers": workers, "upstream": server}


def summary(fills: list[Fill]) -> dict[str, object]:
    """Return medians, how far the ratios scatter, and every round."""
    ratios = [fill.ratio for fill in fills]
    ratio = statistics.median(ratios)
    return {
        "content_bytes": fills[0].content_bytes,
        "mb_per_s": round(statistics.median(fill.bytes_per_s for fill in fills) / 1e6, 1),
        "ratio": round(ratio, 3),
        "spread_ratio": round((max(ratios) - min(ratios)) / ratio, 3),
        "required_ratio": REQUIRED_RATIO,
        "is_met": ratio >= REQUIRED_RATIO,
        "rounds": [fill.figures() for fill in fills],
    }


@contextlib.contextmanager
def _upstream(simulator: SimulatorProcess, root: Path) -> Iterator[tuple[Upstream, str]]:
    if not is_installed("nginx"):
        yield simulator, "simulator"
        return
    with nginx(
        root / "upstream",
        index_url=simulator.index_url,
        releases_url=simulator.releases_url,
        core=None,
    ) as (_, base):
        yield (
            _Source(
                releases_url=base,
                crates_url=simulator.crates_url,
                index_url=simulator.index_url,
                fingerprint=simulator.fingerprint,
            ),
            "nginx",
        )


def _round(
    folder: Path, source: Upstream, target: str, content: bytes, followers: int, workers: int
) -> Fill:
    folder.mkdir()
    machine = machine_speed(folder, content)
    with edge(folder / "mirror", source, workers=workers) as mirror:
        _make_known(mirror, target)
        before = cpu_by_role(mirror)
        with _Publication(folder / "mirror" / "store", target) as publication:
            delivered_s = follow(
                mirror.port, target, followers, content, on_began=publication.began
            )
            published_s = publication.wait_s()
        after = cpu_by_role(mirror)
    return Fill(
        content_bytes=len(content),
        delivered_s=delivered_s,
        published_s=published_s,
        cpu_s={role: after[role] - before.get(role, 0.0) for role in after},
        machine=machine,
    )


class _Publication:
    """Looks into the index until it names the object."""

    def __init__(self, store: Path, target: str) -> None:
        self._store = store
        self._key = f"releases:{target}"
        self._began_at = 0.0
        self._ended_at = 0.0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> _Publication:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def began(self) -> None:
        self._began_at = time.monotonic()
        self._thread.start()

    def wait_s(self) -> float:
        """Return how long it took from `began` on. Raises RuntimeError when it does not come."""
        self._thread.join(DEADLINE_S)
        if not self._ended_at:
            raise RuntimeError(f"{self._key} was not published")
        return self._ended_at - self._began_at

    def _look(self) -> None:
        reader = StoreReader(str(self._store))
        try:
            while not self._is_over.wait(_POLL_S):
                if reader.lookup(self._key) is not None:
                    self._ended_at = time.monotonic()
                    return
        finally:
            reader.close()


def _make_known(mirror: Edge, target: str) -> None:
    """Ask for a small archive of the same release: its manifest is read before the fill."""
    small = target.replace(f"big-{target.partition('big-')[2].partition('-')[0]}", "big-64KiB")
    with urllib.request.urlopen(mirror.base + small, timeout=60) as answer:
        answer.read()


def _target(simulator: SimulatorProcess, size: str) -> str:
    date = simulator.control.state()["releases"][0]["date"]
    return f"/dist/{date}/big-{size}-x86_64-unknown-linux-gnu.tar.gz"


def _content(source: Upstream, target: str) -> bytes:
    """Return what upstream has, checked against its own digest; a cache before it has it then."""
    for _ in range(2):
        with urllib.request.urlopen(f"{source.releases_url}{target}", timeout=120) as answer:
            content: bytes = answer.read()
    with urllib.request.urlopen(f"{source.releases_url}{target}.sha256", timeout=60) as answer:
        expected = str(answer.read().split()[0], "ascii")
    if hashlib.sha256(content).hexdigest() != expected:
        raise RuntimeError(f"upstream's {target} is not what its .sha256 says")
    return content

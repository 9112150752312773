"""Real cargo over a line with 50 ms latency each way: HTTP/2 by upgrade, and HTTP/1.1.

Rules:
1. The same mirror, warm, the same crates, a new home for every fetch; only the protocol differs:
   one mirror has `[serve.http2] enabled = false`.
2. HTTP/1.1 is measured as cargo does it by default, and with `http.multiplexing = false`, where it
   opens several connections; the first is what the promise is about.

Units: seconds. Runs in: benchmark.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.behaviour.delay_line import delayed
from benchmarks.edge import edge
from mirror.simulator.process import SimulatorProcess, start_simulator
from mirror.simulator.real_clients import (
    ClientHome,
    RealClients,
    find_real_clients,
    write_workspace,
)

NAME = "cargo fetch at 50 ms latency each way"
LATENCY_S = 0.05
LEAST_REQUESTS = 120
PROMISED_RATIO = 5.0
H2C = "h2c"
_PROTOCOLS: Mapping[str, Mapping[str, str]] = {
    H2C: {},
    "http/1.1": {},
    "http/1.1, not multiplexed": {"CARGO_HTTP_MULTIPLEXING": "false"},
}


def measure(rounds: int) -> dict[str, object]:
    """Return medians of fetches; {} where cargo is absent."""
    clients = find_real_clients()
    if clients is None:
        return {}
    runs: dict[str, list[float]] = {name: [] for name in _PROTOCOLS}
    requests: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name, start_simulator() as simulator:
        folder = Path(name)
        with _mirrors(folder, simulator) as ports:
            for number in range(rounds + 1):
                for protocol, extra in _PROTOCOLS.items():
                    port = ports[protocol == H2C]
                    home = folder / f"{number}-{list(_PROTOCOLS).index(protocol)}"
                    took_s, requests[protocol] = _fetch(home, clients, port, extra)
                    if number:  # the first of each fills the mirror
                        runs[protocol].append(took_s)
    return {
        "requests": requests,
        "median_s": {name: round(statistics.median(seen), 3) for name, seen in runs.items()},
        "rounds_s": {name: [round(one, 3) for one in seen] for name, seen in runs.items()},
    }


def report(figures: Mapping[str, object]) -> bool:
    """Print the figures; whether the promise is met. Without cargo nothing is shown, and missed."""
    print(f"\n{NAME}")
    if not figures:
        print("  rustup with a toolchain is absent: not measured")
        return False
    medians, requests = figures["median_s"], figures["requests"]
    if not isinstance(medians, dict) or not isinstance(requests, dict):
        raise TypeError("figures of `measure` are wanted")
    for name, median_s in medians.items():
        print(f"  {name:<28}{median_s:>8.2f} s   {requests[name]} downloads")
    ratio = float(medians["http/1.1"]) / float(medians[H2C])
    is_met = bool(ratio >= PROMISED_RATIO and min(requests.values()) >= LEAST_REQUESTS)
    print(f"  h2c {ratio:.1f} x faster; promise {PROMISED_RATIO}: {'met' if is_met else 'MISSED'}")
    return is_met


@contextlib.contextmanager
def _mirrors(folder: Path, simulator: SimulatorProcess) -> Iterator[dict[bool, int]]:
    """Yield the port of a delayed line to the mirror with and to the one without HTTP/2."""
    with contextlib.ExitStack() as stack:
        ports = {}
        for is_on in (True, False):
            mirror = stack.enter_context(
                edge(
                    folder / f"mirror-{'on' if is_on else 'off'}",
                    simulator,
                    workers=2,
                    environment={"RUST_MIRROR__SERVE__HTTP2__ENABLED": str(is_on).lower()},
                )
            )
            ports[is_on], _ = stack.enter_context(delayed(mirror.port, LATENCY_S))
        yield ports


def _fetch(
    root: Path, clients: RealClients, port: int, extra: Mapping[str, str]
) -> tuple[float, int]:
    """Fetch the tree of `harvest` in a new home; return the time and the number of downloads."""
    base = f"http://127.0.0.1:{port}"
    home = ClientHome(
        root, clients, releases_url=base, index_url=f"{base}/index", extra=dict(extra)
    )
    workspace = write_workspace(root / "work", {"harvest": "1"})
    started_at = time.monotonic()
    result = home.cargo("fetch", workspace=workspace)
    took_s = time.monotonic() - started_at
    if result.returncode:
        raise RuntimeError(f"cargo fetch failed: {result.stderr[-2000:]}")
    archives = len(list((home.cargo_home / "registry" / "cache").glob("*/*.crate")))
    return took_s, 2 * archives  # each crate has an index file

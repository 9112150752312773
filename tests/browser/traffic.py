"""Traffic that makes a page worth looking at: releases, crates, index files, absences, hits.

Runs in: tests.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge

_CRATES = ("harvest", "io", "rgb", "x9", "q", "plusmeta")
CARGO = {"User-Agent": "cargo/1.90.0 (840b83a10 2025-07-30)"}
RUSTUP = {"User-Agent": "rustup/1.29.0"}


def index_path(name: str) -> str:
    lower = name.lower()
    if len(lower) <= 2:
        return f"/index/{len(lower)}/{lower}"
    if len(lower) == 3:
        return f"/index/3/{lower[0]}/{lower}"
    return f"/index/{lower[:2]}/{lower[2:4]}/{lower}"


def crate_path(name: str, version: str = "1.0.0") -> str:
    return f"/crates/{name}/{name}-{version}.crate"


def drive(edge: Edge, rounds: int = 6) -> None:
    """Ask as runners do: the same things by many, some of it cold, some of it absent."""
    paths = [(index_path(name), CARGO) for name in _CRATES if name != "plusmeta"]
    paths += [(crate_path(name), CARGO) for name in _CRATES if name != "plusmeta"]
    paths += [("/index/config.json", CARGO), (index_path("no-such-crate"), CARGO)]
    for suffix in ("", ".sha256", ".asc"):
        paths.append((f"/dist/channel-rust-stable.toml{suffix}", RUSTUP))
    paths += [("/dist/2026-05-15/big-3MB-x86_64-unknown-linux-gnu.tar.gz", RUSTUP)]
    paths += [("/rustup/release-stable.toml", RUSTUP)]
    for _ in range(rounds):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda item: edge.get(*item), paths))


def spoil(edge: Edge, simulator: SimulatorProcess) -> str:
    """Have upstream send a crate that is not what its index says; return its key."""
    path = crate_path("heavy")
    simulator.control.faults({"kind": "corrupt", "path": path, "at": 1000, "site": "crates"})
    edge.get(index_path("heavy"), CARGO)
    with contextlib.suppress(http.client.IncompleteRead):  # it is cut short, never completed wrong
        edge.get(path, CARGO)
    return f"crates:{path}"

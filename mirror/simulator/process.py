"""A simulator in a process of its own, for tests, demo and benchmarks.

```python
with start_simulator(seed=1) as simulator:
    simulator.releases_url, simulator.crates_url, simulator.index_url   # no trailing slash
    simulator.control.advance("stable")
```

Upstream URLs: releases `<releases_url>/dist/…`, `/rustup/…`, `/manifests.txt`,
`/rust-key.gpg.ascii`; crates `<crates_url>/crates/<name>/<name>-<version>.crate`; index
`<index_url>/se/rd/serde`, `<index_url>/config.json`.

What is there at first:
- stable 1.94.0 of 2026-03-05; `advance("stable")` publishes 1.95.0 (2026-04-16), then 1.96.0 …
- beta 1.96.0-beta.1 of 2026-04-18; `advance("beta")` the next one.
- nightlies 2026-05-15, -16 (complete), -18 (no clippy), -19 (no rustfmt), -20 (no clippy); no -17.
  The default profile backtracks from -20 to -16, with 404 for -17; minimal installs -20.
  `advance("nightly")` publishes 2026-05-21, complete.
- `flip("nightly")` publishes the next day's generation of a channel in a millisecond, from the same
  archives; `flip("1.60")` makes that channel.
- target wasm32-unknown-unknown (`rust-std`), component rust-src; profiles minimal, default,
  complete.
- rustup 1.29.0; `advance("rustup")` publishes 1.29.9. `rustup_binary=` is served as rustup-init.
- `/dist/<any published date>/big-<n><unit>-x86_64-unknown-linux-gnu.tar.gz` with its `.sha256` and
  `.asc`: any size, for example `big-100MB-…`, `big-64KiB-…` (KB, MB, GB, KiB, MiB, GiB).
- crates (`crate_graph.py`): root `harvest` (130 and more in its tree, all at 1.0.0), `io`, `rgb`,
  `x9`, `q` (smallest index file, no dependencies), `MixedCase`, `Under_Score`, `plusmeta`
  1.0.0+build.5, `fading` (1.1.0 yanked), `chronicle` (index file over 100 KB), `heavy` (2 MB
  crate), `vanishing` 1.0.0 and 1.0.1 (outside the tree, for `delete_crate`), 331 in all.

Clients: `real_clients.py` (isolated stock rustup and cargo), `built_in_client.py` (asks the same),
`tcp_proxy.py` (spoils connections). Fault rules: `faults.py`. Verbs: `control.py`, and those that
attack: `attack_verbs.py`. `stop_serving` takes down all three hosts; the control listener stays.

Rules:
1. The process is ended by its own id; it also ends when this process does (its standard input
   closes).
2. Its standard error is passed through.

Runs in: tests, demo, benchmarks.
"""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from mirror.simulator.control_client import ControlClient

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 5.0


class SimulatorProcess:
    """A running simulator; a context manager that ends it."""

    def __init__(self, process: subprocess.Popen[bytes], urls: dict[str, str]) -> None:
        self._process = process
        self.releases_url = urls["releases_url"]
        self.crates_url = urls["crates_url"]
        self.index_url = urls["index_url"]
        self.control_url = urls["control_url"]
        self.fingerprint = urls["fingerprint"]
        self.control = ControlClient(self.control_url)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """End the process; safe to call twice."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _close_pipes(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def start_simulator(
    *,
    seed: int = 1,
    dl: str = "upstream",
    rustup_binary: Path | None = None,
    payload_scale: int = 1,
    gzip_index: bool = False,
    listen: str = "127.0.0.1:0",
    host_triple: str = "",
) -> SimulatorProcess:
    """Start a simulator and wait until it listens.

    `dl="local"` lets its config.json name its own crates listener, for a cargo without a mirror.
    `gzip_index` lets it code index files with gzip (weak entity tag, as CloudFront compresses).
    `host_triple` is the target that its releases have a compiler for (as `rustc -vV` says); "":
    x86_64-unknown-linux-gnu.
    `payload_scale` multiplies the sizes of component archives (1: a release is about 1 MB).
    Raises: RuntimeError when it does not come up.
    """
    command = [sys.executable, "-m", "mirror.simulator", "--exit-with-stdin"]
    command += ["--seed", str(seed), "--dl", dl, "--listen", listen]
    command += ["--payload-scale", str(payload_scale)]
    if gzip_index:
        command.append("--gzip-index")
    if host_triple:
        command += ["--host-triple", host_triple]
    if rustup_binary:
        command += ["--rustup-binary", str(rustup_binary)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    line = _first_line(process.stdout) if process.stdout else b""
    if not line:
        process.kill()
        process.wait()
        _close_pipes(process)
        raise RuntimeError(f"the simulator did not start (exit status {process.returncode})")
    return SimulatorProcess(process, json.loads(line))


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def _first_line(pipe: IO[bytes]) -> bytes:
    """Return the first line, or nothing when it does not come in time."""
    deadline_at = time.monotonic() + _START_TIMEOUT_S
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        if not selector.select(max(deadline_at - time.monotonic(), 0)):
            return b""
    return pipe.readline()

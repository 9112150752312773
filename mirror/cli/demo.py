"""`rust-mirror demo`: three rounds of real clients against a simulated upstream, then a table.

Rules:
1. Round 1 is cold, round 2 has new homes and a warm mirror, round 3 has no upstream at all.
2. Everything lives below one temporary directory, which is removed at the end, however it ends.
3. `DEMO_ONCE=1` ends after the table; otherwise the mirror stays until Ctrl-C.

Runs in: the demo.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mirror.cli.demo_clients import (
    Cargo,
    Client,
    Rustup,
    find_cargo,
    find_host_triple,
    find_rustup,
)
from mirror.cli.demo_mirror import DemoError, DemoMirror, UpstreamUrls
from mirror.cli.demo_requests import LikeCargo, LikeRustup
from mirror.cli.tables import size_text, traffic_table
from mirror.simulator.process import SimulatorProcess, start_simulator

_ROUNDS = (
    ("cold", "nothing is stored yet"),
    ("warm", "new client homes, the mirror has everything"),
    ("upstream stopped", "new client homes, and nobody to fetch from"),
)
_WATCH_S = 0.5


@click.command()
def demo() -> int:
    """Start a simulated upstream and a mirror, and let rustup and cargo install through it.

    \b
    Nothing outside a temporary directory is touched; no internet is needed.
    Example:
      DEMO_ONCE=1 rust-mirror demo      end after the table
    """
    console = Console(highlight=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    try:
        with _directory() as root:
            _show(root, console)
    except KeyboardInterrupt:
        console.print("\nstopped; the temporary directory is removed")
    return 0


def _show(root: Path, console: Console) -> None:
    rustup, cargo = find_rustup(), find_cargo()
    with _step(console, "simulated upstream"):
        simulator = start_simulator(rustup_binary=rustup, host_triple=find_host_triple(cargo))
    with simulator:
        urls = UpstreamUrls(
            releases=simulator.releases_url,
            crates=simulator.crates_url,
            index=simulator.index_url,
            signing_key=simulator.fingerprint,
        )
        with contextlib.ExitStack() as stack:
            with _step(console, "mirror: a supervisor, two workers, a keeper"):
                mirror = stack.enter_context(DemoMirror(root, urls))
            console.print(f"  listening on {mirror.url}")
            rounds = _run_rounds(root, mirror, simulator, _clients(console, rustup, cargo), console)
            console.print()
            console.print(_rounds_table(rounds))
            console.print(traffic_table(mirror.traffic(), "all rounds, by class of content"))
            simulator.control.resume_serving()
            if os.environ.get("DEMO_ONCE", "") in ("", "0"):
                _stay(mirror, console)


def _clients(console: Console, rustup: Path | None, cargo: Path | None) -> list[Client]:
    """Return the clients of a round, and say which of them are real."""
    clients: list[Client] = []
    for name, found in (("rustup", rustup), ("cargo", cargo)):
        note = (
            f"real {name}: {found}" if found else f"no {name} here: the built-in client stands in"
        )
        console.print(f"  {escape(note)}", soft_wrap=True)
    clients.append(Rustup(binary=rustup) if rustup else LikeRustup())
    clients.append(Cargo(binary=cargo) if cargo else LikeCargo())
    return clients


def _run_rounds(
    root: Path,
    mirror: DemoMirror,
    simulator: SimulatorProcess,
    clients: list[Client],
    console: Console,
) -> list[dict[str, Any]]:
    """Run all rounds; return what each added to the traffic, with its name and seconds."""
    rounds = []
    before = mirror.traffic()["total"]
    for number, (name, meaning) in enumerate(_ROUNDS, 1):
        console.print(f"\nround {number}, {name}: {meaning}")
        if name == "upstream stopped":
            simulator.control.stop_serving()
        began_at = time.monotonic()
        for client in clients:
            home = root / f"home-{number}-{type(client).__name__.lower()}"
            home.mkdir()
            with _step(console, client.title) as step:
                step["result"] = client.run(mirror.url, home)
            shutil.rmtree(home, ignore_errors=True)
        after = mirror.traffic()["total"]
        rounds.append(
            {"name": name, "took_s": time.monotonic() - began_at}
            | {key: after[key] - before[key] for key in after if isinstance(after[key], int)}
        )
        before = after
    return rounds


def _rounds_table(rounds: list[dict[str, Any]]) -> Table:
    table = Table(title="what each round cost", title_justify="left")
    table.add_column("round")
    for heading in ("seconds", "requests", "served", "upstream requests", "fetched", "saved"):
        table.add_column(heading, justify="right")
    for entry in rounds:
        table.add_row(
            entry["name"],
            f"{entry['took_s']:.1f}",
            f"{entry['requests']:,}",
            size_text(entry["served_bytes"]),
            f"{entry['upstream_requests']:,}",
            size_text(entry["fetched_bytes"]),
            size_text(entry["saved_bytes"]),
        )
    return table


def _stay(mirror: DemoMirror, console: Console) -> None:
    """Leave the mirror running until Ctrl-C, and say how to use it."""
    url = mirror.url
    console.print(
        f"\nThe mirror keeps running, with the simulated upstream behind it: {url}/\n"
        f"  export RUSTUP_DIST_SERVER={url}\n"
        f"  export RUSTUP_UPDATE_ROOT={url}/rustup\n"
        "and in $CARGO_HOME/config.toml\n"
        '  \\[source.crates-io]\n  replace-with = "mirror"\n'
        f'  \\[source.mirror]\n  registry = "sparse+{url}/index/"\n'
        f"  rust-mirror status --set state.path={escape(mirror.state_path)}\n"
        f"  rust-mirror report --set state.path={escape(mirror.state_path)}\n"
        f"The dashboard: {mirror.dashboard_url()}\n"
        "Ctrl-C ends it and removes everything.",
        soft_wrap=True,
    )
    while mirror.exit_code() is None:
        time.sleep(_WATCH_S)
    raise DemoError(f"the mirror ended with exit code {mirror.exit_code()}")


@contextlib.contextmanager
def _step(console: Console, title: str) -> Iterator[dict[str, str]]:
    """Show that `title` is under way, then how long it took and its `result`."""
    began_at = time.monotonic()
    step: dict[str, str] = {}
    waiting = console.status(f"{escape(title)} …") if console.is_terminal else None
    with waiting or contextlib.nullcontext():
        if waiting is None:
            console.print(f"  {escape(title)} …", soft_wrap=True)
        yield step
    result = f": {step['result']}" if "result" in step else ""
    took_s = time.monotonic() - began_at
    console.print(f"  done in {took_s:.1f} s: {escape(title + result)}", soft_wrap=True)


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="rust-mirror-demo-"))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _end(_number: int, _frame: FrameType | None) -> None:
    """Ctrl-C and SIGTERM end the demo, with everything cleaned up."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # a second one must not cut the clean-up short
    raise KeyboardInterrupt

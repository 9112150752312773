"""The simulator as a process: `python -m mirror.simulator --seed 1 --listen 127.0.0.1:0`.

Rules:
1. When everything listens, one JSON line with the URLs goes to standard output.
2. `--listen HOST:P` with a port uses P for releases, P+1 crates, P+2 index, P+3 control.
3. It ends on SIGTERM and SIGINT, and with `--exit-with-stdin` when standard input ends, so that it
   cannot outlive the process that started it.

Runs in: simulator.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from aiohttp import web

from mirror.simulator.control import Control
from mirror.simulator.published import Site
from mirror.simulator.rustup_files import FIRST_RUSTUP
from mirror.simulator.simulator import Simulator
from mirror.simulator.upstream import DEFAULT_HOST, SimulatorOptions


def main() -> None:
    """Run until told to stop; an address that cannot be had ends the process with a sentence."""
    arguments = _arguments()
    try:
        asyncio.run(_run(arguments))
    except OSError as exc:
        sys.exit(f"simulator: {arguments.listen}: {exc.strerror}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m mirror.simulator", description="A believable Rust upstream."
    )
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dl", choices=("upstream", "local"), default="upstream")
    parser.add_argument("--host-triple", default=DEFAULT_HOST)
    parser.add_argument("--rustup-binary", type=Path, help="served as rustup-init")
    parser.add_argument("--rustup-version", default=FIRST_RUSTUP, help="the version at start")
    parser.add_argument("--payload-scale", type=int, default=1, help="bigger component archives")
    parser.add_argument("--gzip-index", action="store_true", help="gzip index files on request")
    parser.add_argument("--exit-with-stdin", action="store_true")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    host, _, port_text = arguments.listen.rpartition(":")
    first_port = int(port_text)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    options = SimulatorOptions(
        seed=arguments.seed,
        host_triple=arguments.host_triple,
        dl=arguments.dl,
        rustup_binary=arguments.rustup_binary,
        rustup_version=arguments.rustup_version,
        payload_scale=arguments.payload_scale,
        gzip_index=arguments.gzip_index,
    )
    simulator = Simulator(options, host=host.strip("[]"))
    ports = {site: first_port + step for step, site in enumerate(Site) if first_port}
    await simulator.start(ports)
    runner = web.AppRunner(Control(simulator).application(), access_log=None)
    await runner.setup()
    control = web.TCPSite(runner, host.strip("[]"), first_port + 3 if first_port else 0)
    await control.start()
    urls = {
        "releases_url": simulator.releases_url,
        "crates_url": simulator.crates_url,
        "index_url": simulator.index_url,
        "control_url": f"http://{host}:{runner.addresses[0][1]}",
        "fingerprint": simulator.upstream.signer.fingerprint,
    }
    sys.stdout.write(json.dumps(urls) + "\n")
    sys.stdout.flush()
    watcher = asyncio.ensure_future(_stdin_ended(stopping)) if arguments.exit_with_stdin else None
    await stopping.wait()
    if watcher:
        watcher.cancel()
    await simulator.aclose()
    await runner.cleanup()


async def _stdin_ended(stopping: asyncio.Event) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(4096):
        pass
    stopping.set()


if __name__ == "__main__":
    main()

"""The origin behind all servers of the benchmark: one folder over HTTP/1.1.

Usage: python -m benchmarks.hit.origin FOLDER PORT

It is asked once per object and server, before anything is measured.

Runs in: a process of the benchmark.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from benchmarks.processes import await_answer, free_port, started

READY = "/ready"


def main() -> None:
    """Serve the folder until SIGTERM."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    (folder / READY.lstrip("/")).write_bytes(b"ready\n")
    application = web.Application()
    application.router.add_static("/", folder)
    web.run_app(application, host="127.0.0.1", port=port, print=None, access_log=None)


@contextlib.contextmanager
def origin(folder: Path, logs: Path) -> Iterator[str]:
    """Serve `folder` for the length of the block; yields the base URL."""
    port = free_port()
    command: list[str | Path] = [
        sys.executable, "-m", "benchmarks.hit.origin", folder, str(port),
    ]  # fmt: skip
    with started("origin", command, logs) as running:
        base = f"http://127.0.0.1:{port}"
        await_answer(base + READY, running)
        yield base


if __name__ == "__main__":
    main()

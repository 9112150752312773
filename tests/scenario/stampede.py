"""Many clients that want one cold object at once: upstream is asked once, everybody gets it right.

Runs in: tests, soak.
"""

from __future__ import annotations

import asyncio
import hashlib

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import DEADLINE_S, Edge
from tests.scenario.upstream_objects import count_of, fresh_archive


def stampede(edge: Edge, upstream: SimulatorProcess, clients: int, length: int) -> None:
    """Let `clients` ask for one cold archive at once; the soak takes more of them."""
    archive = fresh_archive(length)
    rule = {"kind": "delay", "ms": 1000, "path": archive.path, "name": archive.path}
    upstream.control.faults(rule)  # so that all of them come while it is cold
    replies = asyncio.run(_ask_at_once(edge.port, archive.path, clients))
    assert len(replies) == clients
    assert set(replies) == {(200, archive.length, archive.sha256)}
    assert upstream.control.faults_fired()[archive.path] == 1
    for key in (archive.key, f"{archive.key}.sha256"):
        assert count_of(upstream, key)["requests"] == 1


async def _ask_at_once(port: int, path: str, clients: int) -> list[tuple[int, int, str]]:
    return await asyncio.gather(*(_ask(port, path) for _ in range(clients)))


async def _ask(port: int, path: str) -> tuple[int, int, str]:
    """Return status, length and digest of what came."""
    async with asyncio.timeout(DEADLINE_S * 2):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        digest, length = hashlib.sha256(), 0
        while piece := await reader.read(65536):
            digest.update(piece)
            length += len(piece)
        writer.close()
        return int(head.split()[1]), length, digest.hexdigest()

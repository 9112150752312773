"""Fills what a mirror keeps up to a bound: what still grows afterwards would grow for ever.

Rules:
1. The store evicts, every object that may be sampled is, memory for contents is full, and the
   keeper has seen more objects than it knows by name.

Units: bytes. Runs in: benchmark.
"""

from __future__ import annotations

from typing import Final

from tests.scenario.edge import Edge
from tests.scenario.exchange import Client
from tests.scenario.upstream_objects import fresh_archive

# With the bounds small there is less to fill.
SETTINGS: Final = {
    "store.budget": "128MiB",
    "serve.hot_memory": "16MiB",
    "accounting.sampled_objects": "256",
}
_SMALL, _SMALL_BYTES = 4_000, 900
_MIDDLE, _MIDDLE_BYTES = 600, 300_000  # more than the budget


def fill(mirror: Edge) -> None:
    """Ask for very many objects, for those of middle size until they are kept in memory."""
    with Client(mirror.port) as client:
        for length, count, times in ((_SMALL_BYTES, _SMALL, 2), (_MIDDLE_BYTES, _MIDDLE, 3)):
            for _ in range(count):
                path = fresh_archive(length).path
                for _ in range(times):
                    reply = client.fetch(path, keeps_content=False)
                    if reply.status != 200:
                        raise RuntimeError(f"{path}: {reply!r}")

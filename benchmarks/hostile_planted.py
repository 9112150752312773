"""Wrong bodies that are shown to the good clients: who does not see them proves nothing.

Units: bytes, seconds. Runs in: benchmark, tests.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.hostile_good import GoodClients, Phase
from mirror.simulator.tcp_proxy import TcpFaults, TcpProxy
from tests.scenario.body_checker import Known
from tests.scenario.edge import DEADLINE_S, wait_until

PLANTED_AT = 100_000  # in an answer that must be longer


def planted_bodies_found(port: int, item: Known) -> int:
    """Show the good clients a body with one wrong byte until both versions of HTTP noticed it.

    Returns how many were found. Raises AssertionError when one of them is blind.
    """
    wrong: list[str] = []
    with _spoiled(port) as proxy_port, GoodClients(proxy_port, [item]) as clients:

        def both_noticed() -> bool:
            phase: Phase = clients.end_phase()
            wrong.extend(phase.wrong)
            return {text.split()[0] for text in wrong} >= {"Http1Client", "Http2Client"}

        wait_until(both_noticed, "the planted wrong bodies are found")
    return len(wrong)


@contextmanager
def _spoiled(port: int) -> Iterator[int]:
    """Run a proxy in front of `port` that flips one byte of every connection."""
    loop = asyncio.new_event_loop()
    proxy = TcpProxy("127.0.0.1", port, TcpFaults(corrupt_at=PLANTED_AT))
    loop.run_until_complete(proxy.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield proxy.port
    finally:
        asyncio.run_coroutine_threadsafe(proxy.aclose(), loop).result(DEADLINE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

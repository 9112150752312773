"""TLS 1.3 connections one after the other: what each costs the server.

Rules:
1. A connection is a handshake, one request with `Connection: close`, and its answer: session
   tickets come after the handshake, and a server that never answers has finished nothing.
2. A resumed connection must say that it was resumed, a full one that it was not; else it raises.
3. The client waits for each connection to end, so the server's CPU time is that of the connections.

Units: seconds. Runs in: benchmark.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from pathlib import Path

from benchmarks.hit.round import Load

CONNECTIONS = 300


def handshakes(
    base: str, target: str, authority: Path, *, resumes: bool, count: int = CONNECTIONS
) -> tuple[Load, float]:
    """Make `count` connections; return them as a load, and this client's CPU seconds.

    Raises: RuntimeError when a connection is not of the wanted kind or not answered with 200.
    """
    host, _, port = base.partition("//")[2].partition(":")
    context = ssl.create_default_context(cafile=str(authority))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    session = _connection(context, (host, int(port)), target, None)[1] if resumes else None
    began, cpu = time.monotonic(), os.times()
    received = 0
    for _ in range(count):
        length, session = _connection(context, (host, int(port)), target, session)
        received += length
        if not resumes:
            session = None
    took, used = time.monotonic() - began, os.times()
    load = Load(requests=count, received_bytes=received, duration_s=took)
    return load, used.user + used.system - cpu.user - cpu.system


def _connection(
    context: ssl.SSLContext, address: tuple[str, int], target: str, session: ssl.SSLSession | None
) -> tuple[int, ssl.SSLSession | None]:
    with (
        socket.create_connection(address, timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
    ):
        connection.sendall(
            f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        answer = bytearray()
        while piece := connection.recv(65536):
            answer += piece
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{address}: {bytes(answer[:60])!r}")
        if connection.session_reused is not (session is not None):
            wanted = "resumed" if session is not None else "full"
            raise RuntimeError(f"{address}: the handshake was not {wanted}")
        return len(answer), connection.session

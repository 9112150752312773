"""Warm up, then measure a case on every server in interleaved rounds A B C A B C.

Rules:
1. Before a case counts, every server's bytes are compared with what was published; the mirror must
   call its answer a hit. Of many URIs each is asked, twice.
2. A round asks one server; the others are idle then. Before the first round of an attempt each is
   asked for a moment with the same load, which is not counted: files are opened, heads are learned.
3. An attempt whose rounds scatter too much for a pair of the table is repeated; all attempts are
   kept, and which counts is decided in `benchmarks.hit.verdict`.

Runs in: benchmark.
"""

from __future__ import annotations

import hashlib
import http.client
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hit.cases import Case, Kind
from benchmarks.hit.clients import h2load, wrk
from benchmarks.hit.handshakes import handshakes
from benchmarks.hit.objects import Published
from benchmarks.hit.round import Load, Round, round_of
from benchmarks.hit.servers import MIRROR, Protocol, Server
from benchmarks.processes import cpu_s

_READ_BYTES = 1 << 20
_TIMEOUT_S = 120
_STORED_DEADLINE_S = 60.0  # a body is answered before it is on the disk
_POLL_S = 0.05
_SETTLE_S = 1.0  # about eight times 10,000 URIs
Attempt = dict[str, list[Round]]  # server -> its rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a case needs of the benchmark: its objects, as published, and the list of targets."""

    published: Published
    targets: Path
    authority: Path


def warm(server: Server, published: Published) -> None:
    """Ask for every object until it is stored, and compare it.

    Raises: RuntimeError for other bytes, or a mirror whose answer is no hit.
    """
    host, _, port = server.bases[Protocol.HTTP1].partition("//")[2].partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=_TIMEOUT_S)
    try:
        for number, target in enumerate(published.targets):
            _ask(connection, server, target, published.digests[number])
        for number, target in enumerate(published.targets):
            status = _ask(connection, server, target, published.digests[number])
            until = time.monotonic() + _STORED_DEADLINE_S
            while server.name == MIRROR and "hit" not in status:
                if time.monotonic() > until:
                    raise RuntimeError(f"the mirror's answer for {target} is no hit: {status!r}")
                time.sleep(_POLL_S)
                status = _ask(connection, server, target, published.digests[number])
    finally:
        connection.close()


def least_s(case: Case, servers: Sequence[Server], *, rounds: int, duration_s: float) -> float:
    """Return how long an attempt takes at least."""
    speaking = sum(case.protocol in server.bases for server in servers)
    return speaking * (rounds * duration_s + _SETTLE_S)


def attempt(
    case: Case,
    stage: Stage,
    servers: Sequence[Server],
    *,
    rounds: int,
    duration_s: float,
    say: Callable[[str], None],
) -> Attempt:
    """Measure `rounds` interleaved rounds of every server that speaks the case's protocol."""
    speaking = [server for server in servers if case.protocol in server.bases]
    found: Attempt = {server.name: [] for server in speaking}
    tags = {server.name: _tag(server, stage.published.targets[0]) for server in speaking}
    for server in speaking if not case.kind.is_handshake else []:
        say(f"{case.name}: settling, {server.name}")
        _load(case, stage, server, tags[server.name], _SETTLE_S)
    for number in range(rounds):
        for server in speaking:
            say(f"{case.name}: round {number + 1} of {rounds}, {server.name}")
            server.forget_log()
            before = cpu_s(server.pids())
            load, client_cpu_s = _load(case, stage, server, tags[server.name], duration_s)
            used_s = cpu_s(server.pids()) - before
            _check_lengths(case, stage, server, load)
            found[server.name].append(
                round_of(load, server_cpu_s=used_s, client_cpu_s=client_cpu_s)
            )
    return found


def _load(
    case: Case, stage: Stage, server: Server, tag: str, duration_s: float
) -> tuple[Load, float]:
    base = server.bases[case.protocol]
    if case.kind.is_handshake:
        return handshakes(
            base,
            stage.published.targets[0],
            stage.authority,
            resumes=case.kind is Kind.HANDSHAKE_RESUMED,
        )
    if case.protocol.is_http2:
        return h2load(
            base,
            stage.targets,
            connections=case.connections,
            streams=case.streams,
            duration_s=duration_s,
        )
    fields = {
        Kind.NOT_MODIFIED: [f"if-none-match: {tag}"],  # spelled as cargo does
        Kind.NEW_CONNECTION: ["Connection: close"],
    }.get(case.kind, [])
    return wrk(
        base, stage.targets, connections=case.connections, duration_s=duration_s, fields=fields
    )


def _check_lengths(case: Case, stage: Stage, server: Server, load: Load) -> None:
    """A server that answers short is not fast. Raises: RuntimeError."""
    shortest = min(stage.published.lengths)
    per_request = load.received_bytes / max(load.requests, 1)
    if case.kind is Kind.NOT_MODIFIED:
        if per_request >= shortest:
            raise RuntimeError(f"{server.name} does not answer 304 but {per_request:.0f} bytes")
    elif per_request < shortest:
        raise RuntimeError(f"{server.name}: {per_request:.0f} bytes of {shortest} per answer")


def _ask(connection: http.client.HTTPConnection, server: Server, target: str, digest: bytes) -> str:
    """Return the answer's Cache-Status; its content is hashed as it comes."""
    connection.request("GET", target)
    answer = connection.getresponse()
    hashed = hashlib.sha256()
    while piece := answer.read(_READ_BYTES):
        hashed.update(piece)
    if answer.status != 200 or hashed.digest() != digest:
        raise RuntimeError(f"{server.name} answers {answer.status} and other bytes for {target}")
    return answer.headers.get("Cache-Status", "")


def _tag(server: Server, target: str) -> str:
    host, _, port = server.bases[Protocol.HTTP1].partition("//")[2].partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=_TIMEOUT_S)
    try:
        connection.request("HEAD", target)
        answer = connection.getresponse()
        answer.read()
        return answer.headers.get("ETag", '""')
    finally:
        connection.close()

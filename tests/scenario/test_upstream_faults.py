"""One fault of an upstream at a time: what a client gets, and exactly what upstream was asked.

Rules:
1. Every case says how its first client ends ("whole", "cut", or a status), how many requests the
   object cost upstream, and asserts that its fault fired. Whole means: the right digest.
2. When upstream is well again each object arrives whole: nothing wrong was kept.

Runs in: pytest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import Reply, digests, fetch
from tests.scenario.raw_upstream import (
    RawUpstream,
    Spoil,
    endless_chunk,
    garbage,
    interim,
    longer_than_announced,
    reset_before_the_head,
    reset_in_the_body,
    two_lengths,
)
from tests.scenario.upstream_objects import Archive, fresh_archive, log_of

pytestmark = pytest.mark.full

SETTINGS = {
    "freshness.index": "300ms",
    "freshness.stale_while_revalidate": "0s",
    "upstream.read_timeout": "1s",
    "upstream.hedge_after": "0s",
    # Every case breaks the same upstream: the circuit has scenarios of its own.
    "upstream.breaker_failures": "1000",
}
LENGTH, AT = 1_000_000, 600_000
OTHER_TAG = {"ETag": '"of-another-day"'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`requests`: what the archive itself costs, its `.sha256` apart."""

    faults: tuple[dict[str, object], ...]
    ends: str
    requests: int
    statuses: list[int] = field(default_factory=list)


CUT = {"kind": "cut", "at": AT, "count": 1}
# In the words of the reference list of origin faults; "on resume" follows a cut.
CASES: dict[str, Case] = {
    "stall": Case(
        faults=({"kind": "stall", "at": 524_288, "count": 1},),
        ends="whole",
        requests=2,
        statuses=[200, 206],
    ),
    "cut-at-byte-k": Case(faults=(CUT,), ends="whole", requests=2, statuses=[200, 206]),
    "cut-for-ever": Case(
        faults=({"kind": "cut", "at": AT},), ends="cut", requests=3, statuses=[200, 206, 206]
    ),
    "content-length-too-short": Case(
        faults=({"kind": "length", "delta": -1000},), ends="cut", requests=1
    ),
    "content-length-too-long": Case(
        faults=({"kind": "length", "delta": 1000, "count": 1},), ends="cut", requests=2
    ),
    "wrong-tag-on-resume": Case(
        faults=(CUT, {"kind": "fields", "fields": OTHER_TAG, "skip": 1, "count": 1}),
        ends="whole",
        requests=3,
        statuses=[200, 206, 200],
    ),
    "200-to-a-range": Case(
        faults=(CUT, {"kind": "no_ranges"}), ends="whole", requests=2, statuses=[200, 200]
    ),
    "wrong-content-range-once": Case(
        faults=(CUT, {"kind": "content_range", "delta": 7, "count": 1}),
        ends="whole",
        requests=3,
        statuses=[200, 206, 206],
    ),
    "wrong-content-range-always": Case(
        faults=(CUT, {"kind": "content_range", "delta": -3}),
        ends="cut",
        requests=3,
        statuses=[200, 206, 206],
    ),
    "says-gzip-when-not-asked": Case(
        faults=({"kind": "fields", "fields": {"Content-Encoding": "gzip"}, "count": 1},),
        ends="whole",
        requests=1,
    ),
    "wrong-bytes": Case(
        faults=({"kind": "corrupt", "at": AT, "count": 1},), ends="cut", requests=1
    ),
    "chunked-without-end": Case(
        faults=({"kind": "chunked"}, {"kind": "cut", "at": AT, "count": 1}),
        ends="whole",
        requests=2,
    ),
    "5xx-once": Case(
        faults=({"kind": "status", "status": 500, "count": 1},),
        ends="whole",
        requests=2,
        statuses=[500, 200],
    ),
    "5xx": Case(faults=({"kind": "status", "status": 502},), ends="503", requests=3),
    "429-once": Case(
        faults=({"kind": "status", "status": 429, "retry_after": "0", "count": 1},),
        ends="whole",
        requests=2,
        statuses=[429, 200],
    ),
    "no-answer-once": Case(faults=({"kind": "drop", "count": 1},), ends="whole", requests=2),
    "slow-head": Case(faults=({"kind": "delay", "ms": 400},), ends="whole", requests=1),
    "slow-body": Case(
        faults=({"kind": "rate", "bytes_per_s": 2_000_000},), ends="whole", requests=1
    ),
}


def outcome(reply: Reply, archive: Archive) -> str:
    """ "whole" only for the right digest; a complete body with another fails here."""
    if reply.status != 200:
        return str(reply.status)
    if reply.is_complete:
        assert reply.sha256 == archive.sha256, "a wrong complete body"
        return "whole"
    return "cut"


def script(upstream: SimulatorProcess, archive: Archive, case: Case) -> list[str]:
    names = [f"{number} {archive.path}" for number in range(len(case.faults))]
    rules = [
        {**rule, "path": archive.path, "name": name}
        for rule, name in zip(case.faults, names, strict=True)
    ]
    upstream.control.faults(*rules)
    return names


@pytest.mark.parametrize("name", list(CASES))
def test_fault_ends_as_promised_at_the_promised_cost(
    name: str, mirror: Edge, upstream: SimulatorProcess
) -> None:
    case, archive = CASES[name], fresh_archive(LENGTH)
    names = script(upstream, archive, case)
    reply = fetch(mirror.port, archive.path)
    fired = upstream.control.faults_fired()
    assert all(fired[each] >= 1 for each in names), (name, fired)
    told = outcome(reply, archive)
    records = log_of(upstream, archive.path)
    assert (told, len(records)) == (case.ends, case.requests), (reply, records)
    if case.statuses:
        assert [record["status"] for record in records] == case.statuses
    if reply.status >= 500:
        assert "proxy-status" in reply.fields, "a clear failure, with its cause"
    upstream.control.clear_faults()
    wait_until(
        lambda: digests([fetch(mirror.port, archive.path)]) == {(200, True, archive.sha256)},
        f"{name}: upstream is well again, and so is the object",
    )
    assert mirror.wrong_blobs() == []


# What HTTP itself is spoiled by.

RAW_CASES: dict[str, tuple[Spoil, int]] = {
    "1xx-before-the-answer": (interim, 1),
    "body-too-long": (longer_than_announced, 1),
    "chunked-without-its-last-chunk": (endless_chunk, 2),
    "reset-in-the-body": (reset_in_the_body, 2),
    "reset-before-the-head": (reset_before_the_head, 2),
    "no-http": (garbage, 2),
    "two-lengths": (two_lengths, 2),
}


@pytest.mark.parametrize("name", list(RAW_CASES))
def test_bytes_that_are_no_good_http_cost_what_is_promised_and_end_whole(
    name: str, tmp_path: Path, upstream: SimulatorProcess
) -> None:
    spoil, requests = RAW_CASES[name]
    with RawUpstream(fresh_archive(LENGTH), spoil) as raw:
        settings = {**SETTINGS, "upstream.releases.urls": raw.url}
        with Edge(tmp_path, upstream, workers=1, settings=settings) as edge:
            reply = fetch(edge.port, raw.archive.path)
            assert outcome(reply, raw.archive) == "whole", reply
            assert raw.fired == raw.count() == requests
            assert edge.wrong_blobs() == []
        assert edge.own_faults() == []

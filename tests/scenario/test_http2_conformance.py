"""What RFC 9113 and RFC 7541 say a server does, at a running mirror: `http2_…_cases`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from tests import raw_http2
from tests.raw_http2 import RawPeer, ping
from tests.scenario import http2_frame_cases, http2_message_cases
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import fetch, send_raw, statuses
from tests.scenario.http2_steps import CONNECTION_WINDOW, LARGE_PATH, SMALL_PATH, Case

SETTINGS = {"serve.workers": "1", "freshness.index": "1h"}
DEADLINE_S = 15.0
PROBE = b"are-you?"
CASES = (*http2_frame_cases.CASES.rows, *http2_message_cases.CASES.rows)


def is_hit(mirror: Edge, path: str) -> bool:
    return "hit" in fetch(mirror.port, path).cache_status


@pytest.fixture(scope="module")
def port(mirror: Edge) -> Iterator[int]:
    """Of a mirror that has both objects, and that has the same worker when all is over."""
    for path in (SMALL_PATH, LARGE_PATH):
        wait_until(partial(is_hit, mirror, path), path)
    pids = mirror.pids()
    yield mirror.port
    reply = fetch(mirror.port, SMALL_PATH)
    assert (reply.status, mirror.pids()) == (200, pids)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_frames_are_answered_as_the_rfc_says(case: Case, port: int) -> None:
    peer = RawPeer(port, DEADLINE_S)
    try:
        play(case, peer)
    finally:
        peer.close()
    seen, expected = peer.seen, case.expected
    assert seen.first == (raw_http2.SETTINGS, 0)
    assert (seen.goaway, seen.is_closed) == (expected.goaway, expected.closes)
    assert (seen.resets, seen.statuses) == (expected.resets, expected.statuses)
    for stream_id, sizes in expected.data.items():
        assert seen.data.get(stream_id, []) == sizes
    assert sum(sum(sizes) for sizes in seen.data.values()) <= CONNECTION_WINDOW
    if not expected.closes:
        assert (seen.acks, seen.pongs) == (expected.acks, [*expected.pongs, PROBE])


def play(case: Case, peer: RawPeer) -> None:
    """Send everything, what stands together in one piece, and read until all is answered."""
    seen, expected = peer.seen, case.expected
    if case.begins:
        peer.begin(*case.settings, acknowledges=case.acknowledges)
    together = b""
    for step in case.steps:
        if isinstance(step, bytes):
            together += step
        else:
            peer.send(together)
            together = b""
            peer.until(partial(step, seen))
    peer.send(together)
    if expected.closes:
        peer.until(lambda: False)
        return
    ends = (set(expected.statuses) | set(expected.resets)) - expected.held
    peer.until(lambda: all(map(seen.is_over, ends)) and expected.held <= set(seen.statuses))
    peer.until(lambda: all(sum(seen.data.get(id_, ())) >= sum(of) for id_, of in awaited(case)))
    # A round trip later nothing more can come of what was sent.
    peer.send(ping(PROBE))
    peer.until(lambda: PROBE in seen.pongs)


def awaited(case: Case) -> list[tuple[int, list[int]]]:
    return list(case.expected.data.items())


@pytest.mark.parametrize(
    "preface",
    [b"INVALID\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"pri * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
)
def test_what_is_no_preface_is_refused_and_closed(preface: bytes, port: int) -> None:
    """RFC 9113 section 3.4."""
    received = send_raw(port, preface)
    assert statuses(received) in ([400], [505])


def test_there_are_cases_of_every_section() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
    assert {name.partition("-")[0].partition(".")[0] for name in names} == {
        *"345678",
        "10",
        "rfc7540",
        "rfc7541",
    }

"""What a growing file announces, and when it ends."""

from __future__ import annotations

import pytest

from mirror.fill.growing import WITHHELD_BYTES, GrowingFile
from mirror.fill.messages import Failed, FlightState
from mirror.store.entry import Attestation, Entry, Stored

ENTRY = Entry(
    key="crates:/crates/a/a-1.0.0.crate",
    status=200,
    digest=b"d" * 32,
    length=200_000,
    media_type="application/gzip",
    last_modified=0,
    upstream_etag="",
    upstream_last_modified="",
    fetched_at=0.0,
    confirmed_at=0.0,
    fresh_until=0.0,
    proof="index",
)
STORED = Stored(entry=ENTRY, attestation=Attestation(inode=1, size=200_000, ctime_ns=1))
FAILURE = Failed(status=502, reason="no")


def growing(length: int = 200_000, landed: int = 0) -> GrowingFile:
    return GrowingFile(number=1, path="/p", entry=ENTRY, length=length, landed=landed)


@pytest.mark.parametrize(
    ("length", "landed", "sendable"),
    [
        pytest.param(200_000, 0, 0, id="nothing-landed"),
        pytest.param(200_000, 1000, 1000, id="known-length-sends-at-once"),
        pytest.param(200_000, 200_000, 200_000 - WITHHELD_BYTES, id="known-length-keeps-its-end"),
        pytest.param(1000, 1000, 0, id="shorter-than-what-is-withheld"),
        pytest.param(-1, 1000, 0, id="unknown-length-keeps-the-newest"),
        pytest.param(-1, 200_000, 200_000 - WITHHELD_BYTES, id="unknown-length-sends-the-rest"),
    ],
)
def test_what_may_be_sent_before_the_digest_agrees(length: int, landed: int, sendable: int) -> None:
    file = growing(length)
    file.land(landed)
    assert file.sendable == sendable


def test_a_verified_file_may_be_sent_whole_and_knows_its_length() -> None:
    file = growing(-1, landed=5000)
    file.verify()
    assert (file.sendable, file.length, file.is_over) == (5000, 5000, False)
    assert repr(file) == "<GrowingFile 1 verified 5000/5000/5000>"


def test_listeners_hear_every_move_until_the_end_and_nothing_after() -> None:
    file, heard = growing(), list[str]()
    file.subscribe(lambda moved: heard.append(repr(moved)))
    file.land(10)
    file.verify()
    file.publish(STORED)
    file.fail(FAILURE)
    file.end()
    assert len(heard) == 3
    assert file.progress().stored == STORED
    assert file.state is FlightState.VERIFIED


def test_an_unsubscribed_listener_hears_nothing() -> None:
    file, heard = growing(), list[GrowingFile]()
    file.subscribe(heard.append)
    file.unsubscribe(heard.append)
    file.land(1)
    assert heard == []


def test_a_failed_file_says_why_and_stays_failed() -> None:
    file = growing()
    file.fail(FAILURE)
    file.fail(Failed(status=503, reason="later"))
    assert file.progress().failure == FAILURE
    assert file.is_over


def test_an_answer_names_the_flight() -> None:
    answer = growing(landed=7).answer(collapsed=True)
    assert (answer.flight, answer.path, answer.landed, answer.collapsed) == (1, "/p", 7, True)

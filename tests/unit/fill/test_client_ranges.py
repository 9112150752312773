"""What a worker may send of a body that comes out of order, also after the keeper was replaced."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from mirror.fill.bodies import GrowingBody
from mirror.fill.messages import FlightState, GrowingAnswer, Progress
from mirror.store.entry import Entry
from mirror.store.extents import Runs
from mirror.store.files import REAL_FILES
from tests.unit.fill.fake_keeper import CONTENT, ask, entry, stored_answer, stored_of

SIZE = len(CONTENT)
TAGGED = replace(entry(), upstream_etag='"v1"')


def answer(path: Path, landed: int, ahead: Runs = (), *, of: Entry = TAGGED) -> GrowingAnswer:
    return GrowingAnswer(
        flight=7,
        path=str(path),
        entry=of,
        sendable=landed,
        landed=landed,
        length=SIZE,
        collapsed=False,
        ahead=ahead,
    )


def body_of(path: Path, landed: int, ahead: Runs = (), *, of: Entry = TAGGED) -> GrowingBody:
    path.write_bytes(CONTENT)
    return GrowingBody(
        answer(path, landed, ahead, of=of),
        ask=ask(),
        blob_path=f"{path}.blob",
        files=REAL_FILES,
        on_release=lambda _: None,
    )


@pytest.mark.parametrize(
    ("offset", "end"),
    [
        pytest.param(0, 1000, id="from-the-start"),
        pytest.param(999, 1000, id="in-the-prefix"),
        pytest.param(1000, 1000, id="behind-the-prefix"),
        pytest.param(2000, 3000, id="where-a-run-begins"),
        pytest.param(2999, 3000, id="in-a-run"),
        pytest.param(3000, 3000, id="behind-a-run"),
    ],
)
def test_how_far_a_part_may_be_sent(tmp_path: Path, offset: int, end: int) -> None:
    assert body_of(tmp_path / "f", 1000, ((2000, 3000),)).readable_end(offset) == end


def test_progress_moves_what_may_be_sent(tmp_path: Path) -> None:
    body = body_of(tmp_path / "f", 1000, ((2000, 3000),))
    body.advance(
        Progress(
            flight=7,
            sendable=2000,
            landed=2000,
            length=SIZE,
            state=FlightState.RUNNING,
            ahead=((2000, 3500), (9000, SIZE)),
        )
    )
    assert (body.readable_end(0), body.readable_end(9500)) == (3500, SIZE)


@pytest.mark.parametrize(
    ("is_part", "of", "goes_on"),
    [
        pytest.param(True, TAGGED, True, id="a-part-under-the-same-strong-tag"),
        pytest.param(False, TAGGED, False, id="the-whole-is-of-one-file"),
        pytest.param(True, replace(TAGGED, upstream_etag='"v2"'), False, id="another-tag"),
        pytest.param(True, replace(TAGGED, upstream_etag=""), False, id="no-tag"),
        pytest.param(True, replace(TAGGED, digest=b"d" * 32), False, id="another-digest"),
    ],
)
def test_a_part_goes_on_in_another_file_of_the_same_version(
    tmp_path: Path, is_part: bool, of: Entry, goes_on: bool
) -> None:
    body = body_of(tmp_path / "first", 1000, ((5000, 6000),))
    body.is_part = is_part
    os.close(body.open())
    body.sent = 6000
    other = tmp_path / "other"
    other.write_bytes(CONTENT)
    assert body.resume(answer(other, 500, of=of)) is goes_on
    if not goes_on:
        assert body.state is FlightState.FAILED
        return
    assert body.readable_end(5000) == 5000  # the next keeper has to bring it again
    os.close(body.open())


def test_a_weak_tag_ties_no_part_together(tmp_path: Path) -> None:
    weak = replace(TAGGED, upstream_etag='W/"v1"')
    body = body_of(tmp_path / "f", 1000, ((5000, 6000),), of=weak)
    body.is_part = True
    os.close(body.open())
    body.sent = 6000
    assert not body.resume(answer(tmp_path / "f", 500, of=weak))


def test_a_part_ends_in_the_blob_that_was_published_meanwhile(tmp_path: Path) -> None:
    body = body_of(tmp_path / "f", 1000, ((5000, 6000),))
    body.is_part = True
    os.close(body.open())
    body.sent = 6000
    blob = tmp_path / "f.blob"
    blob.write_bytes(CONTENT)
    (tmp_path / "f").unlink()
    stored = stored_of(blob)
    assert body.resume(stored_answer(replace(stored, entry=TAGGED)))
    assert body.readable_end(6000) == SIZE
    os.close(body.open())

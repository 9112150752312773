"""Frames cut out of bytes that arrive in any pieces, and frames written as another reads them."""

from __future__ import annotations

import pytest
from hyperframe.frame import GoAwayFrame, RstStreamFrame, WindowUpdateFrame
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.h2_errors import Code, H2ConnectionError
from mirror.http.h2_frames import (
    DATA,
    MAX_FRAME_BYTES,
    PADDED,
    SETTINGS_ACK,
    Frame,
    FrameReader,
    goaway,
    ping_ack,
    rst_stream,
    settings_frame,
    unpadded,
    window_update,
)
from tests.unit.http.h2_peer import frame, parse

FRAMES = st.lists(
    st.tuples(
        st.integers(0, 255),
        st.integers(0, 255),
        st.integers(0, 2**31 - 1),
        st.binary(max_size=60) | st.just(bytes(MAX_FRAME_BYTES)),
    ),
    max_size=8,
)


def read_all(reader: FrameReader, received: bytes) -> list[Frame]:
    reader.feed(received)
    frames = []
    while (found := reader.read()) is not None:
        frames.append(found)
    return frames


@given(FRAMES, st.lists(st.integers(0, 200), max_size=12))
def test_pieces_do_not_change_the_frames(
    expected: list[tuple[int, int, int, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(
        frame(type_, stream_id, payload, flags) for type_, flags, stream_id, payload in expected
    )
    reader, frames, at = FrameReader(), [], 0
    for size in [*cuts, len(stream)]:
        frames += read_all(reader, stream[at : at + size])
        at += size
    assert frames == expected


def test_incomplete_frame_is_all_that_is_kept() -> None:
    reader = FrameReader()
    assert len(read_all(reader, frame(0, 1, b"abc") * 1000 + b"\0\0\x05\0")) == 1000
    assert repr(reader) == "<FrameReader kept=4>"


def test_frame_that_is_too_long_is_refused_by_its_head() -> None:
    reader = FrameReader()
    reader.feed((MAX_FRAME_BYTES + 1).to_bytes(3, "big") + bytes(6))
    with pytest.raises(H2ConnectionError) as refused:
        reader.read()
    assert refused.value.code == Code.FRAME_SIZE_ERROR


@pytest.mark.parametrize(
    ("payload", "flags", "content"),
    [
        pytest.param(b"abc", 0, b"abc", id="not-padded"),
        pytest.param(b"\x00abc", PADDED, b"abc", id="padding-of-nothing"),
        pytest.param(b"\x02abc\0\0", PADDED, b"abc", id="padding"),
        pytest.param(b"\x02ab", PADDED, b"", id="padding-only"),
        pytest.param(b"\x00", PADDED, b"", id="length-only"),
    ],
)
def test_padding_is_taken_off(payload: bytes, flags: int, content: bytes) -> None:
    assert unpadded(Frame(DATA, flags, 1, payload)) == content


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        pytest.param(b"", Code.FRAME_SIZE_ERROR, id="without-its-length"),
        pytest.param(b"\x01", Code.PROTOCOL_ERROR, id="as-long-as-the-frame"),
        pytest.param(b"\xffabc", Code.PROTOCOL_ERROR, id="longer-than-the-frame"),
    ],
)
def test_wrong_padding_is_refused(payload: bytes, code: Code) -> None:
    with pytest.raises(H2ConnectionError) as refused:
        unpadded(Frame(DATA, PADDED, 1, payload))
    assert refused.value.code == code


def test_written_frames_are_read_by_another_library() -> None:
    sent = b"".join(
        (
            settings_frame(((1, 0), (4, 65_535))),
            SETTINGS_ACK,
            ping_ack(b"12345678"),
            rst_stream(3, Code.CANCEL),
            window_update(0, 7),
            goaway(5, Code.NO_ERROR, b"bye"),
        )
    )
    first, ack, ping, reset, update, end = parse(sent)
    assert first.settings == {1: 0, 4: 65_535}  # type: ignore[attr-defined]  # of a subclass
    assert "ACK" in ack.flags
    assert "ACK" in ping.flags
    assert isinstance(reset, RstStreamFrame)
    assert (reset.stream_id, reset.error_code) == (3, 8)
    assert isinstance(update, WindowUpdateFrame)
    assert update.window_increment == 7
    assert isinstance(end, GoAwayFrame)
    assert (end.last_stream_id, end.error_code, end.additional_data) == (5, 0, b"bye")

"""`mirror.fill.frames`: any cut of the bytes gives the same frames; strangers are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.fill.frames import (
    MAX_PAYLOAD_BYTES,
    PROTOCOL_VERSION,
    Frame,
    FrameError,
    FrameReader,
    FrameType,
    encode_frame,
)

FRAMES = st.lists(
    st.builds(
        Frame,
        st.sampled_from(FrameType),
        st.integers(min_value=0, max_value=2**32 - 1),
        st.binary(max_size=300),
    ),
    max_size=8,
)


@given(frames=FRAMES, cuts=st.lists(st.integers(min_value=1, max_value=50), max_size=40))
def test_frames_survive_any_cut_of_the_stream(frames: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(encode_frame(f.type, f.stream, f.payload) for f in frames)
    reader = FrameReader()
    got: list[Frame] = []
    for cut in cuts:
        got += reader.feed(stream[:cut])
        stream = stream[cut:]
    assert got + reader.feed(stream) == frames


def test_the_largest_payload_makes_a_frame_of_64_kib() -> None:
    raw = encode_frame(FrameType.DATA, 1, bytes(MAX_PAYLOAD_BYTES))
    assert len(raw) == 65536
    assert FrameReader().feed(raw) == [Frame(FrameType.DATA, 1, bytes(MAX_PAYLOAD_BYTES))]


def test_a_payload_over_the_limit_is_a_misuse() -> None:
    with pytest.raises(ValueError, match="payload of 65525 bytes"):
        encode_frame(FrameType.DATA, 1, bytes(MAX_PAYLOAD_BYTES + 1))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        pytest.param(
            bytes([PROTOCOL_VERSION + 1, 1]) + bytes(10),
            f"protocol version {PROTOCOL_VERSION + 1}",
            id="version",
        ),
        pytest.param(bytes([PROTOCOL_VERSION, 77]) + bytes(10), "frame type 77", id="type"),
        pytest.param(
            bytes([PROTOCOL_VERSION, 4]) + bytes(6) + (MAX_PAYLOAD_BYTES + 1).to_bytes(4, "big"),
            "payload of 65525 bytes",
            id="length",
        ),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", "protocol version 71", id="http"),
    ],
)
def test_a_stranger_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(FrameError, match=reason):
        FrameReader().feed(raw)


@given(st.binary(max_size=200))
def test_random_bytes_give_frames_or_a_frame_error(raw: bytes) -> None:
    try:
        frames = FrameReader().feed(raw)
    except FrameError:
        return
    assert sum(12 + len(frame.payload) for frame in frames) <= len(raw)

"""What a session sends: windows, frames, blocks."""

from __future__ import annotations

import pytest

from mirror.http.h2_errors import Code
from mirror.http.h2_events import (
    SendAllowed,
)
from tests.unit.http.h2_peer import (
    Peer,
    content,
    headers,
    parse,
    rst,
    settings,
    update,
)

# Sending.


def test_both_windows_bound_what_is_sent() -> None:
    peer = Peer.connected()
    peer.send(settings((4, 100)), headers(1), headers(3))
    session = peer.session
    assert session.allowance(1) == 100
    frames = session.data(1, b"a" * 100, ends=False)
    assert b"".join(bytes(part) for part in frames) == content(1, b"a" * 100)
    assert (session.allowance(1), session.allowance(3)) == (0, 100)
    with pytest.raises(ValueError, match="1"):
        session.data(1, b"a", ends=False)
    assert peer.send(update(1, 70_000)) == [SendAllowed(stream_id=1)]
    assert session.allowance(1) == 65_435


def test_content_is_cut_into_frames_without_copies() -> None:
    peer = Peer.connected()
    peer.send(headers(1))
    source = memoryview(bytes(range(256)) * 160)
    frames = peer.session.data(1, source, ends=True)
    assert [len(part) for part in frames] == [9, 16_384, 9, 16_384, 9, 8192]
    assert all(isinstance(part, memoryview) and part.obj is source.obj for part in frames[1::2])
    parsed = parse(b"".join(bytes(part) for part in frames))
    assert [sorted(f.flags) for f in parsed] == [[], [], ["END_STREAM"]]
    assert peer.session.open_streams == 0


def test_connection_window_that_was_used_up_opens_for_all_streams() -> None:
    peer = Peer.connected()
    peer.send(settings((4, 100_000)), headers(1), headers(3))
    peer.session.data(1, bytes(65_535), ends=False)
    assert (peer.session.allowance(1), peer.session.allowance(3)) == (0, 0)
    assert peer.send(update(1, 5)) == []
    assert peer.send(update(0, 5)) == [SendAllowed(stream_id=0)]
    assert (peer.session.allowance(1), peer.session.allowance(3)) == (5, 5)


def test_end_without_content_needs_no_window() -> None:
    peer = Peer.connected()
    peer.send(settings((4, 0)), headers(1))
    assert peer.session.allowance(1) == 0
    (head, rest) = peer.session.data(1, b"", ends=True)
    assert bytes(head) == content(1, b"", ends=True)
    assert len(rest) == 0


def test_window_below_zero_admits_nothing_until_it_is_above() -> None:
    peer = Peer.connected()
    peer.send(headers(1))
    peer.session.data(1, bytes(1000), ends=False)
    peer.send(settings((4, 100)))
    assert peer.session.allowance(1) == 0
    assert peer.send(update(1, 900)) == []
    assert peer.send(update(1, 1)) == [SendAllowed(stream_id=1)]
    assert peer.send(settings((4, 101))) == []  # it was open
    assert peer.session.allowance(1) == 2


def test_settings_wake_streams_only_when_a_window_opened() -> None:
    """Else each of a flood of SETTINGS costs a turn of every stream."""
    peer = Peer.connected()
    assert peer.send(settings((4, 65_536))) == []
    peer.send(headers(1), headers(3))
    assert peer.send(settings((4, 65_537))) == []
    peer.session.data(1, bytes(65_535), ends=False)
    assert peer.send(settings((4, 65_535))) == []
    assert peer.send(settings((4, 65_536))) == [SendAllowed(stream_id=0)]


def test_size_update_stands_before_the_first_block_after_settings() -> None:
    peer = Peer.connected()
    peer.send(headers(1), headers(3), headers(5))
    session = peer.session
    assert session.headers(1, b"\x88", ends=True)[9:] == b"\x20\x88"
    assert session.headers(3, b"\x88", ends=True)[9:] == b"\x88"
    peer.send(settings())
    assert session.headers(5, b"\x88", ends=True)[9:] == b"\x20\x88"


def test_long_block_goes_on_in_continuations() -> None:
    peer = Peer.connected()
    peer.send(headers(1))
    sent = peer.session.headers(1, b"\x88" * 40_000, ends=True)
    frames = parse(sent)
    assert [f.type for f in frames] == [1, 9, 9]
    assert [sorted(f.flags) for f in frames] == [["END_STREAM"], [], ["END_HEADERS"]]
    assert b"".join(f.data for f in frames) == b"\x20" + b"\x88" * 40_000  # type: ignore[attr-defined]  # hyperframe's base class


def test_calls_for_a_stream_that_is_over_do_nothing() -> None:
    peer = Peer.connected()
    peer.send(headers(1), rst(1))
    session = peer.session
    assert session.headers(1, b"\x88", ends=False) == b""
    assert session.data(1, b"abc", ends=True) == []
    assert session.allowance(1) == 0
    session.reset(1, Code.CANCEL)
    assert session.take_output() == b""

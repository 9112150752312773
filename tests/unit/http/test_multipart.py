"""multipart/byteranges messages, read back; and every offset of them."""

from __future__ import annotations

import email
import email.policy
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.multipart import Multipart, Stretch, boundary_of, lay_out, multipart_type
from mirror.http.ranges import PartialContent
from tests.multipart_message import read_parts

CONTENT = bytes(range(256)) + b"\r\n--boundary--\r\n" + bytes(range(255, -1, -1))
BOUNDARY = b"0123456789abcdef"


def part(start: int, end: int) -> PartialContent:
    return PartialContent(start=start, end=end)


def laid_out(*ends: tuple[int, int], media_type: bytes = b"text/plain") -> Multipart:
    return lay_out([part(*pair) for pair in ends], len(CONTENT), media_type, BOUNDARY)


def test_the_message_is_that_of_the_rfc() -> None:
    """RFC 9110 section 15.3.7.2, byte for byte but for what its example leaves out."""
    layout = lay_out([part(500, 503), part(7000, 7002)], 8000, b"application/pdf", b"THIS")
    assert layout.join(b"x" * 500 + b"abc" + b"y" * 6497 + b"de" + b"z" * 998) == (
        b"--THIS\r\nContent-Type: application/pdf\r\nContent-Range: bytes 500-502/8000\r\n\r\nabc"
        b"\r\n--THIS\r\nContent-Type: application/pdf\r\nContent-Range: bytes 7000-7001/8000\r\n"
        b"\r\nde\r\n--THIS--\r\n"
    )
    assert multipart_type(b"THIS") == b"multipart/byteranges; boundary=THIS"


part_lists = st.lists(
    st.tuples(st.integers(0, len(CONTENT) - 1), st.integers(1, 40)).map(
        lambda drawn: (drawn[0], min(sum(drawn), len(CONTENT)))
    ),
    min_size=1,
    max_size=6,
)


@given(part_lists)
def test_every_part_is_read_back(ends: list[tuple[int, int]]) -> None:
    layout = laid_out(*ends)
    message = layout.join(CONTENT)
    assert len(message) == layout.length
    found = read_parts(multipart_type(BOUNDARY).decode(), message)
    assert [(each.first, each.last + 1) for each in found] == ends
    assert [each.content for each in found] == [CONTENT[slice(*pair)] for pair in ends]
    assert {(each.media_type, each.length) for each in found} == {("text/plain", len(CONTENT))}


def test_the_standard_library_reads_it_too() -> None:
    text = b"The quick brown fox jumps over the lazy dog."
    layout = lay_out([part(4, 9), part(0, 3), part(40, 44)], len(text), b"text/plain", BOUNDARY)
    head = b"Content-Type: " + multipart_type(BOUNDARY) + b"\r\n\r\n"
    read = email.message_from_bytes(head + layout.join(text), policy=email.policy.HTTP)
    parts = list(read.iter_parts())
    assert [each.get_payload(decode=True) for each in parts] == [b"quick", b"The", b"dog."]
    assert [each["Content-Range"] for each in parts] == [
        "bytes 4-8/44", "bytes 0-2/44", "bytes 40-43/44",
    ]  # fmt: skip
    assert [read.preamble, read.epilogue or None, read.defects] == [None, None, []]


@given(part_lists)
def test_every_offset_leads_to_its_byte(ends: list[tuple[int, int]]) -> None:
    layout = laid_out(*ends)
    message = layout.join(CONTENT)
    for offset in range(layout.length):
        place = layout.locate(offset)
        rest = CONTENT[place.start : place.end] if isinstance(place, Stretch) else place
        assert rest
        assert message[offset : offset + len(rest)] == rest
    assert [layout.locate(layout.length + more) for more in (0, 1, 99)] == [b""] * 3


@given(part_lists, st.integers(0, len(CONTENT)))
def test_reach_is_the_first_offset_that_needs_a_missing_byte(
    ends: list[tuple[int, int]], available: int
) -> None:
    layout = laid_out(*ends)
    reach = layout.reach(lambda _: available)
    expected = next(
        (
            offset
            for offset in range(layout.length)
            if isinstance(place := layout.locate(offset), Stretch) and place.start >= available
        ),
        layout.length,
    )
    assert reach == expected


def test_reach_follows_what_is_there_behind_each_part() -> None:
    """Of a file with holes: bytes 0 to 99 and 300 to 399 are there."""
    layout = laid_out((310, 390), (0, 100), (395, 405), (50, 60))
    run_ends = {310: 400, 0: 100, 395: 400, 50: 100}
    reach = layout.reach(lambda start: run_ends[start])
    assert layout.locate(reach) == Stretch(start=400, end=405)
    assert layout.reach(lambda start: start) == len(layout.heads[0])


@given(part_lists, st.data())
def test_given_is_the_end_of_what_went_out(
    ends: list[tuple[int, int]], data: st.DataObject
) -> None:
    layout = laid_out(*ends)
    sent = data.draw(st.integers(0, layout.length))
    needed = [
        place.start + 1
        for offset in range(sent)
        if isinstance(place := layout.locate(offset), Stretch)
    ]
    assert layout.given(sent) == max(needed, default=0)


def test_the_boundary_moves_with_the_content_the_ranges_and_the_key() -> None:
    parts = [part(0, 1), part(5, 9)]
    seen = {
        boundary_of(b"key", b'"tag"', parts),
        boundary_of(b"other", b'"tag"', parts),
        boundary_of(b"key", b'"gat"', parts),
        boundary_of(b"key", b'"tag"', parts[::-1]),
        boundary_of(b"key", b'"tag"', parts[:1]),
        boundary_of(b"key", b'"tag"', [part(0, 15), part(0, 9)]),
    }
    assert len(seen) == 6
    assert boundary_of(b"key", b'"tag"', parts) in seen
    assert {len(boundary) for boundary in seen} == {32}
    assert all(boundary.isalnum() for boundary in seen)


def test_attack_content_that_holds_its_former_boundary_has_another() -> None:
    """Who learns a boundary and publishes content with it inside changes the entity tag."""
    key, parts = b"key", [part(0, 8), part(10, 30)]
    content = b"x" * 100
    for _ in range(20):
        etag = hashlib.sha256(content).hexdigest().encode()
        boundary = boundary_of(key, etag, parts)
        assert boundary not in content
        content += b"\r\n--" + boundary


@pytest.mark.parametrize("count", [2, 256])
def test_the_heads_of_many_parts_are_small(count: int) -> None:
    """What a request adds to the object: under 200 bytes a part, with the longest numbers."""
    parts = [part(2**62 + 2 * at, 2**62 + 2 * at + 1) for at in range(count)]
    layout = lay_out(parts, 2**63, b"application/vnd.rust.archive+gzip", b"b" * 32)
    assert layout.length < 200 * (count + 1)

from __future__ import annotations

import pytest

from mirror.simulator.answers import Answer, answer, refuse
from mirror.simulator.contents import FixedContent
from mirror.simulator.faults import FaultBook, parse_rules
from mirror.simulator.published import Published, Site
from mirror.simulator.requests import parse_request

CONTENT = FixedContent(b"0123456789")
FORMER = Published(content=FixedContent(b"former"), content_type="text/plain", last_modified_at=900)
OBJECT = Published(content=CONTENT, content_type="text/plain", last_modified_at=1000, former=FORMER)
MODIFIED = "Thu, 01 Jan 1970 00:16:40 GMT"
EARLIER = "Thu, 01 Jan 1970 00:16:39 GMT"


def ask(
    fields: str = "",
    *,
    published: Published | None = OBJECT,
    site: Site = Site.RELEASES,
    method: str = "GET",
    path: str = "/dist/x",
    rule: dict[str, object] | None = None,
) -> Answer:
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode()
    book = FaultBook()
    book.add(parse_rules([rule] if rule else []))
    request = parse_request(head, site)
    return answer(request, published, book.claims_for(request), now=0)


def test_whole_object_has_validators_and_length() -> None:
    result = ask()
    assert (result.status, result.length, result.start, result.end) == (200, 10, 0, 10)
    assert result.fields["ETag"] == CONTENT.etag
    assert result.fields["Last-Modified"] == MODIFIED
    assert result.fields["Accept-Ranges"] == "bytes"
    assert b"\r\nContent-Length: 10\r\n" in result.head()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param(f"If-None-Match: {CONTENT.etag}", 304, id="same-tag"),
        pytest.param(f"If-None-Match: W/{CONTENT.etag}", 304, id="weak-form"),
        pytest.param(f'If-None-Match: "x", {CONTENT.etag}', 304, id="one-of-two"),
        pytest.param("If-None-Match: *", 304, id="any"),
        pytest.param('If-None-Match: "x"', 200, id="other-tag"),
        pytest.param(f"If-Modified-Since: {MODIFIED}", 304, id="not-modified-since"),
        pytest.param(f"If-Modified-Since: {EARLIER}", 200, id="modified-since"),
        pytest.param("If-Modified-Since: yesterday", 200, id="no-date"),
        pytest.param(
            f'If-None-Match: "x"\r\nIf-Modified-Since: {MODIFIED}', 200, id="tag-beats-date"
        ),
    ],
)
def test_preconditions(fields: str, status: int) -> None:
    assert ask(fields + "\r\n").status == status


@pytest.mark.parametrize(
    ("fields", "status", "span"),
    [
        pytest.param("Range: bytes=2-4", 206, (2, 5), id="middle"),
        pytest.param("Range: bytes=7-", 206, (7, 10), id="open"),
        pytest.param("Range: bytes=-3", 206, (7, 10), id="suffix"),
        pytest.param("Range: bytes=-30", 206, (0, 10), id="suffix-longer-than-content"),
        pytest.param("Range: bytes=5-99", 206, (5, 10), id="past-the-end"),
        pytest.param("Range: bytes=5-4", 200, (0, 10), id="end-before-start"),
        pytest.param("Range: bytes=1-2,4-5", 200, (0, 10), id="several"),
        pytest.param("Range: lines=1-2", 200, (0, 10), id="other-unit"),
        pytest.param("Range: bytes=-", 200, (0, 10), id="nothing"),
        pytest.param(
            f"Range: bytes=2-\r\nIf-Range: {CONTENT.etag}", 206, (2, 10), id="same-if-range"
        ),
        pytest.param('Range: bytes=2-\r\nIf-Range: "x"', 200, (0, 10), id="other-if-range"),
    ],
)
def test_ranges(fields: str, status: int, span: tuple[int, int]) -> None:
    result = ask(fields + "\r\n")
    assert (result.status, (result.start, result.end)) == (status, span)
    if status == 206:
        assert result.fields["Content-Range"] == f"bytes {span[0]}-{span[1] - 1}/10"
        assert result.length == span[1] - span[0]


def test_range_after_the_end_is_unsatisfiable() -> None:
    result = ask("Range: bytes=10-\r\n")
    assert (result.status, result.fields["Content-Range"]) == (416, "bytes */10")


@pytest.mark.parametrize(
    ("site", "status", "media"),
    [
        (Site.RELEASES, 404, "text/html"),
        (Site.INDEX, 404, "text/html"),
        (Site.CRATES, 403, "application/xml"),
    ],
)
def test_absent_objects_are_answered_as_each_host_does(site: Site, status: int, media: str) -> None:
    result = ask(published=None, site=site)
    assert result.status == status
    assert result.fields["Content-Type"].startswith(media)
    assert result.length


def test_head_announces_the_length_and_sends_nothing() -> None:
    result = ask(method="HEAD")
    assert (result.length, result.start, result.end) == (10, 0, 0)


def test_other_methods_are_refused() -> None:
    assert ask(method="PUT").status == 405
    assert refuse(400).closes


@pytest.mark.parametrize(
    ("rule", "fields", "member", "value"),
    [
        ({"kind": "status", "status": 429}, "", "status", 429),
        ({"kind": "no_ranges"}, "Range: bytes=2-\r\n", "status", 200),
        ({"kind": "length", "delta": -3}, "", "length", 7),
        ({"kind": "length", "delta": 3}, "", "length", 13),
        ({"kind": "chunked"}, "", "length", None),
        ({"kind": "cut", "at": 4, "how": "rst"}, "", "cut_at", 4),
        ({"kind": "cut", "at": 4}, "Range: bytes=5-\r\n", "cut_at", -1),
        ({"kind": "corrupt", "at": 9}, "", "corrupt_at", 9),
        ({"kind": "stall", "at": 1, "ms": 5}, "", "stall_ms", 5),
        ({"kind": "delay", "ms": 7}, "", "delay_ms", 7),
        ({"kind": "drop"}, "", "is_dropped", True),
        ({"kind": "rate", "bytes_per_s": 11}, "", "bytes_per_s", 11),
        ({"kind": "former"}, "", "length", 6),
    ],
)
def test_fault_changes_the_answer(
    rule: dict[str, object], fields: str, member: str, value: object
) -> None:
    assert getattr(ask(fields, rule=rule), member) == value


def test_status_fault_carries_retry_after() -> None:
    result = ask(rule={"kind": "status", "status": 503, "retry_after": "2"})
    assert result.fields["Retry-After"] == "2"


def test_status_304_fault_has_no_content() -> None:
    result = ask(rule={"kind": "status", "status": 304})
    assert (result.status, result.end) == (304, 0)
    assert b"Content-Length" not in result.head()


def test_html_fault_is_a_page_with_status_200() -> None:
    result = ask(rule={"kind": "html"})
    assert result.status == 200
    assert result.content.read(0, 9) == b"<!doctype"


def test_content_range_fault_shifts_the_range() -> None:
    result = ask("Range: bytes=2-4\r\n", rule={"kind": "content_range", "delta": 3})
    assert result.fields["Content-Range"] == "bytes 5-7/10"


def test_fields_fault_removes_and_replaces_fields() -> None:
    rule: dict[str, object] = {"kind": "fields", "fields": {"etag": None, "Age": "99"}}
    result = ask(rule=rule)
    assert "ETag" not in result.fields
    assert result.fields["Age"] == "99"


def test_digest_without_a_former_generation_becomes_a_wrong_digest() -> None:
    digest_file = Published(
        content=FixedContent(b"00" * 32 + b"  x\n"), content_type="text/plain", last_modified_at=1
    )
    result = ask(published=digest_file, path="/dist/x.sha256", rule={"kind": "former"})
    assert result.content.read(0, 99) == b"ff" * 32 + b"  x\n"


def test_fault_is_named_in_the_answer() -> None:
    assert ask(rule={"kind": "status", "name": "busy"}).faults == ["busy"]

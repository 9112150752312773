"""Response plans: which fields stand on which answer, each rule with its section."""

from __future__ import annotations

import base64
import hashlib
import math
from dataclasses import replace
from typing import Any

import pytest

from mirror.http.dates import format_http_date
from mirror.route.match import Site, match
from mirror.route.route import Route
from mirror.serve.representation import Representation, describe
from mirror.serve.request import Request
from mirror.serve.request_fields import request_of
from mirror.serve.respond import RangeRules, ResponsePlan, build
from tests.multipart_message import read_parts
from tests.unit.serve.fakes import CRATE_KEY, CRATE_TARGET, LAST_MODIFIED, make_entry

CONTENT = b"0123456789" * 100
NOW = 1_800_000_000.0
RULES = RangeRules(max_ranges=4, boundary_key=b"key")
DIGEST = f"sha-256=:{base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()}:"


def route() -> Route:
    found = match(CRATE_TARGET.encode(), Site.ANY)
    assert isinstance(found, Route)
    return found


def represented(**changes: Any) -> Representation:
    return describe(make_entry(CRATE_KEY, CONTENT, **changes), route(), len(CONTENT))


def asked(method: str = "GET", **fields: str) -> Request:
    """`if_range="x"` is the field If-Range."""
    named = {name.replace("_", "-").encode(): value.encode() for name, value in fields.items()}
    return request_of(method.encode(), CRATE_TARGET.encode(), named, None)


def planned(
    request: Request, representation: Representation | None = None, now: float = NOW
) -> tuple[ResponsePlan, dict[str, str]]:
    plan = build(
        request, representation or represented(), now=now, cache_status=b"m; hit", rules=RULES
    )
    lines = plan.head.lines.decode("ascii").removesuffix("\r\n").split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    assert len(fields) == len(lines), "a field stands twice"
    return plan, fields


def test_several_ranges_are_a_multipart_message() -> None:
    """RFC 9110 section 15.3.7.2."""
    plan, fields = planned(asked(range="bytes=990-,0-4,999999-"))
    message = plan.content_of(CONTENT)
    assert (plan.status, fields["Content-Length"]) == (206, str(len(message)))
    assert plan.content_bytes == len(message)
    assert "Content-Range" not in fields
    parts = read_parts(fields["Content-Type"], message)
    assert [(part.first, part.last, part.content) for part in parts] == [
        (990, 999, CONTENT[990:]),
        (0, 4, CONTENT[:5]),
    ]
    assert {(part.media_type, part.length) for part in parts} == {("text/plain", 1000)}
    assert (fields["Repr-Digest"], fields["Accept-Ranges"]) == (DIGEST, "bytes")
    assert {"ETag", "Last-Modified", "Cache-Control", "Date", "Age"} <= set(fields)


@pytest.mark.parametrize(
    ("value", "content_range"),
    [
        pytest.param("bytes=0-4", "bytes 0-4/1000", id="15.3.7.1-one"),
        pytest.param("bytes=0-4,5000-", "bytes 0-4/1000", id="15.3.7.2-one-that-remains"),
    ],
)
def test_one_part_is_no_multipart_message(value: str, content_range: str) -> None:
    plan, fields = planned(asked(range=value))
    assert (plan.status, plan.parts, plan.content_of(CONTENT)) == (206, None, CONTENT[:5])
    assert (fields["Content-Type"], fields["Content-Range"]) == ("text/plain", content_range)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(asked("HEAD", range="bytes=0-4"), id="14.2-head"),
        pytest.param(asked("HEAD", range="bytes=0-4,7-8"), id="14.2-head-of-several"),
        pytest.param(asked("HEAD", range="bytes=5000-"), id="14.2-head-of-none"),
        pytest.param(asked(range="bytes=0-4,4-8"), id="14.2-overlap"),
        pytest.param(asked(range="bytes=0-0,2-2,4-4,6-6,8-8"), id="17.15-too-many"),
        pytest.param(asked(range="lines=0-4"), id="14.2-other-unit"),
        pytest.param(asked(range="bytes=0-4", if_range='"x"'), id="13.1.5-another-tag"),
        pytest.param(asked(range="bytes=5000-", if_range='"x"'), id="13.1.5-and-unsatisfiable"),
        pytest.param(asked(range="bytes=0-4,7-8", if_range='"x"'), id="13.1.5-and-several"),
    ],
)
def test_a_range_that_does_not_apply_is_ignored(request_: Request) -> None:
    plan, fields = planned(request_)
    assert (plan.status, plan.parts, fields["Content-Length"]) == (200, None, "1000")
    assert "Content-Range" not in fields
    assert plan.content_of(CONTENT) == (b"" if request_.is_head else CONTENT)


@pytest.mark.parametrize("value", ["bytes=5000-", "bytes=-0", "bytes=1000-,-0"])
def test_what_is_unsatisfiable_tells_the_length(value: str) -> None:
    """RFC 9110 section 15.5.17; with an If-Range that holds, too (13.1.5: process as requested)."""
    tag = represented().etag.decode()
    for request in (asked(range=value), asked(range=value, if_range=tag)):
        plan, fields = planned(request)
        assert (plan.status, fields["Content-Range"]) == (416, "bytes */1000")
        assert fields["Content-Length"] == str(len(plan.text))


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(asked(range="bytes=5000-"), id="416"),
        pytest.param(asked(if_match='"x"'), id="412"),
    ],
)
def test_no_cache_may_keep_an_error_as_the_representation(request_: Request) -> None:
    """RFC 9111 section 3: what says max-age is stored whatever its status, under the same key."""
    plan, fields = planned(request_)
    assert plan.status in (412, 416)
    assert "Cache-Control" not in fields
    assert fields["ETag"] == represented().etag.decode()


def test_an_unknown_length_has_no_ranges() -> None:
    unknown = replace(represented(), length=-1)
    for value in ("bytes=0-4", "bytes=0-4,6-8", "bytes=5000-"):
        plan, fields = planned(asked(range=value), unknown)
        assert (plan.status, plan.is_endless) == (200, True)
        assert "Content-Length" not in fields


def test_a_coded_representation_has_one_part_at_most() -> None:
    """Content-Encoding beside a multipart type would say that the message is coded."""
    coded = describe(make_entry(CRATE_KEY, CONTENT), route(), 1000, variant=b"v" * 32)
    plan, fields = planned(asked(range="bytes=0-4,7-8"), coded)
    assert (plan.status, fields["Content-Encoding"]) == (200, "gzip")
    plan, fields = planned(asked(range="bytes=0-4"), coded)
    assert (plan.status, fields["Content-Range"]) == (206, "bytes 0-4/1000")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(asked(if_match='"x"', range="bytes=0-4"), 412, id="if-match-before-range"),
        pytest.param(
            asked(if_none_match="*", range="bytes=0-4"), 304, id="none-match-before-range"
        ),
        pytest.param(asked(if_match='"x"', if_none_match="*"), 412, id="if-match-first"),
        pytest.param(asked(if_none_match="*", range="bytes=5000-"), 304, id="before-416"),
        pytest.param(asked("HEAD", if_match='"x"'), 412, id="head"),
    ],
)
def test_preconditions_come_first(request_: Request, status: int) -> None:
    """RFC 9110 section 13.2.2."""
    plan, fields = planned(request_)
    assert plan.status == status
    assert not plan.has_segment
    assert {"Date", "ETag"} <= set(fields)
    assert ("Cache-Control" in fields) is (status == 304)  # section 15.4.5
    assert (plan.text == b"") is (status == 304 or request_.is_head)


@pytest.mark.parametrize(
    ("request_", "is_stated"),
    [
        pytest.param(asked(want_content_digest="sha-256=1"), True, id="asked-for"),
        pytest.param(asked(), False, id="not-asked-for"),
        pytest.param(asked(want_content_digest="sha-512=1"), False, id="another-asked-for"),
        pytest.param(asked(want_content_digest="sha-256=0"), False, id="refused"),
        pytest.param(
            asked(want_content_digest="sha-256=1", want_repr_digest="sha-256=0"), True, id="alone"
        ),
        pytest.param(asked("HEAD", want_content_digest="sha-256=1"), False, id="head"),
        pytest.param(asked(want_content_digest="sha-256=1", range="bytes=0-4"), False, id="part"),
        pytest.param(
            asked(want_content_digest="sha-256=1", range="bytes=0-4,6-8"), False, id="parts"
        ),
        pytest.param(asked(want_content_digest="sha-256=1", range="bytes=9999-"), False, id="416"),
        pytest.param(asked(want_content_digest="sha-256=1", if_none_match="*"), False, id="304"),
        pytest.param(asked(want_content_digest="sha-256=1", if_match='"x"'), False, id="412"),
    ],
)
def test_content_digest_stands_where_it_is_known(request_: Request, is_stated: bool) -> None:
    """RFC 9530 sections 2 and 4."""
    _, fields = planned(request_)
    assert fields.get("Content-Digest") == (DIGEST if is_stated else None)


@pytest.mark.parametrize(
    ("last_modified", "now", "stated_at"),
    [
        pytest.param(LAST_MODIFIED, NOW, LAST_MODIFIED, id="past"),
        pytest.param(2_000_000_000, NOW, 1_799_999_990, id="ahead-when-it-came"),
        pytest.param(1_799_999_990, NOW, 1_799_999_990, id="when-it-came"),
        pytest.param(1_799_999_980, 1_799_999_979.0, None, id="clock-was-set-back"),
        pytest.param(0, NOW, None, id="unknown"),
    ],
)
def test_last_modified_is_never_later_than_date(
    last_modified: int, now: float, stated_at: int | None
) -> None:
    """RFC 9110 section 8.8.2.1; the entry came at 1799999990."""
    representation = represented(last_modified=last_modified)
    for request in (asked(), asked("HEAD"), asked(range="bytes=0-1"), asked(if_none_match="*")):
        _, fields = planned(request, representation, now)
        expected = None if stated_at is None else format_http_date(stated_at).decode()
        assert fields.get("Last-Modified") == expected
        assert fields["Date"] == format_http_date(int(now)).decode()


def test_a_date_that_was_moved_is_no_strong_validator() -> None:
    """RFC 9110 section 8.8.2.2: what was modified when it came may have changed within a second."""
    representation = represented(last_modified=2_000_000_000, fetched_at=1_799_999_990.0)
    date = format_http_date(1_799_999_990).decode()
    plan, _ = planned(asked(range="bytes=0-1", if_range=date), representation)
    assert plan.status == 200


def test_nobody_makes_the_edge_send_more_than_the_object_and_heads() -> None:
    """RFC 9110 section 17.15."""
    for value in ("0-,-1000", "0-499,500-", "-500,0-499", "0-0,2-2,4-4,6-6", "0-999", "0-,0-,0-"):
        plan, _ = planned(asked(range=f"bytes={value}"))
        assert plan.content_bytes <= len(CONTENT) + 200 * (RULES.max_ranges + 1)


@pytest.mark.parametrize(
    ("value", "is_part"),
    [
        pytest.param("0-4", True, id="part"),
        pytest.param("0-4,6-8", True, id="parts"),
        pytest.param("0-", False, id="whole"),
        pytest.param("0-499,500-", False, id="whole-in-parts"),
        pytest.param("500-,0-499", False, id="whole-in-parts-the-other-way-round"),
    ],
)
def test_what_adds_up_to_the_whole_is_no_part(value: str, is_part: bool) -> None:
    """So that a growing one is withheld to its end until it is verified."""
    plan, _ = planned(asked(range=f"bytes={value}"))
    assert plan.is_part_of(1000) is is_part


@pytest.mark.parametrize(
    ("value", "available", "reach", "given"),
    [
        pytest.param("10-19", 15, 15, 15, id="within"),
        pytest.param("10-19", 5, 5, 5, id="before"),
        pytest.param("10-19", math.inf, 20, 20, id="all"),
    ],
)
def test_reach_of_one_part(value: str, available: float, reach: int, given: int) -> None:
    plan, _ = planned(asked(range=f"bytes={value}"))
    end = 1000 if math.isinf(available) else int(available)
    assert plan.reach(lambda _: end) == reach
    assert plan.given(reach) == given

"""Answers: what to send for a request, decided before anything is sent.

Rules:
1. The ordinary answer is that of the real hosts: S3's statuses behind a CDN. A missing `.crate`
   is 403 (no ListBucket), a missing index file 404, a missing release file 404 with a page.
2. If-None-Match wins over If-Modified-Since; If-Range decides whether Range counts; one range.
3. Faults change a decided answer; each is claimed only where it has an effect.
4. Written from the RFCs on its own, not with the mirror's `http` room: the simulator is also an
   oracle for that.

Units: bytes; offsets half-open. Does not: wait or send (`sending.py`).
Runs in: simulator.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate, mktime_tz, parsedate_tz

from mirror.simulator.contents import Content, FixedContent
from mirror.simulator.faults import Claims, FaultKind
from mirror.simulator.published import Published, Site
from mirror.simulator.requests import SimulatedRequest

_PAGE = "<!doctype html>\n<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>\n"
_DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
)
_REASONS = {
    200: "OK", 206: "Partial Content", 304: "Not Modified", 400: "Bad Request", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 416: "Range Not Satisfiable",
    429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_NOTHING = FixedContent(b"")


@dataclass(slots=True, kw_only=True)
class Answer:
    """One response and what is to go wrong while it is sent."""

    status: int
    fields: dict[str, str]
    content: Content = _NOTHING
    start: int = 0
    end: int = 0
    length: int | None = None  # what Content-Length says; None: chunked
    closes: bool = False
    is_dropped: bool = False
    is_endless: bool = False
    how: str = "fin"
    delay_ms: int = 0
    stall_at: int = -1
    stall_ms: int = 0
    cut_at: int = -1
    corrupt_at: int = -1
    bytes_per_s: int = 0
    faults: list[str] = field(default_factory=list)

    def head(self) -> bytes:
        """Return the status line and fields, with the framing."""
        lines = [f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in self.fields.items()]
        if self.status != 304:
            lines.append(
                "Transfer-Encoding: chunked"
                if self.length is None
                else f"Content-Length: {self.length}"
            )
        if self.closes:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def answer(
    request: SimulatedRequest, published: Published | None, claims: Claims, *, now: float
) -> Answer:
    """Decide the answer to `request` for the object that its path names."""
    if published and claims.take(FaultKind.FORMER):
        published = _former(request, published)
    result = _ordinary(request, published, claims)
    result.fields = {"Date": formatdate(now, usegmt=True), **result.fields}
    _spoil(request, result, claims)
    result.closes = result.closes or not request.keeps_connection
    result.faults = claims.taken
    return result


def refuse(status: int) -> Answer:
    """Return the answer to something that is not a request for an object."""
    result = _page(status)
    result.closes = True
    return result


def _ordinary(request: SimulatedRequest, published: Published | None, claims: Claims) -> Answer:
    if rule := claims.take(FaultKind.STATUS):
        result = _page(rule.status)
        if rule.retry_after:
            result.fields["Retry-After"] = rule.retry_after
        _change(result.fields, rule.fields)
        return result
    if claims.take(FaultKind.HTML):
        return _page(200)
    if request.method not in ("GET", "HEAD"):
        return _page(405)
    if published is None:
        return _missing(request)
    fields = _object_fields(request, published)
    if _is_not_modified(request.fields, fields):
        return Answer(status=304, fields=fields, length=0)
    return _ranged(request, published, fields, claims)


def _ranged(
    request: SimulatedRequest, published: Published, fields: dict[str, str], claims: Claims
) -> Answer:
    content, complete = published.content, published.content.length
    whole = Answer(status=200, fields=fields, content=content, end=complete, length=complete)
    match = _RANGE.fullmatch(request.fields.get("range", ""))
    if match is None or match[0] == "bytes=-" or not _range_counts(request.fields, fields):
        return whole
    if claims.take(FaultKind.NO_RANGES):
        fields.pop("Accept-Ranges", None)
        return whole
    first, last = match.groups()
    start = int(first) if first else max(complete - int(last), 0)
    end = min(int(last) + 1, complete) if first and last else complete
    if start >= end:
        # S3 answers an unsatisfiable range, and RFC 9110 ignores one whose end is before its start.
        if first and last and int(last) < start:
            return whole
        result = _page(416)
        result.fields["Content-Range"] = f"bytes */{complete}"
        return result
    wrong = claims.take(FaultKind.CONTENT_RANGE)
    shift = wrong.delta if wrong else 0
    fields["Content-Range"] = f"bytes {start + shift}-{end - 1 + shift}/{complete}"
    return Answer(
        status=206, fields=fields, content=content, start=start, end=end, length=end - start
    )


def _object_fields(request: SimulatedRequest, published: Published) -> dict[str, str]:
    fields = {
        "Content-Type": published.content_type,
        "ETag": published.content.etag,
        "Last-Modified": formatdate(published.last_modified_at, usegmt=True),
        "Accept-Ranges": "bytes",
        "Server": "AmazonS3",
        "Via": "1.1 varnish",
        "X-Cache": "HIT",
        "Age": "0",
    }
    if published.cache_control:
        fields["Cache-Control"] = published.cache_control
    if published.content_coding:
        fields["Content-Encoding"] = published.content_coding
    if request.site is Site.INDEX:
        fields["Vary"] = "Accept-Encoding"
    return fields


def _is_not_modified(conditions: Mapping[str, str], fields: Mapping[str, str]) -> bool:
    if "if-none-match" in conditions:
        tags = [tag.strip().removeprefix("W/") for tag in conditions["if-none-match"].split(",")]
        return fields["ETag"].removeprefix("W/") in tags or tags == ["*"]
    since = parsedate_tz(conditions.get("if-modified-since", ""))
    modified = parsedate_tz(fields["Last-Modified"])
    return bool(since and modified and mktime_tz(modified) <= mktime_tz(since))


def _range_counts(conditions: Mapping[str, str], fields: Mapping[str, str]) -> bool:
    validator = conditions.get("if-range")
    if validator is None:
        return True
    # A weak entity tag never satisfies If-Range (RFC 9110, section 13.1.5).
    is_strong = not fields["ETag"].startswith("W/")
    return validator == fields["Last-Modified"] or (is_strong and validator == fields["ETag"])


def _missing(request: SimulatedRequest) -> Answer:
    if request.site is not Site.CRATES:
        return _page(404)
    result = _with_text(403, _DENIED)
    result.fields["Content-Type"] = "application/xml"
    return result


def _page(status: int) -> Answer:
    return _with_text(status, _PAGE.format(_REASONS.get(status, f"Status {status}")).encode())


def _with_text(status: int, text: bytes) -> Answer:
    empty = status in (204, 304)
    content = _NOTHING if empty else FixedContent(text)
    return Answer(
        status=status,
        fields={} if empty else {"Content-Type": "text/html; charset=utf-8"},
        content=content,
        end=content.length,
        length=content.length,
    )


def _former(request: SimulatedRequest, published: Published) -> Published:
    if published.former:
        return published.former
    text = published.content.read(0, published.content.length)
    if request.path.endswith(".sha256"):
        flipped = bytes(byte ^ 0xFF for byte in bytes.fromhex(text[:64].decode()))
        text = flipped.hex().encode() + text[64:]
    return Published(
        content=FixedContent(text),
        content_type=published.content_type,
        last_modified_at=published.last_modified_at,
        cache_control=published.cache_control,
    )


def _spoil(request: SimulatedRequest, result: Answer, claims: Claims) -> None:
    if rule := claims.take(FaultKind.DROP):
        result.is_dropped, result.closes, result.how = True, True, rule.how
    if rule := claims.take(FaultKind.DELAY):
        result.delay_ms = rule.ms
    if rule := claims.take(FaultKind.FIELDS):
        _change(result.fields, rule.fields)
    if request.method == "HEAD" or result.status == 304:
        result.end = result.start
        return
    if rule := claims.take(FaultKind.LENGTH):
        result.length = max((result.length or 0) + rule.delta, 0)
        result.closes = True
    if claims.take(FaultKind.CHUNKED):
        result.length = None
    if result.end > result.start and claims.take(FaultKind.ENDLESS):
        result.length, result.is_endless, result.closes = None, True, True
    if rule := claims.take(FaultKind.RATE):
        result.bytes_per_s = rule.bytes_per_s
    if rule := claims.take_within(FaultKind.STALL, result.start, result.end):
        result.stall_at, result.stall_ms = rule.at, rule.ms
    if rule := claims.take_within(FaultKind.CORRUPT, result.start, result.end):
        result.corrupt_at = rule.at
    if rule := claims.take_within(FaultKind.CUT, result.start, result.end):
        result.cut_at, result.how, result.closes = rule.at, rule.how, True


def _change(fields: dict[str, str], changes: Mapping[str, str | None]) -> None:
    for name, value in changes.items():
        for present in [key for key in fields if key.lower() == name.lower()]:
            del fields[present]
        if value is not None:
            fields[name] = value

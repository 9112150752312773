"""Answers that are one line of text: refusals, absences and failures.

Rules:
1. The text is one generic sentence; nothing the client sent is echoed (log and page injection).
2. 405 names what is allowed; 503 says when to come back.

Runs in: worker. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from mirror.errors import RequestError
from mirror.http.cache_status import cache_status
from mirror.http.dates import format_http_date
from mirror.serve.head import CACHE_NAME, Head, make_head


@dataclass(frozen=True, slots=True, kw_only=True)
class TextAnswer:
    """`sentence` is ours, never the client's words; `words` go into Cache-Status, of what is based
    on a stored response only (RFC 9211 section 2); `proxy_status` is a whole value (RFC 9209);
    `location` is a path or a URL of this server; `age_s` -1: it has no age."""

    status: int
    sentence: str
    retry_after_s: int = 0
    words: str = ""
    location: str = ""
    age_s: int = -1
    proxy_status: bytes = b""


def refusal_of(error: RequestError) -> TextAnswer:
    return TextAnswer(status=error.status, sentence=error.message)


def asks_for_head(received: bytes) -> bool:
    """Whether a head that is not a request is one of a HEAD: no content then (RFC 9110 9.3.2)."""
    return received[:8].lstrip(b"\r\n").startswith(b"HEAD ")


def text_answer(answer: TextAnswer, now: float, *, is_head: bool = False) -> tuple[Head, bytes]:
    """Return head and content of a response; no content for HEAD."""
    content = answer.sentence.encode("ascii", "replace") + b"\n"
    lines = b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n" % len(content)
    if answer.status == 405:
        lines += b"Allow: GET, HEAD\r\n"
    if answer.retry_after_s > 0:
        lines += b"Retry-After: %d\r\n" % answer.retry_after_s
    if answer.location:
        lines += b"Location: %b\r\n" % answer.location.encode("ascii")
    if answer.age_s >= 0:
        lines += b"Age: %d\r\n" % answer.age_s
    if answer.proxy_status:
        lines += b"Proxy-Status: %b\r\n" % answer.proxy_status
    if answer.words:
        lines += b"Cache-Status: %b\r\n" % cache_status(CACHE_NAME, answer.words)
    head = make_head(answer.status, format_http_date(int(now)), lines)
    return head, b"" if is_head else content

"""What the fields of a request mean here, whatever protocol brought them.

Rules:
1. Only GET and HEAD are answered, without content: a Content-Length above 0 or any
   Transfer-Encoding is refused.
2. Several field lines of one name come joined by ", " (RFC 9110 section 5.3).
3. Refusals say nothing that the client sent.

Does not: know framing, connections, or where a message ends.
Runs in: worker. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mirror.errors import RequestError
from mirror.http.authority import Authority
from mirror.http.conditions import UNCONDITIONAL, Conditions
from mirror.http.content_coding import wants_gzip
from mirror.http.digest_fields import asks_for_sha256, wants_sha256
from mirror.http.request_directives import NO_DIRECTIVES, parse_request_directives
from mirror.route.route import Refusal
from mirror.route.target import AbsoluteForm, split_target
from mirror.serve.request import Request

_CONDITIONAL: Final = frozenset(
    (
        b"if-range",
        b"if-match",
        b"if-none-match",
        b"if-modified-since",
        b"if-unmodified-since",
    )
)
# Fields that make an answer depend on more than the request line, Host, one If-None-Match and
# Accept-Encoding, which the memo tells apart.
_SELECTING: Final = (_CONDITIONAL - {b"if-none-match"}) | frozenset(
    (
        b"range",
        b"expect",
        b"cdn-loop",
        b"content-length",
        b"transfer-encoding",
        b"te",
        b"trailer",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"want-repr-digest",
        b"want-content-digest",
    )
)


def request_of(
    method: bytes, target: bytes, fields: Mapping[bytes, bytes], authority: Authority | None
) -> Request:
    """Return the request; `fields` are values by lower-case name, `authority` what Host names.

    It is of a connection that stays, and not of HTTP/1.0. Raises: RequestError.
    """
    if method not in (b"GET", b"HEAD"):
        raise RequestError(405, "Only GET and HEAD are answered here.")
    if b"content-length" in fields or b"transfer-encoding" in fields:
        _refuse_content(fields)
    if fields.get(b"expect", b"100-continue").lower() != b"100-continue":
        raise RequestError(417, "No expectation but 100-continue is known here.")
    form = split_target(target)
    if isinstance(form, Refusal):
        raise RequestError(form.status, form.reason)
    is_absolute = isinstance(form, AbsoluteForm)
    if isinstance(form, AbsoluteForm):
        authority = form.authority  # it replaces Host (RFC 9112 section 3.2.2)
    directives = parse_request_directives(fields.get(b"cache-control"), fields.get(b"pragma"))
    is_selecting = directives is not NO_DIRECTIVES or not _SELECTING.isdisjoint(fields)
    return Request(
        method=method,
        target=form.path,
        is_http10=False,
        is_absolute=is_absolute,
        is_plain=not is_absolute and not is_selecting,
        keep_alive=True,
        authority=authority,
        conditions=_conditions(fields),
        range=fields.get(b"range"),
        forwarded_for=fields.get(b"x-forwarded-for"),
        forwarded_proto=fields.get(b"x-forwarded-proto"),
        cdn_loop=fields.get(b"cdn-loop"),
        directives=directives,
        accepts_gzip=wants_gzip(fields.get(b"accept-encoding")),
        wants_digest=wants_sha256(fields.get(b"want-repr-digest")),
        wants_content_digest=asks_for_sha256(fields.get(b"want-content-digest")),
        fields=fields,
    )


def _refuse_content(fields: Mapping[bytes, bytes]) -> None:
    length = fields.get(b"content-length", b"0")
    # All zeros is no content; the character test is because int() takes "+0", "0_0" and spaces.
    if b"transfer-encoding" in fields or length.strip(b"0") or not length:
        raise RequestError(400, "Request content is not accepted.")


def _conditions(fields: Mapping[bytes, bytes]) -> Conditions:
    if _CONDITIONAL.isdisjoint(fields):
        return UNCONDITIONAL
    return Conditions(
        if_match=fields.get(b"if-match"),
        if_none_match=fields.get(b"if-none-match"),
        if_modified_since=fields.get(b"if-modified-since"),
        if_unmodified_since=fields.get(b"if-unmodified-since"),
        if_range=fields.get(b"if-range"),
    )

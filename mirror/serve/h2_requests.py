"""From the fields of an HTTP/2 request to the request that the request path knows.

Rules:
1. What `h2_fields` lets through is well-formed (RFC 9113 sections 8.2 and 8.3). What HTTP/1.1
   heads must satisfy beyond that is asked of it here: a target of bounded length, an authority
   that is valid. Refusals are answers of this stream alone.
2. Its head is never learned by the memo, which knows bytes of HTTP/1.1; its block is, by the memo
   of blocks (`http.h2_memo`), under the same conditions.

Runs in: worker. Pure.
"""

from __future__ import annotations

from dataclasses import replace

from mirror.errors import RequestError
from mirror.http.authority import Authority, parse_authority
from mirror.http.h2_fields import RequestFields
from mirror.http.h2_memo import CutBlock
from mirror.serve.request import Request
from mirror.serve.request_fields import request_of


def request_of_stream(
    received: RequestFields, *, max_target_bytes: int, block: CutBlock | None = None
) -> Request:
    """Return the request that `block` says. Raises: RequestError."""
    authority = _authority(received)
    if len(received.path) > max_target_bytes:
        raise RequestError(414, "The request target is too long.")
    request = request_of(received.method, received.path, received.fields, authority)
    may_learn = request.is_plain and request.method == b"GET"
    return replace(request, is_plain=False, block=block if may_learn else None)


def line_of(received: RequestFields) -> bytes:
    """The request as one line, as a log shows it."""
    return b"%b %b HTTP/2" % (received.method, received.path)


def _authority(received: RequestFields) -> Authority:
    authority = parse_authority(received.authority or b"")
    if authority is None:
        raise RequestError(400, "The authority is missing or not valid.")
    return authority

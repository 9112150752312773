"""Fetch one small object whole into memory, conditionally when a copy is stored.

Rules:
1. A stored copy's validators are sent (RFC 9110 13.1.2, 13.1.3); a 304 without them is an error.
2. At most `upstream.max_small` bytes, and what `policy` allows the kind, are read, coded and
   decoded; all that is in memory is counted (`memory`) until the flight ends.
3. A body that breaks is asked for again from the start, a bounded number of times.
4. Index files are asked for gzip-coded: 4 to 40 times fewer bytes on the wire.
5. A list is taken only when upstream marked its end (RFC 9112 section 6.3, or gzip's own): one that
   ends with its connection may have been cut at a line end, and would seem to drop the rest.

Does not: check what the content says, or store it.
Runs in: keeper.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mirror.errors import ErrorType, UpstreamError
from mirror.fill.coding import GZIP_NAMES, CodingError, decode_content
from mirror.fill.entries import Head, head_of
from mirror.fill.memory import MemoryFullError, MemoryShare
from mirror.fill.parts import FillParts
from mirror.fill.ports import UpstreamResponse
from mirror.fill.transfer import is_absent
from mirror.route import policy
from mirror.route.route import Kind, Route
from mirror.store.entry import Entry

_LISTS = frozenset((Kind.INDEX_FILE, Kind.MANIFESTS))
DEFLATE_MAX_RATIO = 1032  # of zlib's own documentation: 258 bytes by two bits
THREAD_FROM_BYTES = 131072  # hashing or inflating more than this takes a thread: over 0.3 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """304: the stored copy is what upstream has."""

    head: Head


@dataclass(frozen=True, slots=True)
class Absent:
    """Upstream says there is no such object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    head: Head
    content: bytes
    digest: bytes


class Holder(Protocol):
    """Whoever needs the content; a flight is one."""

    @property
    def holds(self) -> contextlib.ExitStack: ...


FetchResult = Unchanged | Absent | Fetched


async def fetch_small(
    parts: FillParts, holder: Holder, route: Route, known: Entry | None
) -> FetchResult:
    """Ask upstream; `known` is the stored copy to ask about. Raises UpstreamError.

    The content counts in the memory budget until `holder.holds` is closed.
    """
    share = parts.memory.share(route.key)
    holder.holds.callback(share.release)
    attempts = parts.config.upstream.attempts
    for failures in range(1, attempts + 1):
        response_began = False
        try:
            async with (
                parts.slot(route),
                parts.pool(route).get(route.path, fields=_fields(route, known)) as response,
            ):
                response_began = True
                return await _read(parts, route, known, response, share)
        except MemoryFullError:
            share.release()
            raise  # to ask again at once would need the same room again
        except UpstreamError as exc:
            share.release()
            # Before a head the pool has done its own retries; a broken body is ours to retry.
            if not response_began or not exc.retryable or failures == attempts:
                raise
        await parts.pause(failures)
    raise UpstreamError(route.key, "no attempt was allowed")


def _fields(route: Route, known: Entry | None) -> dict[str, str]:
    fields = {"Accept-Encoding": "gzip" if route.kind is Kind.INDEX_FILE else "identity"}
    if known is not None:
        if known.upstream_etag:
            fields["If-None-Match"] = known.upstream_etag
        if known.upstream_last_modified:
            fields["If-Modified-Since"] = known.upstream_last_modified
    return fields


async def _read(
    parts: FillParts,
    route: Route,
    known: Entry | None,
    response: UpstreamResponse,
    share: MemoryShare,
) -> FetchResult:
    if is_absent(route, response.status):
        return Absent()
    if response.status == 304:
        if known is None or not (known.upstream_etag or known.upstream_last_modified):
            cause = ErrorType.HTTP_PROTOCOL_ERROR
            raise _unusable(route, response, "304 to a request without a condition", cause)
        return Unchanged(head=head_of(response.fields))
    if response.status != 200:
        raise _unusable(route, response, f"status {response.status}")
    if route.kind in _LISTS and not _marks_its_end(response.fields):
        reason, cause = "a list without a length", ErrorType.HTTP_RESPONSE_INCOMPLETE
        raise _unusable(route, response, f"{reason}: its end cannot be known", cause)
    limit = min(parts.config.upstream.max_small, policy.max_bytes(route.kind))
    coded = await _content(route, response, limit, share)
    coding = response.fields.get("content-encoding", "")
    if coding:
        await share.grow(min(limit + 1, len(coded) * DEFLATE_MAX_RATIO))
    try:
        if coding or len(coded) >= THREAD_FROM_BYTES:
            content, digest = await parts.desk.compute(_decode_and_hash, coded, coding, limit)
        else:
            content, digest = _decode_and_hash(coded, coding, limit)
    except CodingError as exc:
        cause = ErrorType.HTTP_RESPONSE_CONTENT_CODING
        raise _unusable(route, response, str(exc), cause) from exc
    if response.stated_sha256 not in (b"", digest) and not coding:
        # A stored checksum covers what travels; nobody else may vouch for an index file.
        raise UpstreamError(route.key, "other bytes than the checksum that upstream states")
    share.shrink_to(len(content))
    return Fetched(head=head_of(response.fields), content=content, digest=digest)


async def _content(
    route: Route, response: UpstreamResponse, limit: int, share: MemoryShare
) -> bytes:
    pieces: list[bytes] = []
    received = 0
    try:
        async for chunk in response.chunks():
            received += len(chunk)
            if received > limit:
                cause = ErrorType.HTTP_RESPONSE_BODY_SIZE
                raise _unusable(route, response, f"more than {limit} bytes", cause)
            await share.grow(len(chunk))
            pieces.append(chunk)
        announced = head_of(response.fields).length
        if announced not in (-1, received):
            cause = ErrorType.HTTP_RESPONSE_INCOMPLETE
            raise UpstreamError(route.key, f"{received} bytes of {announced}", error_type=cause)
        return b"".join(pieces)
    finally:
        # The traceback of a failure lives until the garbage collector comes (measured: a hundred
        # endless bodies, 392 MB), and would keep bytes that the share no longer counts.
        pieces.clear()


def _marks_its_end(fields: Mapping[str, str]) -> bool:
    codings = fields.get("transfer-encoding", "").lower().split(",")
    if codings[-1].strip() == "chunked" or head_of(fields).length >= 0:
        return True
    return fields.get("content-encoding", "").strip().lower() in GZIP_NAMES


def _decode_and_hash(coded: bytes, coding: str, limit: int) -> tuple[bytes, bytes]:
    content = decode_content(coded, coding, limit)
    return content, hashlib.sha256(content).digest()


def _unusable(
    route: Route, response: UpstreamResponse, reason: str, cause: ErrorType | None = None
) -> UpstreamError:
    return UpstreamError(
        route.key, reason, upstream_status=response.status, retryable=False, error_type=cause
    )

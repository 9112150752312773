"""What the filler answers inside the keeper; the server turns these into frames.

Rules:
1. A reply is complete when given, except `Growing` (moves by its file) and `PassThrough` (read).
2. A follower of another's flight is told so (`collapsed`, RFC 9211), in words or by flag.
3. Who comes when the flight has its verified content waits for no upstream: a hit.

Runs in: keeper. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from mirror.errors import ErrorType, MirrorError, UpstreamError, VerificationError
from mirror.fill.changed import ChangedUpstreamError
from mirror.fill.growing import GrowingFile
from mirror.fill.messages import Failed, StoredAnswer
from mirror.http.cache_status import STALE_IF_ERROR
from mirror.store.entry import Entry, Stored

# A client that is told nothing about when to come back comes back at once (rustup: 0 ms).
RETRY_AFTER_S = 2
FILLED = "fwd=uri-miss; fwd-status=200; stored"
REFILLED = "fwd=stale; fwd-status=200; stored"
HIT_IN_MEMORY = "hit; detail=memory"  # verified, its commit is under way


class PassThroughSource(Protocol):
    """The bytes of a body that is not stored; the taker reads to b"" or closes."""

    def claim(self) -> bool:
        """Take the one reader's place. False: it is taken."""
        ...

    async def read(self) -> bytes:
        """Return what may be sent next; b"": complete and verified. Raises MirrorError."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Growing:
    file: GrowingFile
    collapsed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Inline:
    entry: Entry
    outcome: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PassThrough:
    entry: Entry
    length: int
    source: PassThroughSource


Reply = StoredAnswer | Failed | Growing | Inline | PassThrough
Replies = Mapping[str, Reply]


def collapsed(reply: Reply) -> Reply:
    """The same reply for one who did not start the flight."""
    if isinstance(reply, Growing):
        return replace(reply, collapsed=True)
    if isinstance(reply, Inline):
        return replace(reply, outcome=f"{reply.outcome}; collapsed")
    if isinstance(reply, StoredAnswer):
        return msgspec.structs.replace(reply, outcome=f"{reply.outcome}; collapsed")
    return reply


def from_memory(reply: Reply) -> Reply:
    """The same reply for one who came after it: a body that still grows is followed all the same"""
    if isinstance(reply, Growing | PassThrough | Failed):
        return collapsed(reply)
    if isinstance(reply, StoredAnswer):
        if reply.is_stale:
            return reply
        return msgspec.structs.replace(reply, outcome=HIT_IN_MEMORY)
    return replace(reply, outcome=HIT_IN_MEMORY)


def failed(error: MirrorError) -> Failed:
    """What a client may read about an error; hints and paths stay in the event."""
    if isinstance(error, UpstreamError):
        after = max(RETRY_AFTER_S, round(error.retry_after_s)) if error.status != 502 else 0
        return Failed(
            status=error.status,
            reason=error.reason,
            retry_after_s=after,
            error_type=error.error_type,
            upstream_status=error.upstream_status,
            is_changed=isinstance(error, ChangedUpstreamError),
        )
    if isinstance(error, VerificationError):
        # No error type: RFC 9209 has none for content that is not what its publisher said.
        return Failed(status=502, reason="upstream content failed verification")
    return Failed(
        status=503,
        reason="the mirror cannot do this at the moment",
        retry_after_s=RETRY_AFTER_S,
        error_type=ErrorType.PROXY_INTERNAL_ERROR,
    )


def error_of(key: str, failure: Failed) -> UpstreamError:
    """The failure of one object as the error of another that needs it."""
    return UpstreamError(
        key,
        failure.reason,
        upstream_status=failure.upstream_status,
        retry_after_s=failure.retry_after_s,
        status=failure.status,
        error_type=failure.error_type,
    )


def stale(stored: Stored, upstream_status: int) -> StoredAnswer:
    """A stored response served beyond its freshness because upstream is away (RFC 5861)."""
    status = f"; fwd-status={upstream_status}" if upstream_status else ""
    outcome = f"fwd=stale{status}; detail={STALE_IF_ERROR}"
    return StoredAnswer(stored=stored, outcome=outcome, is_stale=True)


def held_off(failure: Failed, stored: Stored | None) -> Reply:
    """What is answered without upstream, which failed a moment ago; `stored`: what may stand in."""
    if stored is None:
        return failure
    # Nothing was forwarded for this request (RFC 9211 section 2.1).
    return StoredAnswer(stored=stored, outcome=f"hit; detail={STALE_IF_ERROR}", is_stale=True)


def digest_of(reply: Reply) -> bytes:
    """The digest of the representation that a reply selects; b"" when it selects none."""
    if isinstance(reply, StoredAnswer):
        return reply.stored.entry.digest
    if isinstance(reply, Growing):
        return reply.file.entry.digest
    if isinstance(reply, Inline | PassThrough):
        return reply.entry.digest
    return b""

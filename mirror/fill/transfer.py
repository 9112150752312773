"""The bytes of one representation, in order, over as many upstream requests as it takes.

Rules:
1. A body that breaks is continued by Range + If-Range under a strong ETag; without one it is asked
   for again from the start and the bytes already given are skipped.
2. A 200 to a Range request is treated the same way. Skipped bytes are compared with those that were
   given (`Given`), so that what follows is of the version that begins with them: another version
   is an error, and nothing of it is given.
3. A 206 must continue exactly where it was asked to, with the same complete length and tag.
4. Tries without progress are bounded, and so are all tries of one transfer.
5. What an earlier fill left is asked for from its end on (RFC 9110 13.1.5) in the first request: a
   200 is then the whole, and whatever else but absence is asked again for the whole.
6. What somebody waits for far from the start may be asked for first: under no validator, so its 206
   counts only with a strong ETag and the complete length; then `part` says what it brings.
7. A transfer that `is_side` brings its part of the version that it was begun with, or fails.
8. A body is never longer than its announced length, nor than `limit_bytes`.
9. A store that states another SHA-256 than `digest` is not read from: the pool asks elsewhere.

Units: byte offsets, half-open; an end of -1 is that of the representation.
Does not: verify, write, or keep content.
Runs in: keeper.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Protocol

from mirror.errors import ErrorType, UpstreamError
from mirror.fill.changed import ChangedUpstreamError
from mirror.fill.entries import Head, head_of
from mirror.fill.parts import FillParts
from mirror.fill.ports import Resumable, UpstreamResponse
from mirror.fill.wanted import Wanted
from mirror.route.route import Route, UpstreamName
from mirror.store.extents import Run

MAX_REOPENINGS = 16  # a 1 GiB body that breaks every 64 MiB still arrives
_ABSENT = frozenset((404, 410))
# S3 without ListBucket answers 403 for what is not there, and takedowns may be 451.
_ABSENT_CRATE = frozenset((403, 404, 410, 451))
_ABSENT_INDEX = frozenset((404, 410, 451))  # what cargo takes for "no such crate"
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII)


def is_absent(route: Route, status: int) -> bool:
    """Whether upstream says that there is no such object. Never true of a 5xx."""
    if route.upstream is UpstreamName.CRATES:
        return status in _ABSENT_CRATE
    if route.upstream is UpstreamName.INDEX:
        return status in _ABSENT_INDEX
    return status in _ABSENT


class Given(Protocol):
    """What became of the bytes that a transfer gave."""

    def has_ahead(self) -> bool:
        """Whether others gave bytes ahead of its own, under the strong tag of its version."""
        ...

    async def is_same(self, at: int, content: bytes) -> bool:
        """Whether the bytes given for this place are these."""
        ...


class Unread:
    """Nobody gets a byte before the digest of the whole agrees, or at least the last ones."""

    def has_ahead(self) -> bool:
        return False

    async def is_same(self, at: int, content: bytes) -> bool:
        return True


class Transfer:
    """One body on its way. Use as `async with`; call `open` once, then read `chunks`."""

    def __init__(
        self, parts: FillParts, route: Route, *, limit_bytes: int, digest: bytes = b""
    ) -> None:
        self.head = Head(etag="", last_modified="", length=-1)
        self.offset = 0  # of the next byte that `chunks` gives
        self.end = -1  # where `chunks` ends
        self.part: Run | None = None  # what the first response brings (rule 6)
        self.is_side = False
        self.given: Given = Unread()
        self._parts = parts
        self._route = route
        self._limit = limit_bytes
        self._digest = digest
        self._stack = AsyncExitStack()
        self._response: UpstreamResponse | None = None
        self._until = -1  # where the response ends; -1: with the representation
        self._skip = 0
        self._is_compared = False
        self.ignores_ranges = False

    async def __aenter__(self) -> Transfer:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def sibling(self, *, is_side: bool = False) -> Transfer:
        """Return another transfer of the same version, to `begin_at` somewhere."""
        other = Transfer(self._parts, self._route, limit_bytes=self._limit, digest=self._digest)
        other.head = self.head
        other.is_side = is_side
        return other

    async def open(self, resumable: Resumable | None = None, wanted: Wanted | None = None) -> bool:
        """Ask for the whole, or for the rest of what is `resumable`, or for what is `wanted` first;
        `offset` and `part` then say which.

        False: upstream has no such object. Raises UpstreamError.
        """
        if resumable is not None and await self._open_rest(resumable):
            return True
        if resumable is None and wanted is not None and await self._open_part(wanted):
            return True
        response = self._response or await self._request({})
        if is_absent(self._route, response.status):
            await self._stack.aclose()
            return False
        self._expect(response, 200)
        self.head = head_of(response.fields)
        return True

    async def aclose(self) -> None:
        """Give the connection back; `chunks` would ask anew. Idempotent."""
        await self._close_response()

    async def begin_at(self, offset: int, end: int = -1) -> None:
        """Let `chunks` bring `[offset, end)`, without the bytes before it where upstream can."""
        self.part = None
        self.end = end
        reaches = self._response is None or self._until < 0 or self._until >= self._target(end) >= 0
        if offset == self.offset and reaches:
            return
        if self._response is not None and self.ignores_ranges and not self.offset:
            self.offset = self._skip = offset  # to ask once more would bring the whole once more
            return
        await self._close_response()
        self.offset = offset

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield content from `offset` to `end`. Raises UpstreamError when upstream cannot."""
        failures = 0
        target = self._target(self.end)
        for _ in range(MAX_REOPENINGS):
            before = self.offset
            try:
                if self._response is None:
                    await self._reopen()
                async with contextlib.aclosing(self._rest(target)) as rest:
                    async for chunk in rest:
                        yield chunk
                if target in (-1, self.offset):
                    return
                raise self._error(f"the content ended after {self.offset} bytes")
            except UpstreamError as exc:
                if self.offset == target:
                    await self._close_response()
                    return  # the connection broke behind the last byte: nothing is missing
                failures = 1 if self.offset > before else failures + 1
                if not exc.retryable or failures >= self._parts.config.upstream.attempts:
                    raise
                self._parts.log.info(
                    "fill-resumes", key=self._route.key, offset=self.offset, reason=str(exc)
                )
            await self._close_response()
            await self._parts.pause(failures)
        raise self._error("the content broke off too often")

    def _target(self, end: int) -> int:
        return self.head.length if end < 0 else end

    async def _open_part(self, wanted: Wanted) -> bool:
        """False: as `_open_rest`; a range that the object does not have is no part of it either."""
        response = await self._request({"Range": wanted.field})
        if response.status == 206:
            head = head_of(response.fields)
            found = _content_range(response)
            complete = -1 if found is None else found[2]
            if head.strong_etag and found is not None and found[:2] == wanted.of(complete):
                self.head = replace(head, length=complete)
                self.offset, self.end = self.part = found[0], found[1]
                self._until = self.end
                return True
        self.ignores_ranges = response.status == 200
        if response.status != 200 and not is_absent(self._route, response.status):
            await self._close_response()
        return False

    async def _open_rest(self, resumable: Resumable) -> bool:
        """False: the response, if there is one, is not a part; it is as if asked for the whole."""
        # Of what is here whole one byte is asked for: no range is empty (RFC 9110 14.1.2).
        self.offset = min(resumable.landed, resumable.length - 1)
        self.head = Head(etag=resumable.validator, last_modified="", length=resumable.length)
        response = await self._request(self._rest_fields())
        if response.status == 206:
            head = head_of(response.fields)
            try:
                self._check_part(response)
            except UpstreamError as exc:
                self._parts.log.info("not-resumed", key=self._route.key, reason=str(exc))
            else:
                if head.etag in ("", resumable.validator):
                    self.head = replace(self.head, last_modified=head.last_modified)
                    return True
        self.offset = 0
        self.ignores_ranges = response.status == 200
        if response.status != 200 and not is_absent(self._route, response.status):
            await self._close_response()
        return False

    async def _rest(self, target: int) -> AsyncGenerator[bytes, None]:
        if self._response is None:
            raise self._error("no response")
        last = self._until if self._until >= 0 else self.head.length
        async with contextlib.aclosing(_closable(self._response.chunks())) as body:
            async for chunk in body:
                content = await self._unskipped(chunk)
                if not content:
                    continue
                end = self.offset + len(content)
                if end > (self._limit if last < 0 else last):
                    raise self._error("the content is longer than it may be", retryable=False)
                if 0 <= target < end:
                    content, end = content[: target - self.offset], target
                self.offset = end
                if content:
                    yield content
                if self.offset == target and target != last:
                    break
        if self.offset == target and target != last:
            await self._close_response()  # the rest of it is not wanted

    async def _unskipped(self, chunk: bytes) -> bytes:
        if not self._skip:
            return chunk
        skipped = chunk[: self._skip]
        at = self.offset - self._skip
        if self._is_compared and not await self.given.is_same(at, skipped):
            raise ChangedUpstreamError(self._route.key, "its first bytes are others")
        self._skip -= len(skipped)
        return chunk[len(skipped) :]

    async def _reopen(self) -> None:
        await self._close_response()
        if not self.head.strong_etag or (not self.offset and self.end < 0):
            self._continue_whole(await self._request({}))
            return
        response = await self._request(self._rest_fields())
        if response.status != 206:
            self._continue_whole(response)
            return
        self._check_part(response)
        if head_of(response.fields).etag in ("", self.head.etag):
            self._skip = 0
            self._until = self.end
        elif self.is_side:
            raise self._error("a part of another version", retryable=False)
        else:  # from a server that does not know If-Range
            await self._close_response()
            self._continue_whole(await self._request({}))

    def _continue_whole(self, response: UpstreamResponse) -> None:
        if self.is_side:
            self.ignores_ranges = response.status == 200
            raise self._error("no part of the same version", retryable=response.status >= 500)
        self._expect(response, 200)
        head = head_of(response.fields)
        if -1 not in (head.length, self.head.length) and head.length != self.head.length:
            raise ChangedUpstreamError(
                self._route.key, f"its length is {head.length}, it was {self.head.length}"
            )
        self._check_version(head)
        self._skip = self.offset
        self._until = -1

    def _check_version(self, head: Head) -> None:
        """Another tag, or none: the bytes that are skipped decide whether it is another version."""
        self._is_compared = not head.strong_etag or head.etag != self.head.etag
        if not self._is_compared:
            return
        if self.given.has_ahead():
            raise ChangedUpstreamError(self._route.key, f"its entity tag became {head.etag!r}")
        self.head = replace(self.head, etag=head.etag)

    def _check_part(self, response: UpstreamResponse) -> None:
        found, end, length = _content_range(response), self._target(self.end), self.head.length
        if found is not None and found[0] == self.offset:
            is_of_length = length in (-1, found[2])
            if is_of_length and found[1] == (found[2] if end < 0 else end):
                return
        value = response.fields.get("content-range", "")
        raise self._error(f"a wrong Content-Range {value[:80]!r} from {self.offset} on")

    def _rest_fields(self) -> dict[str, str]:
        last = "" if self.end < 0 else str(self.end - 1)
        return {"Range": f"bytes={self.offset}-{last}", "If-Range": self.head.strong_etag}

    async def _request(self, fields: dict[str, str]) -> UpstreamResponse:
        # identity: the digest is that of the file, and a coded part cannot be put together.
        wanted = {"Accept-Encoding": "identity", **fields}
        response = await self._stack.enter_async_context(
            self._parts.pool(self._route).get(
                self._route.path, fields=wanted, expected_sha256=self._digest
            )
        )
        self._response = response
        self._until = -1
        return response

    def _expect(self, response: UpstreamResponse, status: int) -> None:
        if response.status != status:
            raise UpstreamError(
                self._route.key,
                f"status {response.status}",
                upstream_status=response.status,
                retryable=response.status >= 500,
            )

    async def _close_response(self) -> None:
        self._response = None
        await self._stack.aclose()

    def _error(self, reason: str, *, retryable: bool = True) -> UpstreamError:
        # What is longer than announced, or no part of what was asked for.
        cause = ErrorType.HTTP_PROTOCOL_ERROR
        return UpstreamError(self._route.key, reason, retryable=retryable, error_type=cause)


def _content_range(response: UpstreamResponse) -> tuple[int, int, int] | None:
    """Return start, end and complete length of a 206; None when it does not say all three."""
    found = _CONTENT_RANGE.fullmatch(response.fields.get("content-range", ""))
    if found is None:
        return None
    start, end, complete = int(found[1]), int(found[2]) + 1, int(found[3])
    return (start, end, complete) if start < end <= complete else None


async def _closable(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """As an asynchronous generator, so that it can be closed at once."""
    async for chunk in chunks:
        yield chunk

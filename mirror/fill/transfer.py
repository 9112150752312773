"""The bytes of one representation, in order, over as many upstream requests as it takes.

Rules:
1. A body that breaks is continued by Range + If-Range under a strong ETag; without one it is asked
   for again from the start and the bytes already given are skipped.
2. A 200 to a Range request is treated the same way. Skipped bytes are not compared: the digest of
   everything that was given is checked at the end, and it alone decides.
3. A 206 must continue exactly where it was asked to, with the same complete length.
4. Tries without progress are bounded, and so are all tries of one transfer.
5. What an earlier fill left is asked for from its end on (RFC 9110 13.1.5) in the first request: a
   200 is then the whole, and whatever else but absence is asked again for the whole.
6. A body is never longer than its announced length, nor than `limit_bytes`.
7. A store that states another SHA-256 than `digest` is not read from: the pool asks elsewhere.

Units: byte offsets. Does not: verify, write, or keep content.
Runs in: keeper.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType

from mirror.errors import UpstreamError
from mirror.fill.entries import Head, head_of
from mirror.fill.parts import FillParts
from mirror.fill.ports import Resumable, UpstreamResponse
from mirror.route.route import Route, UpstreamName

MAX_REOPENINGS = 16  # a 1 GiB body that breaks every 64 MiB still arrives
_ABSENT = frozenset((404, 410))
# S3 without ListBucket answers 403 for what is not there, and takedowns may be 451.
_ABSENT_CRATE = frozenset((403, 404, 410, 451))
_ABSENT_INDEX = frozenset((404, 410, 451))  # what cargo takes for "no such crate"
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)


def is_absent(route: Route, status: int) -> bool:
    """Whether upstream says that there is no such object. Never true of a 5xx."""
    if route.upstream is UpstreamName.CRATES:
        return status in _ABSENT_CRATE
    if route.upstream is UpstreamName.INDEX:
        return status in _ABSENT_INDEX
    return status in _ABSENT


class Transfer:
    """One body on its way. Use as `async with`; call `open` once, then read `chunks`."""

    def __init__(
        self, parts: FillParts, route: Route, *, limit_bytes: int, digest: bytes = b""
    ) -> None:
        self.head = Head(etag="", last_modified="", length=-1)
        self.offset = 0  # of the next byte that `chunks` gives
        self._parts = parts
        self._route = route
        self._limit = limit_bytes
        self._digest = digest
        self._stack = AsyncExitStack()
        self._response: UpstreamResponse | None = None
        self._skip = 0
        self._ignores_ranges = False

    async def __aenter__(self) -> Transfer:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def open(self, resumable: Resumable | None = None) -> bool:
        """Ask for the whole, or for the rest of what is `resumable`; `offset` then says which.

        False: upstream has no such object. Raises UpstreamError.
        """
        if resumable is not None and await self._open_rest(resumable):
            return True
        response = self._response or await self._request({})
        if is_absent(self._route, response.status):
            await self._stack.aclose()
            return False
        self._expect(response, 200)
        self.head = head_of(response.fields)
        return True

    async def aclose(self) -> None:
        """Give the connection back. Idempotent."""
        await self._close_response()

    async def begin_at(self, offset: int) -> None:
        """Let `chunks` begin there, without the bytes before it where upstream can."""
        if offset == self.offset:
            return
        if self._ignores_ranges and not self.offset:
            self.offset = self._skip = offset  # to ask once more would bring the whole once more
            return
        self.offset = offset
        await self._reopen()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield content from `offset` on. Raises UpstreamError when upstream cannot finish it."""
        failures = 0
        for _ in range(MAX_REOPENINGS):
            before = self.offset
            try:
                if self._response is None:
                    await self._reopen()
                async with contextlib.aclosing(self._rest()) as rest:
                    async for chunk in rest:
                        yield chunk
                if self.head.length in (-1, self.offset):
                    return
                raise self._error(f"the content ended after {self.offset} bytes")
            except UpstreamError as exc:
                if self.offset == self.head.length:
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

    async def _open_rest(self, resumable: Resumable) -> bool:
        """False: the response, if there is one, is not a part; it is as if asked for the whole."""
        # Of what is here whole one byte is asked for: no range is empty (RFC 9110 14.1.2).
        self.offset = min(resumable.landed, resumable.length - 1)
        self.head = Head(etag=resumable.validator, last_modified="", length=resumable.length)
        response = await self._request(_rest_of(self.offset, resumable.validator))
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
        self._ignores_ranges = response.status == 200
        if response.status != 200 and not is_absent(self._route, response.status):
            await self._close_response()
        return False

    async def _rest(self) -> AsyncGenerator[bytes, None]:
        if self._response is None:
            raise self._error("no response")
        async with contextlib.aclosing(_closable(self._response.chunks())) as body:
            async for chunk in body:
                content = self._unskipped(chunk)
                if not content:
                    continue
                end = self.offset + len(content)
                if end > (self._limit if self.head.length < 0 else self.head.length):
                    raise self._error("the content is longer than it may be", retryable=False)
                self.offset = end
                yield content

    def _unskipped(self, chunk: bytes) -> bytes:
        if not self._skip:
            return chunk
        content = chunk[self._skip :]
        self._skip -= len(chunk) - len(content)
        return content

    async def _reopen(self) -> None:
        await self._close_response()
        validator = self.head.strong_etag
        if not self.offset or not validator:
            self._continue_whole(await self._request({}))
            return
        response = await self._request(_rest_of(self.offset, validator))
        if response.status == 206:
            self._check_part(response)
            self._skip = 0
        else:
            self._continue_whole(response)

    def _continue_whole(self, response: UpstreamResponse) -> None:
        self._expect(response, 200)
        length = head_of(response.fields).length
        if -1 not in (length, self.head.length) and length != self.head.length:
            raise self._error(
                f"its length became {length}, it was {self.head.length}", retryable=False
            )
        self._skip = self.offset

    def _check_part(self, response: UpstreamResponse) -> None:
        value = response.fields.get("content-range", "")
        found = _CONTENT_RANGE.fullmatch(value)
        complete = "" if found is None or found[3] == "*" else found[3]
        starts_right = found is not None and int(found[1]) == self.offset
        ends_right = found is not None and (not complete or int(found[2]) == int(complete) - 1)
        length_agrees = self.head.length < 0 or complete == str(self.head.length)
        if not (starts_right and ends_right and length_agrees):
            raise self._error(f"a wrong Content-Range {value[:80]!r} from {self.offset} on")

    async def _request(self, fields: dict[str, str]) -> UpstreamResponse:
        # identity: the digest is that of the file, and a coded part cannot be put together.
        wanted = {"Accept-Encoding": "identity", **fields}
        response = await self._stack.enter_async_context(
            self._parts.pool(self._route).get(
                self._route.path, fields=wanted, expected_sha256=self._digest
            )
        )
        self._response = response
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
        return UpstreamError(self._route.key, reason, retryable=retryable)


def _rest_of(offset: int, validator: str) -> dict[str, str]:
    return {"Range": f"bytes={offset}-", "If-Range": validator}


async def _closable(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """As an asynchronous generator, so that it can be closed at once."""
    async for chunk in chunks:
        yield chunk

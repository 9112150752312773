"""What the keeper's answers become in the worker: bodies that grow, bodies in memory, bodies read.

Rules:
1. Nobody who waits here waits for ever: whatever happens to the keeper, every wait ends with
   progress or with a failure (`KeeperClient` calls `advance`, `fail` or `resume`).
2. After a keeper restart a growing body goes on only where the bytes already given out are bytes
   of the verified file: same digest, same length, same inode, and no less landed than was given.
   Bytes were sent before their digest agreed; joined to another file's they would be a complete
   wrong representation. A part of one, which no digest vouches for, goes on in another file too,
   under the same strong entity tag of upstream's: as its client itself would, by If-Range.
3. A body has one follower; `release` it in a `finally`.

Units: bytes, half-open offsets; -1: unknown.
Does not: speak the protocol, or send anything to clients.
Runs in: worker.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mirror.errors import MirrorError
from mirror.fill.messages import (
    Ask,
    Failed,
    FlightState,
    GrowingAnswer,
    Progress,
    StoredAnswer,
)
from mirror.store.entry import Entry, Stored
from mirror.store.extents import Extents, Runs
from mirror.store.files import Files

_TOO_OLD = Failed(status=503, reason="the body changed during a restart", retry_after_s=1)


class BodyAborted(MirrorError):
    """The bytes read so far must never become a complete response."""

    def __init__(self, key: str, failure: Failed) -> None:
        super().__init__(
            f"{key}: {failure.reason}", source=key, retryable=True, status=failure.status
        )
        self.failure = failure


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineBody:
    """A small verified object, complete."""

    entry: Entry
    outcome: str
    content: bytes

    def __repr__(self) -> str:
        return f"<InlineBody {self.entry.key} {len(self.content)} bytes>"


class GrowingBody:
    """One follower's view of a flight's file.

    `sendable`: a whole response may send `[0, sendable)`. `readable_end` says how far a partial one
    may; who sends one sets `is_part`. `stored` is set once the blob is published. `failure` is set
    when `state` is FAILED. `epoch` counts changes of the file: a follower that sees another value
    calls `open` again and goes on at its offset. `content`: the whole verified content, when a
    restarted keeper answered inline; then there is nothing to open. `sent`: the follower keeps here
    up to which offset it gave bytes out; unset, everything readable counts as given.
    """

    __slots__ = (
        "_blob_path",
        "_extents",
        "_files",
        "_inode",
        "_is_same_version",
        "_on_release",
        "_path",
        "_seen",
        "_version",
        "_waiter",
        "ask",
        "collapsed",
        "content",
        "entry",
        "epoch",
        "failure",
        "is_kept",
        "is_part",
        "is_released",
        "landed",
        "length",
        "losses",
        "sendable",
        "sent",
        "state",
        "stored",
    )

    def __init__(
        self,
        answer: GrowingAnswer,
        *,
        ask: Ask,
        blob_path: str,
        files: Files,
        on_release: Callable[[GrowingBody], None],
    ) -> None:
        self.ask = ask
        self.entry = answer.entry
        self.length = answer.length
        self.collapsed = answer.collapsed
        self.sendable = answer.sendable
        self.landed = answer.landed
        self.is_kept = answer.is_kept
        self.is_part = False
        self.state = FlightState.RUNNING
        self.stored: Stored | None = None
        self.failure: Failed | None = None
        self.content: bytes | None = None
        self.epoch = 0
        self.sent: int | None = None
        self.is_released = False
        self.losses = 0  # keepers lost since the body last moved; `KeeperClient` counts
        self._extents = _extents(answer.landed, answer.ahead)
        self._path = answer.path
        self._blob_path = blob_path
        self._files = files
        self._on_release = on_release
        self._inode: int | None = None  # of the file first opened
        self._is_same_version = False  # a restarted keeper's file has, though it is another
        self._version = 0
        self._seen = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_over(self) -> bool:
        """Nothing about the bytes changes any more (`stored` may still be set)."""
        return self.state is not FlightState.RUNNING

    def readable_end(self, offset: int) -> int:
        """Return up to where a partial response may send from `offset` on; `offset`: not yet."""
        return self._extents.end_at(offset)

    def open(self) -> int:
        """Return a descriptor (the caller's to close) of the flight's file or the published blob.

        Raises: OSError when neither is there, or (ESTALE) when it is not the file opened before
        and bytes of that one were given out.
        """
        first, second = self._path, self._blob_path
        if self.stored is not None:
            first, second = second, first
        try:
            descriptor = self._files.open_read(first)
        except FileNotFoundError:
            descriptor = self._files.open_read(second)
        try:
            self._check_identity(descriptor)
        except BaseException:
            self._files.close(descriptor)
            raise
        return descriptor

    async def moved(self) -> None:
        """Wait until something changed since this last returned; at once when the body is over."""
        if self._version == self._seen and not self.is_over:
            if self._waiter is not None:
                raise RuntimeError("a growing body has one follower")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._seen = self._version

    def release(self) -> None:
        """This follower is gone; idempotent."""
        if not self.is_released:
            self.is_released = True
            self._on_release(self)

    def advance(self, progress: Progress) -> None:
        """Take over what the keeper announced."""
        if self.state is FlightState.FAILED:
            return
        self.losses = 0
        self.sendable = progress.sendable
        self._has_landed(progress.landed, progress.ahead)
        self.length = progress.length
        self.stored = progress.stored or self.stored
        if progress.state is FlightState.FAILED:
            self.fail(progress.failure or Failed(status=502, reason="the fill failed"))
            return
        self.state = progress.state
        self._changed()

    def fail(self, failure: Failed) -> None:
        """End without a verified body; what is verified stays so."""
        if self.state is FlightState.RUNNING:
            self.state = FlightState.FAILED
            self.failure = failure
            self._changed()

    def resume(self, answer: GrowingAnswer | StoredAnswer | InlineBody | Failed) -> bool:
        """Take over a restarted keeper's answer; False when the body failed over it."""
        self._is_same_version = self.is_part and self._has_same_tag(answer)
        failure = self._objection(answer)
        if failure is not None:
            self.fail(failure)
            return False
        if isinstance(answer, GrowingAnswer):
            self._path = answer.path
            self.sendable = answer.sendable
            self._has_landed(answer.landed, answer.ahead)
            self.length = answer.length if answer.length >= 0 else self.length
        elif isinstance(answer, StoredAnswer):
            self.stored = answer.stored
            self._become_whole(answer.stored.entry.length)
        elif isinstance(answer, InlineBody):
            self.content = answer.content
            self._become_whole(len(answer.content))
        self.epoch += 1
        self._changed()
        return True

    def _objection(
        self, answer: GrowingAnswer | StoredAnswer | InlineBody | Failed
    ) -> Failed | None:
        if isinstance(answer, Failed):
            return answer
        entry = answer.stored.entry if isinstance(answer, StoredAnswer) else answer.entry
        length = answer.length if isinstance(answer, GrowingAnswer) else entry.length
        is_same = entry.status == 200 and entry.digest == self.entry.digest
        if not is_same or (-1 not in (length, self.length) and length != self.length):
            return _TOO_OLD
        given = self._given()
        is_behind = isinstance(answer, GrowingAnswer) and answer.landed < given
        if is_behind and not self._is_same_version:
            return _TOO_OLD  # the bytes between would be fetched, and perhaps written, again
        if isinstance(answer, InlineBody) and given:
            return _TOO_OLD  # nothing says that the given bytes are a prefix of this content
        return None

    def _has_same_tag(self, answer: GrowingAnswer | StoredAnswer | InlineBody | Failed) -> bool:
        if not isinstance(answer, GrowingAnswer | StoredAnswer):
            return False
        entry = answer.stored.entry if isinstance(answer, StoredAnswer) else answer.entry
        tag = self.entry.upstream_etag
        return tag.startswith('"') and entry.upstream_etag == tag

    def _given(self) -> int:
        """Return up to which offset a client may hold bytes."""
        if self.sent is not None:
            return self.sent
        return 0 if self._inode is None else max(self.sendable, self.landed)

    def _check_identity(self, descriptor: int) -> None:
        found = self._files.identify(descriptor)
        if self.stored is not None and self._inode is None and found != self.stored.attestation:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), self._blob_path)
        is_other = self._inode not in (None, found.inode) and self._given() > 0
        if is_other and not self._is_same_version:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), self._path)
        self._inode = found.inode

    def _has_landed(self, landed: int, ahead: Runs) -> None:
        self.landed = landed
        self._extents = _extents(landed, ahead)

    def _become_whole(self, length: int) -> None:
        self.sendable = self.length = length
        self._has_landed(length, ())
        self.state = FlightState.VERIFIED

    def _changed(self) -> None:
        self._version += 1
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __repr__(self) -> str:
        return (
            f"<GrowingBody {self.entry.key} {self.state.value} "
            f"{self.sendable}/{self.landed}/{self.length}>"
        )


def _extents(landed: int, ahead: Runs) -> Extents:
    return Extents(((0, landed), *ahead))


class PassThroughBody:
    """A body that the disk could not take: read once, in order, verified at its end."""

    def __init__(
        self,
        entry: Entry,
        length: int,
        *,
        on_read: Callable[[int], None],
        on_release: Callable[[], None],
    ) -> None:
        self.entry = entry
        self.length = length
        self._on_read = on_read
        self._on_release = on_release
        self._chunks: deque[bytes] = deque()
        self._received = 0
        self._is_complete = False
        self._failure: Failed | None = None
        self._is_released = False
        self._waiter: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        """Return the next bytes; b"": complete and verified.

        Raises: BodyAborted, at the latest when the keeper is lost.
        """
        while not self._chunks:
            if self._failure is not None:
                raise BodyAborted(self.entry.key, self._failure)
            if self._is_complete:
                return b""
            if self._waiter is not None:
                raise RuntimeError("a pass-through body has one reader")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        chunk = self._chunks.popleft()
        if not self._is_complete:
            self._on_read(len(chunk))
        return chunk

    def release(self) -> None:
        """Nobody reads any more; idempotent."""
        if not self._is_released:
            self._is_released = True
            self._chunks.clear()
            if not self._is_complete and self._failure is None:
                self._failure = Failed(status=503, reason="released")
                self._on_release()

    def feed(self, data: bytes) -> None:
        if data and self._failure is None and not self._is_complete:
            self._received += len(data)
            self._chunks.append(data)
            self._wake()

    def finish(self, failure: Failed | None) -> None:
        """The keeper has sent everything, or gave up."""
        if self._is_complete or self._failure is not None:
            return
        if failure is None and self.length not in (-1, self._received):
            failure = Failed(
                status=502, reason=f"{self._received} bytes came, {self.length} were announced"
            )
        if failure is None:
            self._is_complete = True
        else:
            # What was received and not read yet is dropped: it could only lengthen a lost body.
            self._chunks.clear()
            self._failure = failure
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __repr__(self) -> str:
        state = "complete" if self._is_complete else "failed" if self._failure else "open"
        return f"<PassThroughBody {self.entry.key} {state} {self._received}/{self.length}>"


Reply = StoredAnswer | Failed | GrowingBody | InlineBody | PassThroughBody

"""The keeper's end of one worker's connection: frames in, answers, content and progress out.

Rules:
1. Both sides say HELLO first; a worker that does not within `GREETING_S` is cut off.
2. Stream numbers only go up; a stream lives from its ASK to its answer's end or its CANCEL.
3. What waits to be sent is bounded: content goes only while the worker reads and grants credit, and
   a worker that reads nothing at all is cut off at `QUEUE_MAX_BYTES`.
4. A worker that breaks a rule is cut off, with an event; its flights go on.
5. Content of requests is accepted and credited, though no verb has any yet.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, cast

import msgspec

from mirror.accounting.uses import Use, UseObserver
from mirror.errors import MirrorError
from mirror.events import EventLog
from mirror.fill.announce import Announcer
from mirror.fill.credit import ReceiveCredit, SendCredit
from mirror.fill.frames import (
    MAX_PAYLOAD_BYTES,
    Frame,
    FrameError,
    FrameReader,
    FrameType,
    encode_frame,
)
from mirror.fill.messages import (
    Ask,
    Check,
    Code,
    Failed,
    Hello,
    InlineAnswer,
    Message,
    PassThroughAnswer,
    Progress,
    Uses,
    decode,
    encode,
)
from mirror.fill.replies import Growing, Inline, PassThrough, Reply, failed

GREETING_S = 5.0
QUEUE_MAX_BYTES = 8388608  # 64 inline bodies in full credit would be 16 MiB; content waits earlier
CONTENT_PAUSE_BYTES = 1048576  # content stops here; control frames go on up to the maximum
STREAMS_MAX = 16384  # twice the connections of a worker
NAMED_KEYS_MAX = 512  # in one USED, CHECK or CODE

_Named = TypeVar("_Named", str, Use)


class Answers(Protocol):
    """What stands behind the socket: `fill.filler.Filler`."""

    async def ask(self, ask: Ask) -> Reply: ...

    def used(self, keys: Sequence[str]) -> None: ...

    def check(self, keys: tuple[str, ...]) -> None: ...

    def code(self, keys: tuple[str, ...]) -> None: ...


@dataclass(slots=True, kw_only=True, eq=False)
class _Stream:
    number: int
    send: SendCredit = field(default_factory=SendCredit)
    receive: ReceiveCredit = field(default_factory=ReceiveCredit)
    task: asyncio.Task[None] | None = None


class WorkerConnection(asyncio.Protocol):
    """Made per accepted connection; `on_closed` is called once with it."""

    def __init__(
        self,
        answers: Answers,
        log: EventLog,
        on_closed: Callable[[WorkerConnection], None],
        observer: UseObserver | None = None,
    ) -> None:
        self._answers = answers
        self._log = log
        self._on_closed = on_closed
        self._observer = observer
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, _Stream] = {}
        self._last_stream = 0
        self._slot: int | None = None
        self._announcer = Announcer(self._send_progress)
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._greeting: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return (
            f"<WorkerConnection slot {self._slot} {len(self._streams)} streams "
            f"{len(self._announcer)} followers>"
        )

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=CONTENT_PAUSE_BYTES)
        self._greeting = asyncio.get_running_loop().call_later(GREETING_S, self._not_greeted)
        self._send(FrameType.HELLO, 0, Hello(slot=-1, pid=os.getpid(), fillers=1))

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                if self._transport is None or self._transport.is_closing():
                    return
                self._take(frame)
        except (FrameError, msgspec.MsgspecError) as exc:
            self._misbehaves(str(exc))

    def pause_writing(self) -> None:
        self._may_write.clear()
        self._announcer.pause()

    def resume_writing(self) -> None:
        self._may_write.set()
        self._announcer.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._stop_greeting()
        self._announcer.close()
        for stream in tuple(self._streams.values()):
            if stream.task is not None:
                stream.task.cancel()
        self._closed.set_result(None)
        self._on_closed(self)

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def finished(self) -> None:
        """Wait until the connection is gone and no task of it runs any more."""
        await self._closed
        tasks = [stream.task for stream in self._streams.values() if stream.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    # Frames in.

    def _take(self, frame: Frame) -> None:
        if self._slot is None:
            self._greet(frame)
            return
        match frame.type:
            case FrameType.ASK:
                self._open(frame.stream, decode(Ask, frame.payload))
            case FrameType.CANCEL:
                self._cancel(frame.stream)
            case FrameType.CREDIT:
                stream = self._streams.get(frame.stream)
                if stream is not None:  # else: its answer ended while the credit was on its way
                    stream.send.grant(frame.payload)
            case FrameType.DATA:
                self._receive(frame)
            case FrameType.END:
                pass  # of a request's content; nobody waits for it yet
            case FrameType.USED:
                self._note_uses(decode(Uses, frame.payload))
            case FrameType.CHECK:
                self._answers.check(_bounded(decode(Check, frame.payload).keys, frame.type))
            case FrameType.CODE:
                self._answers.code(_bounded(decode(Code, frame.payload).keys, frame.type))
            case _:
                raise FrameError(f"{frame.type.name} from a worker")

    def _note_uses(self, message: Uses) -> None:
        uses = _bounded(message.uses, FrameType.USED)
        self._answers.used([use.key for use in uses])
        if self._observer is not None:
            self._observer.used(uses, message.left_out)

    def _greet(self, frame: Frame) -> None:
        if frame.type is not FrameType.HELLO or frame.stream != 0:
            raise FrameError(f"{frame.type.name} before HELLO")
        hello = decode(Hello, frame.payload)
        self._slot = hello.slot
        self._stop_greeting()
        self._log.info("worker-connected", slot=hello.slot, pid=hello.pid)

    def _open(self, number: int, ask: Ask) -> None:
        if number <= self._last_stream:
            raise FrameError(f"stream {number} after stream {self._last_stream}")
        if len(self._streams) + len(self._announcer) >= STREAMS_MAX:
            raise FrameError(f"more than {STREAMS_MAX} streams")
        self._last_stream = number
        stream = _Stream(number=number)
        self._streams[number] = stream
        stream.task = asyncio.create_task(self._serve(stream, ask), name=f"ask {ask.key}")

    def _cancel(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is not None and stream.task is not None:
            stream.task.cancel()
        self._announcer.leave(number)

    def _receive(self, frame: Frame) -> None:
        stream = self._streams.get(frame.stream)
        if stream is not None:
            self._send_raw(FrameType.CREDIT, frame.stream, stream.receive.take(frame.payload))

    # Answers out.

    async def _serve(self, stream: _Stream, ask: Ask) -> None:
        try:
            reply = await self._answers.ask(ask)
            await self._reply(stream, reply)
        except asyncio.CancelledError:
            pass  # the worker cancelled, or is gone: this task ends here, the flight goes on
        except Exception as exc:  # noqa: BLE001 - the edge of a request
            self._log.error("answer-crashed", key=ask.key, error=repr(exc))
            self.cut()
        finally:
            self._streams.pop(stream.number, None)

    async def _reply(self, stream: _Stream, reply: Reply) -> None:
        number = stream.number
        if isinstance(reply, Growing):
            # No await between the two: a move in between would never be announced.
            self._send(FrameType.ANSWER, number, reply.file.answer(collapsed=reply.collapsed))
            self._announcer.follow(number, reply.file)
        elif isinstance(reply, Inline):
            self._send(
                FrameType.ANSWER, number, InlineAnswer(entry=reply.entry, outcome=reply.outcome)
            )
            await self._send_content(stream, reply.content)
            self._send(FrameType.END, number)
        elif isinstance(reply, PassThrough):
            await self._relay(stream, reply)
        else:
            self._send(FrameType.ANSWER, number, reply)

    async def _relay(self, stream: _Stream, reply: PassThrough) -> None:
        failure: Failed | None = None
        try:
            self._send(
                FrameType.ANSWER,
                stream.number,
                PassThroughAnswer(entry=reply.entry, length=reply.length),
            )
            while piece := await reply.source.read():
                await self._send_content(stream, piece)
        except MirrorError as exc:
            failure = failed(exc)
        finally:
            reply.source.close()
        self._send(FrameType.END, stream.number, failure)

    async def _send_content(self, stream: _Stream, content: bytes) -> None:
        at = 0
        while at < len(content):
            size = await stream.send.take(min(len(content) - at, MAX_PAYLOAD_BYTES))
            await self._writable()
            self._send_raw(FrameType.DATA, stream.number, content[at : at + size])
            at += size

    async def _writable(self) -> None:
        """Return when content may be written; the caller writes before it awaits anything else.

        One wake-up frees all who wait, and uvloop pauses only when it flushes: 1,000 asks for one
        object would each write a piece. So each looks again, at what is queued too.
        """
        while True:
            if not self._may_write.is_set():
                await self._may_write.wait()
            elif self._queued_bytes() > CONTENT_PAUSE_BYTES:
                await asyncio.sleep(0)
            else:
                return

    def _queued_bytes(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def _send_progress(self, progress: Progress) -> None:
        self._send(FrameType.PROGRESS, 0, progress)

    def _send(self, type: FrameType, stream: int, message: Message | None = None) -> None:
        self._send_raw(type, stream, b"" if message is None else encode(message))

    def _send_raw(self, type: FrameType, stream: int, payload: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(encode_frame(type, stream, payload))
        if transport.get_write_buffer_size() > QUEUE_MAX_BYTES:
            self._misbehaves("it does not read what it asked for")

    # Trouble.

    def _not_greeted(self) -> None:
        self._greeting = None
        self._misbehaves("no HELLO")

    def _stop_greeting(self) -> None:
        if self._greeting is not None:
            self._greeting.cancel()
            self._greeting = None

    def _misbehaves(self, reason: str) -> None:
        self._log.error("worker-cut-off", slot=self._slot, reason=reason)
        self.cut()


def _bounded(named: tuple[_Named, ...], type: FrameType) -> tuple[_Named, ...]:
    if len(named) > NAMED_KEYS_MAX:
        raise FrameError(f"{len(named)} keys in one {type.name}")
    return named

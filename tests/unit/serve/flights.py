"""A flight whose content lands as a test wants, and clients that follow it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mirror.fill.bodies import GrowingBody
from mirror.fill.messages import Ask, Failed, FlightState, GrowingAnswer, Progress
from mirror.store.files import REAL_FILES
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    Bench,
    make_entry,
    parse_answer,
    read_all,
)

CONTENT = os.urandom(300_000)
HELD = 65_536
QUIET_S = 0.05  # long enough to see content that is sent too soon
DEADLINE_S = 10.0


class Flight:
    """A growing file under the test's hand."""

    def __init__(self, path: Path, *, length: int = len(CONTENT)) -> None:
        self._file = path / "flight"
        self._file.write_bytes(b"")
        self._landed = 0
        self._state = FlightState.RUNNING
        self._length = length
        self.released = 0
        self.bodies: list[GrowingBody] = []

    async def answer(self, ask: Ask) -> GrowingBody:
        answer = GrowingAnswer(
            flight=1,
            path=str(self._file),
            entry=make_entry(CRATE_KEY, CONTENT),
            sendable=self._sendable(),
            landed=self._landed,
            length=self._length,
            collapsed=bool(self.bodies),
        )
        body = GrowingBody(
            answer,
            ask=ask,
            blob_path=str(self._file) + ".blob",
            files=REAL_FILES,
            on_release=self._on_release,
        )
        self.bodies.append(body)
        return body

    def land(self, upto: int) -> None:
        with self._file.open("ab") as file:
            file.write(CONTENT[self._landed : upto])
        self._landed = upto
        self._move()

    def verify(self) -> None:
        self.land(len(CONTENT))
        self._state, self._length = FlightState.VERIFIED, len(CONTENT)
        self._move()

    def fail(self, status: int = 502) -> None:
        self._state = FlightState.FAILED
        self._move(Failed(status=status, reason="another digest, or cut off"))

    def _sendable(self) -> int:
        if self._state is FlightState.VERIFIED:
            return self._landed
        return max(0, min(self._landed, len(CONTENT) - HELD))

    def _move(self, failure: Failed | None = None) -> None:
        for body in self.bodies:
            body.advance(
                Progress(
                    flight=1,
                    sendable=self._sendable(),
                    landed=self._landed,
                    length=self._length,
                    state=self._state,
                    failure=failure,
                )
            )

    def _on_release(self, body: GrowingBody) -> None:
        self.released += 1


async def begin(bench: Bench, *lines: str, line: str = "") -> tuple[Any, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    head = [line or f"GET {CRATE_TARGET} HTTP/1.1", "Host: m", *lines]
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n")
    return reader, writer


async def until(condition: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.001)


async def come(reader: asyncio.StreamReader, content_bytes: int, received: bytes = b"") -> bytes:
    """Return an answer of which so much content is to come now, and no more; `received`: of it."""

    def is_there(answer: bytes) -> bool:
        return b"\r\n\r\n" in answer and len(parse_answer(answer).content) >= content_bytes

    received = await _read_until(is_there, reader, received)
    return received + await read_all(reader, QUIET_S)


async def end(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, received: bytes = b""
) -> bytes:
    """Return an answer when it is complete, or cut; `received`: what has come of it before."""

    def is_there(answer: bytes) -> bool:
        return b"\r\n\r\n" in answer and parse_answer(answer).is_complete

    received = await _read_until(is_there, reader, received)
    writer.close()
    return received


async def _read_until(
    claim: Callable[[bytes], bool], reader: asyncio.StreamReader, received: bytes
) -> bytes:
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(DEADLINE_S):
            while not claim(received) and (piece := await reader.read(1 << 20)):
                received += piece
    return received


LENGTHS = [pytest.param(len(CONTENT), id="length"), pytest.param(-1, id="chunked")]

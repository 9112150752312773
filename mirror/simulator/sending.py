"""Sending: one answer onto one connection, with everything that is to go wrong.

Rules:
1. Content goes out in pieces of at most `PIECE_BYTES`, under back-pressure.
2. Offsets of faults are offsets in the representation; the piece is split there.
3. "fin" flushes what was written and closes; "rst" resets (SO_LINGER 0), which may also discard
   bytes that the client has not read yet.

Runs in: simulator.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

from mirror.simulator.answers import Answer

PIECE_BYTES = 256 << 10


async def send(
    answer: Answer,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    count: Callable[[int], None],
) -> bool:
    """Send the answer; return whether the connection may carry another.

    `count` is told the content bytes of each piece when they are handed to the connection.
    Raises: ConnectionError when the client goes away.
    """
    if answer.delay_ms:
        await asyncio.sleep(answer.delay_ms / 1000)
    if answer.is_dropped:
        close(writer, answer.how)
        return False
    writer.write(answer.head())
    offset = answer.start
    while offset < answer.end:
        if offset == answer.stall_at:
            await writer.drain()
            await _stall(answer, reader)
            answer.stall_at = -1
        if offset == answer.cut_at:
            await writer.drain()
            close(writer, answer.how)
            return False
        offset = await _send_piece(answer, writer, offset, count)
        if offset == answer.end and answer.is_endless:
            offset = answer.start
            await asyncio.sleep(0)  # small content never fills a buffer, and others want to run
    if answer.length is None:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
    return not answer.closes


async def _send_piece(
    answer: Answer, writer: asyncio.StreamWriter, offset: int, count: Callable[[int], None]
) -> int:
    stops = (offset + PIECE_BYTES, answer.end, answer.stall_at, answer.cut_at)
    end = min(stop for stop in stops if stop > offset)
    if answer.bytes_per_s:
        end = min(end, offset + max(answer.bytes_per_s // 20, 1))
    piece = answer.content.read(offset, end)
    if offset <= answer.corrupt_at < end:
        spot = answer.corrupt_at - offset
        piece = piece[:spot] + bytes([piece[spot] ^ 0xFF]) + piece[spot + 1 :]
    if answer.length is None:
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    else:
        writer.write(piece)
    count(len(piece))
    await writer.drain()
    if answer.bytes_per_s:
        await asyncio.sleep(len(piece) / answer.bytes_per_s)
    return end


async def _stall(answer: Answer, reader: asyncio.StreamReader) -> None:
    """Wait the scripted time, or less when the client closes its end."""
    gone = asyncio.ensure_future(reader.read(1))
    timeout_s = answer.stall_ms / 1000 if answer.stall_ms else None
    done, _ = await asyncio.wait({gone}, timeout=timeout_s)
    if not done:
        gone.cancel()
        await asyncio.wait({gone})
    elif not gone.result():
        raise ConnectionResetError("the client closed during a stall")
    else:
        answer.closes = True  # a byte of a pipelined request was read and is lost


def close(writer: asyncio.StreamWriter, how: str = "fin") -> None:
    """Close the connection in an orderly way, or with a reset."""
    if how == "rst":
        raw = writer.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()

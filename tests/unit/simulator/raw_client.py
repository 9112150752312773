"""A client for tests that shows what really came over the wire, also when it is broken.

Runs in: pytest.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RawResponse:
    """Everything received until the peer closed or the content was complete."""

    status: int
    fields: dict[str, str]
    content: bytes
    was_reset: bool = False


async def get(
    url: str, *, method: str = "GET", fields: dict[str, str] | None = None
) -> RawResponse:
    """Send one request on a connection of its own and read to its end."""
    parts = urlsplit(url)
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        lines = {"Host": parts.netloc, "Connection": "close", **(fields or {})}
        head = f"{method} {parts.path} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(head.encode() + b"\r\n")
        received, was_reset = await _read_to_end(reader)
        writer.close()
    return _parse(received, was_reset=was_reset)


async def _read_to_end(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    received = b""
    try:
        while piece := await reader.read(1 << 16):
            received += piece
    except ConnectionError:
        return received, True
    return received, False


def _parse(received: bytes, *, was_reset: bool) -> RawResponse:
    head, _, content = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode().split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    fields = {name.lower(): value for name, value in pairs}
    status = int(status_line.split(" ")[1]) if received else 0
    return RawResponse(status=status, fields=fields, content=content, was_reset=was_reset)

"""Responses as HTTP/1.1 messages: the status line, Connection, chunks.

Rules:
1. What was read of the request decides: `keep_alive` and HTTP/1.0 are noted for each.
2. The account of the response under way is told what left.
3. Content of unknown length is chunked; HTTP/1.0 knows no chunks, and whoever answers it waits
   until the length is known.

Runs in: worker.
"""

from __future__ import annotations

from typing import Final

from mirror.serve.account import Account
from mirror.serve.head import Head, connection_line, render_head
from mirror.serve.outlet import Outlet
from mirror.serve.request import Request

_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"


class Http1Outlet(Outlet):
    """The sending half of `connection.Connection`."""

    __slots__ = ("_has_chunks", "_is_http10", "_keep_alive", "account")

    is_http2 = False

    def __init__(self) -> None:
        super().__init__()
        self._has_chunks = False
        self._is_http10 = False
        self._keep_alive = True
        self.account: Account | None = None  # of the latest request that was parsed

    @property
    def unsent_bytes(self) -> int:
        """See `account.Answering`."""
        return self._transport.get_write_buffer_size() if self.is_paused else 0

    def answer(self, head: Head, content: bytes = b"") -> None:
        """See `stream.Stream`."""
        rendered = render_head(head, self._connection_line())
        if self.send(rendered + content) and self.account is not None:
            self.account.count_head(head.status, len(rendered))
            self.account.count_content(len(content))

    def begin(self, head: Head, content_bytes: int) -> None:
        """See `stream.Stream`."""
        lines = self._connection_line()
        if content_bytes < 0:
            lines += _CHUNKED
            self._has_chunks = False
        rendered = render_head(head, lines)
        if self.send(rendered) and self.account is not None:
            self.account.count_head(head.status, len(rendered))

    def begin_chunk(self, chunk_bytes: int) -> None:
        """See `stream.Stream`."""
        self.send(b"%b%x\r\n" % (b"\r\n" if self._has_chunks else b"", chunk_bytes))
        self._has_chunks = True

    def end(self) -> None:
        """See `stream.Stream`."""
        self.send(b"\r\n0\r\n\r\n" if self._has_chunks else b"0\r\n\r\n")

    def _note(self, request: Request) -> None:
        """Note what the answer to `request` says about the connection."""
        self._keep_alive = request.keep_alive
        self._is_http10 = request.is_http10

    def _connection_line(self) -> bytes:
        if self._is_ending():
            self._keep_alive = False
        return connection_line(keep_alive=self._keep_alive, is_http10=self._is_http10)

    def _is_ending(self) -> bool:
        """Whether connections close after the response under way."""
        raise NotImplementedError

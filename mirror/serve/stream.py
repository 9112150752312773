"""One exchange's way back to its client, whatever protocol carries it.

An HTTP/1.1 connection is a stream, one exchange after the other; of an HTTP/2 connection each
stream is one.

Rules:
1. A response is one `answer`; or `begin`, then content, then `end` where its length was not known.
   Then `finish`, or `abort`.
2. The stream tells `account` when the head leaves, when what was given to `answer` does, and when
   the response is over; content that goes through `write_some` is counted by who writes it.
3. `write_some` never takes more than the client may be sent at the moment; `is_paused` says that
   it takes nothing, and `Exchange.resume` that it does again.

Units: bytes.
Runs in: worker. Declarations only.
"""

from __future__ import annotations

from typing import Protocol

from mirror.errors import RequestError
from mirror.serve.account import Account
from mirror.serve.head import Head
from mirror.serve.request import Request


class Exchange(Protocol):
    """A response that is under way."""

    def resume(self) -> None:
        """The client reads again."""

    def cancel(self) -> None:
        """The client is gone: release everything."""


class RequestPath(Protocol):
    """`request_path.RequestPath`, as whoever reads requests sees it."""

    def begin(self, stream: Stream, request: Request, head: bytes) -> None:
        """Answer, or start an exchange that will."""

    def refuse(self, stream: Stream, refusal: RequestError, head: bytes) -> None:
        """Answer what is no request, and read no more of it; `head` is what came of it."""


class Stream(Protocol):
    """What the request path answers through."""

    account: Account | None  # of the response under way; set when its request has come

    @property
    def peer(self) -> str:
        """The client's address: of the socket, or as the PROXY header says."""

    @property
    def socket_peer(self) -> str:
        """The address of the socket's other end."""

    @property
    def local_address(self) -> tuple[str, int]:
        """The host and port that the client reached; ("", 0) of a unix socket."""

    @property
    def scheme(self) -> str:
        """ "https" over TLS, else "http"."""

    @property
    def group(self) -> int:
        """The client group of the connection."""

    @property
    def is_http2(self) -> bool: ...

    @property
    def unsent_bytes(self) -> int:
        """See `account.Answering`."""

    @property
    def is_paused(self) -> bool:
        """Whether nothing may be sent at the moment."""

    @property
    def room_bytes(self) -> int:
        """How much `write_some` would take at the moment, at most: more need not be read for it."""

    def answer(self, head: Head, content: bytes = b"") -> None:
        """Send a complete response.

        `content` empty: there is none, whatever Content-Length says (HEAD, 304).
        """

    def begin(self, head: Head, content_bytes: int) -> None:
        """Send the head of a response whose content follows.

        `content_bytes` -1: not known yet.
        """

    def begin_chunk(self, chunk_bytes: int) -> None:
        """Announce so much content, of a response of unknown length only."""

    def write_some(self, view: memoryview) -> int:
        """Take bytes of content; how many were taken. Raises ConnectionError when it is gone.

        The view may change once this returns.
        """

    def end(self) -> None:
        """The content of unknown length is complete."""

    def refuse(self, head: Head, content: bytes) -> None:
        """As `answer`, to a request that may not be complete: nothing more is read of it."""

    def occupy(self, exchange: Exchange) -> None:
        """Tell `exchange` when to go on, until `finish` or `abort`."""

    def finish(self) -> None:
        """The response is complete."""

    def abort(self) -> None:
        """Cut the response: it never looks complete."""

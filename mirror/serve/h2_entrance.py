"""How a connection that was accepted becomes one of HTTP/2 (`h2_switch` says when).

Rules:
1. The transport, what it holds unsent, the place in the wheel and the count of its client go over;
   the predecessor writes nothing more.
2. An upgrade is taken only in plaintext, by a request that is answered anyway, and not by a worker
   that ends. One that is not taken is never learned by the memo: what one client is refused would
   be ignored for all that send the same bytes.

Runs in: worker.
"""

from __future__ import annotations

import math
from dataclasses import replace

from mirror.serve.h2_connection import H2Connection, RecallingPath
from mirror.serve.h2_streams import Peers
from mirror.serve.h2_switch import begins_preface, has_negotiated, is_preface
from mirror.serve.http1_outlet import Http1Outlet
from mirror.serve.request import Request
from mirror.serve.shared import Shared


class H2Entrance(Http1Outlet):
    """Base of `connection.Connection`: whose connection it is, and its way to HTTP/2."""

    __slots__ = (
        "_http2_path",
        "_shared",
        "client",
        "deadline_at",
        "group",
        "local_address",
        "peer",
        "socket_peer",
    )

    def __init__(self, shared: Shared, path: RecallingPath) -> None:
        super().__init__()
        self._shared = shared
        self._http2_path = path
        self.deadline_at = math.inf
        self.client = ""  # what it is counted under
        self.group = 0
        self.peer = ""
        self.socket_peer = ""
        self.local_address = ("", 0)

    def _negotiated(self) -> H2Connection | None:
        """Become HTTP/2 if the handshake agreed on it; the successor has not begun."""
        if self._shared.has_http2 and has_negotiated(self._transport):
            return self._become_h2()
        return None

    def _meets_preface(self, received: bytes) -> bool:
        """Become HTTP/2 if a connection begins with its preface; False when that cannot be.

        True with the connection still here: only a part of the preface has come.
        """
        is_possible = self._shared.has_http2 and self.scheme == "http"
        if not received or not is_possible or not begins_preface(received):
            return False
        if is_preface(received):
            self._become_h2().start(received)
        return True

    def _offered(self, request: Request, received: bytes) -> Request | None:
        """Take the upgrade that `request` offers: None; or return what is to be answered here.

        `received` is what came behind the request.
        """
        if not self._shared.has_http2:
            return request
        if self.scheme != "http" or self._shared.is_draining:
            return replace(request, is_plain=False)
        self._become_h2().start_upgraded(request, received)
        return None

    def expire(self) -> None:
        """See `wheel.Timed`."""
        raise NotImplementedError

    def _become_h2(self) -> H2Connection:
        """See rule 1."""
        peers = Peers(
            peer=self.peer,
            group=self.group,
            socket_peer=self.socket_peer,
            local=self.local_address,
        )
        successor = H2Connection(self._shared, self._http2_path, peers)
        successor.client, self.client = self.client, ""
        successor.take_queue(self)
        self._shared.accounts.count("connections_http2")
        self._stop()
        self._shared.wheel.add(successor)
        self._shared.wheel.discard(self)
        successor.take_over(self._transport, is_paused=self.is_paused)
        return successor

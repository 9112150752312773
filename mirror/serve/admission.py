"""Who is let in: the limits of connections, the PROXY header, and whose client it is.

Rules:
1. Over `[serve] max_connections` the connection idle longest is closed for the one that comes
   (`crowd`). When none is idle, or over `max_connections_per_client`, the one that comes is told so
   (503) and closed.
2. With `proxy_protocol` a plaintext connection begins with a PROXY header, from a trusted proxy;
   who the client is, and its group, is known behind it.

Runs in: worker.
"""

from __future__ import annotations

import asyncio
from typing import Final

from mirror.serve.h2_connection import RecallingPath
from mirror.serve.h2_entrance import H2Entrance
from mirror.serve.head import Head
from mirror.serve.inbox import Inbox
from mirror.serve.proxy_protocol import Incomplete, Proxied, parse_proxy_header
from mirror.serve.refusals import TextAnswer, asks_for_head, text_answer
from mirror.serve.shared import Shared
from mirror.serve.socket_names import address_of, host_of

_FULL: Final = TextAnswer(status=503, sentence="Too many connections.", retry_after_s=1)


class Admission(H2Entrance):
    """Base of `connection.Connection`: the beginning of a connection."""

    __slots__ = ("_awaits_proxy_header", "_has_eof", "_inbox", "tallies")

    def __init__(self, shared: Shared, path: RecallingPath) -> None:
        super().__init__(shared, path)
        self._inbox = Inbox()
        self._writability = shared.writability
        self._awaits_proxy_header = shared.uses_proxy_protocol
        self._has_eof = False
        self.tallies = shared.accounts.tallies(0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        count = self._shared.accounts.count
        if self.scheme == "https":
            self._awaits_proxy_header = False  # that setting is of plaintext listeners
            count("tls_handshakes")
            tls = transport.get_extra_info("ssl_object")
            if tls is not None and tls.session_reused:
                count("tls_sessions_resumed")
        else:
            count("connections_accepted")  # under TLS: when the handshake began
        self.peer = self.socket_peer = host_of(transport.get_extra_info("peername"))
        self.local_address = address_of(transport.get_extra_info("sockname"))

    def refuse(self, head: Head, content: bytes) -> None:
        """See `stream.Stream`."""
        raise NotImplementedError

    def close(self) -> None:
        """Close after what was sent has left."""
        raise NotImplementedError

    def _may_enter(self) -> bool:
        """Take a place in the wheel; False when the connection is closing already."""
        shared = self._shared
        shared.wheel.add(self)
        self.deadline_at = shared.wheel.head_deadline_at
        if len(shared.wheel) > shared.max_connections and not shared.finds_room():
            self._turn_away()
            return False
        if self._awaits_proxy_header:
            if not shared.trusted.trusts(self.peer):
                self.close()
                return False
            return True
        return self._is_admitted()

    def _read_proxy_header(self) -> bool:
        parsed = parse_proxy_header(self._inbox.peek())
        if isinstance(parsed, Incomplete):
            if self._has_eof:
                self.close()
            return False
        if not isinstance(parsed, Proxied):
            self.abort()
            return False
        self._awaits_proxy_header = False
        self._inbox.drop(parsed.consumed)
        if parsed.address is not None:
            self.peer = parsed.address
        return self._is_admitted()

    def _is_admitted(self) -> bool:
        """Count the connection for its client; one that has too many is turned away."""
        shared = self._shared
        certificate = None
        if self.scheme == "https":
            certificate = self._transport.get_extra_info("peercert")
        self.group = shared.groups.of_connection(self.peer, certificate)
        self.tallies = shared.accounts.tallies(self.group)
        self.client = shared.clients.client_of(self.peer)
        if not self.client or shared.clients.add(self.client):
            return True
        self._turn_away()
        return False

    def _turn_away(self) -> None:
        self._shared.accounts.count("connections_turned_away")
        negotiated = self._negotiated()
        if negotiated is not None:
            negotiated.turn_away()
        else:
            self._refuse_unread(_FULL)

    def _refuse_unread(self, answer: TextAnswer) -> None:
        """Answer what is no request, or not all of one."""
        received = self._inbox.peek()
        self.account = self._shared.accounts.open(self, None, received)
        is_head = asks_for_head(received)
        self.refuse(*text_answer(answer, self._shared.wheel.now, is_head=is_head))

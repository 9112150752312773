"""Records of requests for the access log, from accounts and from learned heads.

Rules:
1. What a learned head says beyond its request line is read once for all that share its field lines
   (`memo`), by the strict parser.
2. Bytes become text by latin-1: nothing is lost, and nothing fails; the log escapes.

Runs in: worker.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mirror.accounting.layout import OTHER, Outcome
from mirror.accounting.records import RequestRecord
from mirror.errors import RequestError
from mirror.serve.account import Account, Answering
from mirror.serve.cells import class_word
from mirror.serve.client_address import TrustedProxies, client_address, client_scheme
from mirror.serve.client_groups import FORWARDED_FOR
from mirror.serve.hot_entry import Rendering
from mirror.serve.memo import MAX_TAILS, split_tag
from mirror.serve.request import Request
from mirror.serve.tally import Tally

# As much of a request line as can be recognised in what is no request.
_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([\x21-\x7e]{1,8192})(?: |\r|\Z)")


@dataclass(slots=True)
class Learned:
    """A learned head that was answered from memory."""

    stream: Answering
    head: bytes
    rendering: Rendering
    tally: Tally
    status: int
    began_at: float
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What a request says of itself."""

    method: str = ""
    target: str = ""
    host: str = ""
    range: str = ""
    user_agent: str = ""
    is_http10: bool = False


class RecordMaker:
    """`parse` is the strict parser; `groups` are the names of all groups."""

    def __init__(
        self,
        parse: Callable[[bytes], Request],
        groups: tuple[str, ...],
        trusted: TrustedProxies,
    ) -> None:
        self._parse = parse
        self._groups = groups
        self._trusted = trusted
        self._tails: dict[bytes, _Asked] = {}

    def of_account(self, account: Account, duration_s: float) -> RequestRecord:
        """Return the record of a response that is over."""
        request, stream, route = account.request, account.stream, account.route
        asked = self._asked(account.head) if request is None else _asked_by(request)
        client, scheme = stream.peer, stream.scheme
        if request is not None:
            if request.forwarded_proto is not None and self._trusted.trusts(stream.socket_peer):
                scheme = client_scheme(scheme, request.forwarded_proto)
            client = client_address(client, request.fields.get(FORWARDED_FOR), self._trusted)
        content_class = None if route is None else route.content_class
        return RequestRecord(
            began_at=account.began_at,
            duration_s=duration_s,
            client=client,
            group=self._groups[account.group],
            scheme=scheme,
            protocol=_protocol(stream, asked),
            method=asked.method,
            host=asked.host,
            target=asked.target,
            status=account.status,
            content_class=class_word(content_class),
            outcome=OTHER if account.outcome is None else account.outcome.value,
            cache_status=account.words,
            upstream="" if route is None else route.upstream.value,
            content_bytes=account.content_bytes,
            head_bytes=account.head_bytes,
            is_complete=account.is_complete,
            range=asked.range,
            user_agent=asked.user_agent,
        )

    def of_learned(self, learned: Learned) -> RequestRecord:
        """Return the record of a learned head that was answered."""
        stream, rendering, head = learned.stream, learned.rendering, learned.head
        route, is_whole = rendering.route, learned.status == 200
        cut = head.find(b"\r\n")
        asked = self._tail(head, head[cut:])
        return RequestRecord(
            began_at=learned.began_at,
            duration_s=learned.duration_s,
            client=stream.peer,
            group=self._groups[learned.tally.group],
            scheme=stream.scheme,
            protocol=_protocol(stream, asked),
            method="GET",
            host=asked.host,
            target=head[4 : head.find(b" ", 4, cut)].decode("latin-1"),
            status=learned.status,
            content_class=route.content_class.value,
            outcome=Outcome.HIT.value,
            cache_status=rendering.words,
            upstream=route.upstream.value,
            content_bytes=rendering.content_bytes if is_whole else 0,
            head_bytes=rendering.head_bytes if is_whole else rendering.bare_head_bytes,
            is_complete=True,
            range="",
            user_agent=asked.user_agent,
        )

    def _tail(self, head: bytes, tail: bytes) -> _Asked:
        """What the field lines say that many heads share."""
        untagged = split_tag(tail)
        name = tail if untagged is None else untagged[0]
        asked = self._tails.get(name)
        if asked is None:
            asked = self._asked(head)
            if len(self._tails) >= MAX_TAILS:
                self._tails.clear()
            self._tails[name] = asked
        return asked

    def _asked(self, head: bytes) -> _Asked:
        """What can be read of a head that may be none."""
        try:
            return _asked_by(self._parse(head))
        except RequestError:
            found = _LINE.match(head.lstrip(b"\r\n"))
            if found is None:
                return _Asked()
            return _Asked(method=found[1].decode("latin-1"), target=found[2].decode("latin-1"))


def _asked_by(request: Request) -> _Asked:
    fields = request.fields
    return _Asked(
        method=request.method.decode("latin-1"),
        target=request.target.decode("latin-1"),
        host="" if request.authority is None else str(request.authority),
        range=fields.get(b"range", b"").decode("latin-1"),
        user_agent=fields.get(b"user-agent", b"").decode("latin-1"),
        is_http10=request.is_http10,
    )


def _protocol(stream: Answering, asked: _Asked) -> str:
    if stream.is_http2:
        return "HTTP/2"
    return "HTTP/1.0" if asked.is_http10 else "HTTP/1.1"

"""Records of requests for the access log, from accounts and from learned heads.

Rules:
1. What a learned head says beyond its request line is read once for all that share its field lines
   (`memo`), by the strict parser.
2. Bytes become text by latin-1: nothing is lost, and nothing fails; the log escapes.
3. What hits have in common is one `HitKind`, found by what it follows from, and what many kinds
   have is one `HitForm`; a full table of them is emptied. An enum is no part of such a name: its
   hash is Python code (0.4 us).

Runs in: worker.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mirror.accounting.layout import OTHER, Outcome
from mirror.accounting.records import Hit, HitForm, HitKind, RequestRecord
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


MAX_KINDS: Final = 8192  # about 12 MB with what the log keeps of their lines
MAX_FORMS: Final = 1024

# A learned head that was answered: by which rendering, to what it is counted, and when it began and
# ended by the monotonic clock.
Learned = tuple[Answering, bytes, Rendering, Tally, int, float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Asked:
    """What a request says of itself; compared by identity."""

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
        self._kinds: dict[tuple[object, ...], HitKind] = {}
        self._forms: dict[tuple[object, ...], HitForm] = {}

    def of_account(self, account: Account, duration_s: float) -> RequestRecord:
        """Return the record of a response that is over."""
        request, stream, route = account.request, account.stream, account.route
        client, scheme = stream.peer, stream.scheme
        if request is not None:
            asked = _asked_by(request)
            target = asked.target
        elif route is not None:  # a learned head, answered from a file
            asked, target = self._recall(account.head)
        else:
            asked = self._asked(account.head)
            target = asked.target
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
            target=target,
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

    def of_learned(self, answered: Sequence[Learned], epoch_s: float) -> list[Hit]:
        """Return the records of learned heads; `epoch_s` is the Unix time of the clock's zero."""
        kinds = self._kinds.get
        return [
            (
                kinds((rendering, head, stream.peer, stream.scheme, stream.is_http2, tally))
                or self._kind(stream, head, rendering, tally, status),
                epoch_s + began_s,
                ended_s - began_s,
            )
            for stream, head, rendering, tally, status, began_s, ended_s in answered
        ]

    def _kind(
        self, stream: Answering, head: bytes, rendering: Rendering, tally: Tally, status: int
    ) -> HitKind:
        asked, target = self._recall(head)
        asking = (stream.peer, stream.scheme, stream.is_http2, tally)
        # A tally is of one group and one content class, and a class of one upstream.
        name = (asked, *asking, status)
        form = self._forms.get(name)
        if form is None:
            if len(self._forms) >= MAX_FORMS:
                self._forms.clear()
            form = self._forms[name] = self._form(stream, asked, rendering, tally, status)
        is_whole = status == 200
        kind = HitKind(
            form,
            target,
            rendering.content_bytes if is_whole else 0,
            rendering.head_bytes if is_whole else rendering.bare_head_bytes,
            rendering.words,
        )
        if len(self._kinds) >= MAX_KINDS:
            self._kinds.clear()
        self._kinds[rendering, head, *asking] = kind
        return kind

    def _form(
        self, stream: Answering, asked: _Asked, rendering: Rendering, tally: Tally, status: int
    ) -> HitForm:
        route = rendering.route
        return HitForm(
            RequestRecord(
                began_at=0.0,
                duration_s=0.0,
                client=stream.peer,
                group=self._groups[tally.group],
                scheme=stream.scheme,
                protocol=_protocol(stream, asked),
                method="GET",
                host=asked.host,
                target="",
                status=status,
                content_class=route.content_class.value,
                outcome=Outcome.HIT.value,
                cache_status="",
                upstream=route.upstream.value,
                content_bytes=0,
                head_bytes=0,
                is_complete=True,
                range="",
                user_agent=asked.user_agent,
            )
        )

    def _recall(self, head: bytes) -> tuple[_Asked, str]:
        """What a learned head, which is a GET, shares with others, and its target."""
        cut = head.find(b"\r\n")
        tail = head[cut:]
        asked = self._tails.get(tail) or self._tail(head, tail)
        return asked, head[4 : head.find(b" ", 4, cut)].decode("latin-1")

    def _tail(self, head: bytes, tail: bytes) -> _Asked:
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

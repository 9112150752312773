"""The request path of a worker that limits its clients.

Rules:
1. Nothing here is used while no limit is set: `worker` then takes the plain one.
2. A request is counted when its head is understood, and is under way until its response is over,
   whatever ends it (`account`).
3. Whose request it is, `Shared.client_of` says: the address of the socket, of the PROXY header, or
   what a trusted proxy forwards.
4. A learned head is counted like any other, but not parsed for it; it has no X-Forwarded-For, so
   its client is the connection's. Where content is paced, a learned head takes the long way,
   because its answer is one write; that of a file does always.

Runs in: worker.
"""

from __future__ import annotations

from mirror.serve.account import Account, Answering, Books
from mirror.serve.answers import Answers
from mirror.serve.asking import Asking
from mirror.serve.client_limits import ClientLimits, LimitedClient
from mirror.serve.connection import Connection
from mirror.serve.hot_entry import HotEntry
from mirror.serve.local_answers import LocalAnswers
from mirror.serve.paced import PacedOutlet
from mirror.serve.plaintext import PlaintextRule
from mirror.serve.refusals import TextAnswer
from mirror.serve.request import Request
from mirror.serve.request_path import RequestPath
from mirror.serve.shared import Shared
from mirror.serve.stream import Stream


class LimitedAccount(Account):
    """The account of a request that may be a limited client's."""

    __slots__ = ("_client", "_outlet", "_stream")

    def __init__(
        self, books: Books, stream: Answering, request: Request | None, head: bytes, group: int
    ) -> None:
        super().__init__(books, stream, request, head, group)
        self._client: LimitedClient | None = None
        self._outlet: PacedOutlet | None = None
        self._stream: Stream | None = None

    @property
    def is_paced(self) -> bool:  # type: ignore[override]  # never, of the base
        """Whether content waits for the client's allowance."""
        return self._client is not None and self._client.allowance is not None

    def join(self, client: LimitedClient, stream: Stream) -> None:
        """The request is the client's, and under way until the account is over."""
        self._client = client
        self._stream = stream
        client.enter()

    def paced(self) -> PacedOutlet | None:
        """See `Account.paced`."""
        if self._outlet is None and self._client is not None and self._stream is not None:
            self._outlet = self._client.outlet(self._stream)
        return self._outlet

    def end(self, *, is_complete: bool) -> None:
        """See `Account.end`."""
        client, self._client = self._client, None
        if client is not None:
            client.leave()
        super().end(is_complete=is_complete)


class LimitedPath(RequestPath):
    """A `RequestPath` that asks for each request whether its client may have it answered."""

    def __init__(
        self,
        shared: Shared,
        answers: Answers,
        local: LocalAnswers,
        *,
        plaintext: PlaintextRule | None = None,
        limits: ClientLimits,
    ) -> None:
        """See `RequestPath`."""
        super().__init__(shared, answers, local, plaintext=plaintext)
        self._limits = limits

    def _begin(self, stream: Stream, request: Request, head: bytes) -> None:
        shared = self._shared
        client = self._limits.find(shared.client_of(stream.peer, request))
        if client is not None:
            excess = client.excess(self._limits.now_ms)
            if excess is not None:
                shared.accounts.count(excess.total)
                answer = TextAnswer(
                    status=429, sentence=excess.sentence, retry_after_s=excess.retry_after_s
                )
                self._answers.text(stream, request, answer)
                return
            client.count(self._limits.now_ms)
            _join(stream, client)
        super()._begin(stream, request, head)

    def serve_hot(self, connection: Connection, hot: HotEntry, head: bytes) -> bool:
        """See `LearnedPath`."""
        client = self._limits.find(connection.peer)
        if client is None:
            return super().serve_hot(connection, hot, head)
        if not self._may_have(client, hot) or not super().serve_hot(connection, hot, head):
            return False
        client.count(self._limits.now_ms)
        return True

    def serve_last(self, asking: Asking, hot: HotEntry, head: bytes) -> bool:
        """See `LearnedPath`."""
        client = self._limits.find(asking.peer)
        if client is None:
            return super().serve_last(asking, hot, head)
        if not self._may_have(client, hot) or not super().serve_last(asking, hot, head):
            return False
        client.count(self._limits.now_ms)
        return True

    is_limiting = True

    def may_have(self, peer: str, *, is_whole: bool) -> bool:
        """See `H2LearnedPath`."""
        client = self._limits.find(peer)
        if client is None:
            return True
        if client.allowance is not None and is_whole:
            return False
        return client.excess(self._limits.now_ms) is None

    def count_recalled(self, peer: str) -> None:
        """See `H2LearnedPath`."""
        client = self._limits.find(peer)
        if client is not None:
            client.count(self._limits.now_ms)

    def _may_have(self, client: LimitedClient, hot: HotEntry) -> bool:
        # A file is under way for a while: other workers must know before its head has left.
        if client.allowance is not None or hot.content is None:
            return False
        return client.excess(self._limits.now_ms) is None

    def serve_not_modified(self, connection: Connection, hot: HotEntry, head: bytes) -> bool:
        """See `LearnedPath`."""
        client = self._limits.find(connection.peer)
        if client is not None and client.excess(self._limits.now_ms) is not None:
            return False
        if not super().serve_not_modified(connection, hot, head):
            return False
        if client is not None:
            client.count(self._limits.now_ms)
        return True


def _join(stream: Stream, client: LimitedClient) -> None:
    if isinstance(stream.account, LimitedAccount):
        stream.account.join(client, stream)

"""The path of one request: from a parsed head to an answer, or to an exchange that gives it.

1. Loop guard (RFC 8586), authority, route.
2. Answers made here.
3. Hot map, else index: `plan.decide`.
4. Fresh: preconditions and ranges, content from memory or file.
5. Anything else: a `Miss`, the only place that makes a task.

Rules:
1. Steps 1 to 4 await nothing.
2. A hot entry is used for one epoch only; what the index says at a later one decides anew. So a
   withdrawal needs no message: it holds from the first request after the epoch moved.
3. A channel's file is answered from the generation of its client's running sequence.
4. A stale hot entry is looked up again whenever it is decided about: that the keeper confirmed it
   moves no epoch. Its learned heads are decided about once a second, with their rendering.
5. The account of a request is opened when it comes; learned heads have none (`learned_path`).

Runs in: worker.
"""

from __future__ import annotations

from typing import Final

from mirror.accounting.layout import Outcome
from mirror.errors import ErrorType, RequestError
from mirror.fill.plan import (
    OTHER_GENERATION,
    STALE,
    Absent,
    AskKeeper,
    Decision,
    Serve,
    decide,
    pinned,
)
from mirror.http.authority import Authority
from mirror.http.cdn_loop import contains_token
from mirror.http.proxy_status import proxy_status
from mirror.route.match import Site, match, site_of_host
from mirror.route.route import Kind, LocalRoute, Refusal, Route
from mirror.serve.answers import Answers, Call, Selected
from mirror.serve.client_address import is_loopback
from mirror.serve.generations import find_of_generation
from mirror.serve.h2_learned_path import H2LearnedPath
from mirror.serve.head import CACHE_NAME
from mirror.serve.hot_entry import HotEntry
from mirror.serve.local_answers import LocalAnswers
from mirror.serve.miss import Miss
from mirror.serve.plaintext import PlaintextRule
from mirror.serve.refusals import TextAnswer, asks_for_head, refusal_of
from mirror.serve.request import Request
from mirror.serve.sequences import Turn
from mirror.serve.shared import Shared
from mirror.serve.stream import Stream
from mirror.serve.variants import hot_name
from mirror.store.entry import Stored

_NOT_STORED: Final = TextAnswer(
    status=504, sentence="No stored copy can be given without asking upstream."
)
_REFUSED: Final = "refused_request"
_REFUSED_METHOD: Final = "refused_method"
_HTTP_PORT: Final = 80  # what a target URL without a port means (RFC 9110 section 4.2.1)


class RequestPath(H2LearnedPath):
    """Answers the requests of all connections of one worker."""

    def __init__(
        self,
        shared: Shared,
        answers: Answers,
        local: LocalAnswers,
        *,
        plaintext: PlaintextRule | None = None,
    ) -> None:
        """`plaintext` None: requests are answered whatever carries them."""
        super().__init__(shared, answers)
        self._plaintext = plaintext
        self._local = local

    def refuse(self, stream: Stream, refusal: RequestError, head: bytes) -> None:
        """Answer a head that the parser refused, and close."""
        answer = refusal_of(refusal)
        accounts = self._shared.accounts
        accounts.count(_REFUSED_METHOD if answer.status == 405 else _REFUSED)
        stream.account = accounts.open(stream, None, head)
        line = head[: max(0, head.find(b"\r\n"))] or head
        self._shared.refusals.note(stream.peer, answer.status, answer.sentence, line)
        self._answers.refuse(stream, answer, is_head=asks_for_head(head))

    def begin(self, stream: Stream, request: Request, head: bytes) -> None:
        """Answer, or start an exchange that will."""
        stream.account = self._shared.accounts.open(stream, request, head)
        try:
            self._begin(stream, request, head)
        except Exception as exc:  # noqa: BLE001 - the edge of a request
            # What was sent is not known here, so nothing may follow it.
            self._shared.log.error(
                "request-failed",
                client=self._shared.client_of(stream.peer, request),
                error=f"{type(exc).__name__}: {exc}",
            )
            stream.abort()

    def _begin(self, stream: Stream, request: Request, head: bytes) -> None:
        # 1. Loop guard, authority, route.
        if contains_token(request.cdn_loop, self._shared.loop_token):
            loop = TextAnswer(
                status=508,
                sentence="This request came through this mirror before.",
                proxy_status=proxy_status(CACHE_NAME, ErrorType.PROXY_LOOP_DETECTED),
            )
            self._shared.accounts.count("refused_loop")
            self._answers.text(stream, request, loop)
            return
        authority = request.authority
        if request.is_absolute and not self._is_here(authority, stream):
            other = TextAnswer(status=421, sentence="This server does not answer for that name.")
            self._shared.accounts.count(_REFUSED)
            self._refuse(stream, request, other)
            return
        site = Site.ANY if authority is None else site_of_host(authority.host)
        matched = match(request.target, site)
        if isinstance(matched, Refusal):
            self._refuse_target(stream, request, matched)
        elif (instead := self._instead(stream, request, matched)) is not None:
            self._answers.text(stream, request, instead)
        elif isinstance(matched, LocalRoute):
            # 2. Answers made here.
            self._local.answer(stream, request, matched.local, site)
        else:
            self._serve(self._call(stream, request, matched), head, site)

    def _instead(
        self, stream: Stream, request: Request, matched: Route | LocalRoute
    ) -> TextAnswer | None:
        rule = self._plaintext
        return None if rule is None else rule.instead(stream, request, matched)

    def _call(self, stream: Stream, request: Request, route: Route) -> Call:
        shared = self._shared
        if stream.account is not None:
            stream.account.route = route
        turn: Turn | None = None
        if route.kind is Kind.CHANNEL:
            turn = shared.sequences.turn(shared.client_of(stream.peer, request), route.key)
        return Call(
            stream=stream,
            request=request,
            route=route,
            epoch=shared.page.epoch,
            turn=turn,
        )

    def _refuse_target(self, stream: Stream, request: Request, refusal: Refusal) -> None:
        answer = TextAnswer(status=refusal.status, sentence=refusal.reason)
        if refusal.status != 404:
            self._shared.accounts.count(_REFUSED)
        if refusal.close:
            self._refuse(stream, request, answer)
        else:
            self._answers.text(stream, request, answer)

    def _refuse(self, stream: Stream, request: Request, answer: TextAnswer) -> None:
        client = self._shared.client_of(stream.peer, request)
        line = b"%s %s" % (request.method, request.target)
        self._shared.refusals.note(client, answer.status, answer.sentence, line)
        self._answers.refuse(stream, answer, is_head=request.is_head)

    def _serve(self, call: Call, head: bytes, site: Site) -> None:
        # 3. Hot map, else index.
        decision, hot, vouched_at = self._decide(call)
        if isinstance(decision, Absent):
            self._answers.absent(call, decision.stored.entry, decision.outcome)
            return
        # 4. Fresh.
        if isinstance(decision, Serve):
            if decision.revalidate:
                self._shared.keeper.revalidate(call.route.key)
            selected = Selected(words=decision.outcome, outcome=Outcome.HIT, vouched_at=vouched_at)
            trouble = (
                self._answers.stored(call, decision, selected)
                if hot is None
                else self._answers.hot(call, hot, selected)
            )
            if trouble is None:
                if not call.route.claim:
                    self._learn(call, head, site)
                return
            decision = trouble
        if call.request.directives.only_if_cached:
            # RFC 9111 section 5.2.1.7; also for what is stored and would have to be asked about.
            self._answers.text(call.stream, call.request, _NOT_STORED)
            return
        # 5. The keeper is asked.
        Miss(self._answers, self._shared, call, decision).start()

    def _learn(self, call: Call, head: bytes, site: Site) -> None:
        request, accounts = call.request, self._shared.accounts
        if accounts.may_learn(request, call.route.kind):
            name = hot_name(request, call.route)
            is_apart = accounts.counts_apart(request)
            if request.block is None:
                self._shared.memo.learn(head, request, site, name, is_apart=is_apart)
                return
            has_tag = request.conditions.if_none_match is not None
            table = (site, request.accepts_gzip, is_apart)
            self._shared.h2_memo.learn(request.block, name=name, table=table, has_tag=has_tag)

    def _decide(self, call: Call) -> tuple[Decision, HotEntry | None, float]:
        """The decision, the hot entry that it rests on if one does, and when a crate was last
        vouched for."""
        shared, route, now = self._shared, call.route, self._shared.wheel.now
        wanted = 0 if call.turn is None else call.turn.wanted(shared.wheel.monotonic_ms)
        if wanted:
            return *self._decide_pinned(call, wanted), 0.0
        hot = shared.hot.get(hot_name(call.request, route))
        if hot is not None and hot.epoch == call.epoch and not hot.awaits_form(shared.wheel.second):
            decision, hot.vouched_at = shared.crate_listing.apply(
                self._judge(call, hot.stored), route, hot.vouched_at, now
            )
            if isinstance(decision, Serve) and decision.revalidate:
                decision = self._looked_up(call, hot)
            if not isinstance(decision, AskKeeper):
                return decision, hot, hot.vouched_at
            shared.hot.discard(hot.name)  # its freshness ended; the index may know better
        decision = self._judge(call, shared.reader.lookup(route.key))
        decision, vouched_at = shared.crate_listing.apply(decision, route, 0.0, now)
        return decision, None, vouched_at

    def _judge(self, call: Call, stored: Stored | None) -> Decision:
        shared = self._shared
        return decide(
            stored,
            shared.wheel.now,
            claim=call.route.claim,
            rules=shared.rules_of(call.route),
            directives=call.request.directives,
        )

    def _looked_up(self, call: Call, hot: HotEntry) -> Decision:
        """What the index says of a stale hot entry, which is brought up to date."""
        stored = self._shared.reader.lookup(call.route.key)
        decision = self._judge(call, stored)
        if (
            not isinstance(decision, Serve)
            or decision.stored.entry.digest != hot.stored.entry.digest
        ):
            return STALE  # another one is stored: it is taken from the index
        if decision.stored != hot.stored:
            hot.confirm(decision, call.epoch)
        return decision

    def _decide_pinned(self, call: Call, generation: int) -> tuple[Decision, HotEntry | None]:
        """As `_decide`, of one generation: stale by the length of a sequence at most."""
        shared, key = self._shared, call.route.key
        hot = shared.hot.get(hot_name(call.request, call.route))
        if hot is not None and hot.epoch == call.epoch:
            if hot.generation == generation:
                return pinned(hot.stored, shared.wheel.now), hot
        stored = find_of_generation(shared.reader, key, generation)
        return (OTHER_GENERATION if stored is None else pinned(stored, shared.wheel.now)), None

    def _is_here(self, authority: Authority | None, stream: Stream) -> bool:
        """Whether the authority of an absolute form names this server."""
        if authority is None:
            return False
        if site_of_host(authority.host) is not Site.ANY:
            return True
        public = self._shared.public_authority
        if public is not None and authority.host == public.host:
            return True
        host, port = stream.local_address
        if authority.host == "localhost" and is_loopback(host):
            return (authority.port or _HTTP_PORT) == port
        local = f"[{host}]" if ":" in host else host
        return authority.host == local and authority.port in (port, None)

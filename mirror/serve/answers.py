"""Answers that are complete at once, or become a file exchange: text, stored, inline.

Rules:
1. Preconditions and ranges are applied here, by `respond.build`, for every stored response alike.
2. A hot entry carries the epoch that was read *before* the look-up that it comes from. Race
   otherwise: (1) look-up, (2) the keeper withdraws and moves the epoch, (3) the worker notes the
   moved epoch beside the withdrawn entry, and serves it until its freshness ends.
3. Every method ends the exchange on the stream, or occupies it with the one that will.
4. What a channel's file is answered from is noted in its client's sequence before the first byte.
5. Content above `SMALL_BYTES` is never handed to the transport: it leaves in windows, so what a
   slow reader holds is one shared object, and that only until it is stored.
6. A gzip variant whose file is gone or not the attested one is no trouble: the identity is answered
   in its place (`variants`).
7. What an answer is, is noted in the stream's account before anything of it leaves.

Runs in: worker. Awaits nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mirror.accounting.layout import Outcome
from mirror.fill.plan import BLOB_CHANGED, BLOB_GONE, AskKeeper, Serve
from mirror.http.cache_status import cache_status, with_detail, with_ttl
from mirror.http.freshness import age_s, ttl_s
from mirror.route.route import Route
from mirror.serve.account import Account
from mirror.serve.generations import generation_of
from mirror.serve.head import CACHE_NAME
from mirror.serve.hot_entry import SMALL_BYTES, HotEntry
from mirror.serve.multipart_source import present
from mirror.serve.outcomes import outcome_of
from mirror.serve.refusals import TextAnswer, text_answer
from mirror.serve.representation import Representation, describe
from mirror.serve.request import Request
from mirror.serve.respond import ResponsePlan, build
from mirror.serve.segment_exchange import HeldExchange, SegmentExchange
from mirror.serve.senders import sender_for
from mirror.serve.sequences import Turn
from mirror.serve.shared import Shared
from mirror.serve.sources import ContentSource, FileSource, Source
from mirror.serve.stream import Stream
from mirror.serve.variants import Form, Variants
from mirror.store.entry import DIGEST_GENERATION, Entry
from mirror.store.reader import BlobChanged, BlobFile, BlobMissing

_DIGEST_ONLY: Final = "digest-only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request that names an object; `epoch` was read before anything was looked up for it.

    `turn` is the request's place in its client's sequence: of a channel's file only.
    """

    stream: Stream
    request: Request
    route: Route
    epoch: int
    turn: Turn | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """How a representation was come by: Cache-Status words and the counters' outcome.

    `vouched_at`: when an upstream last vouched for it, as far as anybody here knows.
    """

    words: str
    outcome: Outcome
    vouched_at: float = 0.0


class Answers:
    """Writes answers for one worker."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._variants = Variants(shared.reader, shared.keeper, shared.wheel)
        self._wants_signature = shared.config.trust.channel_manifest == "signature"

    def text(
        self,
        stream: Stream,
        request: Request,
        answer: TextAnswer,
    ) -> None:
        """Answer one line of text; the connection stays as the request wants it."""
        _account_of(stream).answers(None, answer.words)
        head, content = text_answer(answer, self._shared.wheel.now, is_head=request.is_head)
        stream.answer(head, content)
        stream.finish()

    def refuse(self, stream: Stream, answer: TextAnswer, *, is_head: bool) -> None:
        """Answer one line of text and close, with input still to come."""
        _account_of(stream).answers(None, answer.words)
        stream.refuse(*text_answer(answer, self._shared.wheel.now, is_head=is_head))

    def stored(self, call: Call, serve: Serve, selected: Selected) -> AskKeeper | None:
        """Answer with a stored 200; None, or why its file cannot be used."""
        form = self._variants.choose(call.request, call.route, serve.stored)
        trouble = self._in_form(call, serve, selected, form)
        if trouble is None or form.coded is None:
            return trouble
        return self._in_form(call, serve, selected, self._variants.instead(form.name, call.route))

    def hot(self, call: Call, hot: HotEntry, selected: Selected) -> AskKeeper | None:
        """As `stored`, from an entry at hand."""
        trouble = self._from(call, hot, selected)
        if trouble is None or hot.coded is None:
            return trouble
        form = self._variants.instead(hot.name, call.route)
        return self._in_form(call, Serve(stored=hot.stored, ttl_s=None), selected, form)

    def _in_form(
        self, call: Call, serve: Serve, selected: Selected, form: Form
    ) -> AskKeeper | None:
        shared = self._shared
        file = form.coded or serve.stored
        content: bytes | None = None
        if file.entry.length <= SMALL_BYTES:
            loaded = shared.reader.load_small(file)
            if not isinstance(loaded, bytes):
                return _trouble(loaded)
            content = loaded
        rows = shared.accounts.rows_of(call.route.content_class)
        hot = HotEntry(call.route, serve, content, rows=rows, epoch=call.epoch, form=form)
        hot.vouched_at = selected.vouched_at or hot.vouched_at
        entry = serve.stored.entry
        # A former generation's entry is another's name for a few seconds; it stays where it is.
        is_current = entry.fresh_until > shared.wheel.now or serve.revalidate
        if is_current and entry.key == call.route.key:
            shared.hot.put(hot.name, hot, hot.cost_bytes)
        return self._from(call, hot, selected)

    def _from(self, call: Call, hot: HotEntry, selected: Selected) -> AskKeeper | None:
        stream, request, shared = call.stream, call.request, self._shared
        words = self.marked(selected.words, hot.stored.entry)
        plan = self._plan(request, hot.representation, words)
        account = _account_of(stream)
        account.answers(selected.outcome, words, hot.stored.entry.length)
        if not plan.has_segment or hot.content is not None:
            self.note_given(call, plan.status, hot.stored.entry)
            _send_whole(stream, plan, hot.content or b"")
            return None
        opened = shared.contents.open(hot)
        if isinstance(opened, (BlobMissing, BlobChanged)):
            shared.hot.discard(hot.name)
            return _trouble(opened)
        self.note_given(call, plan.status, hot.stored.entry)
        stream.begin(plan.head, plan.content_bytes)
        source = present(plan.parts, opened)
        sender = sender_for(stream, source, plan.start, account, account.count_content)
        SegmentExchange(stream, sender).start(plan.end)
        return None

    def inline(self, call: Call, entry: Entry, content: bytes, words: str) -> None:
        """Answer with verified content that may not be durable yet; it is not kept hot."""
        self._variants.given_uncoded(call.request, call.route, len(content))
        representation = describe(entry, call.route, len(content))
        shown = self.marked(words, entry)
        plan = self._plan(call.request, representation, shown)
        self.note_given(call, plan.status, entry)
        stream = call.stream
        account = _account_of(stream)
        account.answers(outcome_of(words), shown, len(content))
        if plan.end - plan.start <= SMALL_BYTES:
            _send_whole(stream, plan, content)
            return
        stream.begin(plan.head, plan.content_bytes)
        source = present(plan.parts, ContentSource(content))
        sender = sender_for(stream, source, plan.start, account, account.count_content)
        HeldExchange(
            stream,
            sender,
            open_stored=lambda: self._open_stored(entry, plan),
        ).start(plan.end)

    def absent(self, call: Call, entry: Entry, words: str) -> None:
        """Answer 404 from a remembered absence."""
        self.note_given(call, entry.status, entry)
        answer = TextAnswer(
            status=404,
            sentence="No such object.",
            words=self.marked(words, entry),
            age_s=age_s(entry.confirmed_at, self._shared.wheel.now),
        )
        self.text(call.stream, call.request, answer)

    def note_given(self, call: Call, status: int, entry: Entry) -> None:
        """Note in the client's sequence what is answered; before anything of it leaves."""
        if call.turn is not None and not call.request.is_head:
            now_ms = self._shared.wheel.monotonic_ms
            call.turn.give(status, generation_of(entry.voucher), now_ms)

    def marked(self, words: str, entry: Entry) -> str:
        """Add how fresh the entry is, and that only a digest vouches for it where the operator asks
        for a signature."""
        words = with_ttl(words, ttl_s(entry.fresh_until, self._shared.wheel.now))
        if entry.proof == DIGEST_GENERATION and self._wants_signature:
            return with_detail(words, _DIGEST_ONLY)
        return words

    def _open_stored(self, entry: Entry, plan: ResponsePlan) -> Source | None:
        """What `plan` sends, from the file of this very content, if it is stored by now."""
        stored = self._shared.reader.lookup(entry.key)
        if stored is None or stored.entry.digest != entry.digest:
            return None
        opened = self._shared.reader.open_blob(stored)
        if not isinstance(opened, BlobFile):
            return None
        return present(plan.parts, FileSource(self._shared.pages, opened.fd))

    def local(
        self,
        stream: Stream,
        request: Request,
        representation: Representation,
        content: bytes,
    ) -> None:
        """Answer with content made in the worker; it has no age and no cache status."""
        plan = self._plan(request, representation, "")
        _account_of(stream).answers(Outcome.HIT, "")
        _send_whole(stream, plan, content)

    def _plan(self, request: Request, representation: Representation, words: str) -> ResponsePlan:
        return build(
            request,
            representation,
            now=self._shared.wheel.now,
            cache_status=cache_status(CACHE_NAME, words) if words else b"",
            rules=self._shared.range_rules,
        )


def _send_whole(stream: Stream, plan: ResponsePlan, content: bytes) -> None:
    """Send a plan whose content is in memory; the exchange is over, unless the client is paced."""
    selected, account = plan.content_of(content), _account_of(stream)
    if account.is_paced and plan.has_segment and selected:
        stream.begin(plan.head, len(selected))
        source = ContentSource(selected)
        sender = sender_for(stream, source, 0, account, account.count_content)
        SegmentExchange(stream, sender).start(len(selected))
        return
    stream.answer(plan.head, selected)
    stream.finish()


def _account_of(stream: Stream) -> Account:
    """The account that was opened when the request came."""
    if stream.account is None:
        raise RuntimeError("an answer without a request")
    return stream.account


def _trouble(opened: BlobMissing | BlobChanged) -> AskKeeper:
    return BLOB_CHANGED if isinstance(opened, BlobChanged) else BLOB_GONE

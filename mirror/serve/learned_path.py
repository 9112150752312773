"""The path of a learned head (`memo`): a hot entry's answer, rendered once a second.

Rules:
1. A hot entry is used for one epoch only; what the index says at a later one decides anew.
2. A hit that is of this second takes one write and one count, once its connection's tally is open,
   and with an access log one note; everything else about it is settled later (`accounts`).
3. The memo knows no clients, and a channel's file is answered from the generation of its client's
   running sequence; so no entry of a channel is ever of this second, and every learned head of one
   comes to `_renew`, which looks at the sequence. Other hits pay nothing for it; such a hit takes
   7 us instead of 1.6, and 40 by the parser.
4. What a crate's last confirmation asks for is decided with its rendering, once a second.

Runs in: worker.
"""

from __future__ import annotations

from typing import Final

from mirror.fill.plan import Serve, decide
from mirror.http.freshness import is_fresh
from mirror.serve.account import Answering
from mirror.serve.answers import Answers
from mirror.serve.asking import Asking
from mirror.serve.connection import Connection
from mirror.serve.hot_contents import Kept, KeptSource
from mirror.serve.hot_entry import HotEntry, Rendering
from mirror.serve.segment_exchange import SegmentExchange
from mirror.serve.sender import Sender
from mirror.serve.shared import Shared
from mirror.serve.tally import Tally
from mirror.store.entry import Stored
from mirror.store.reader import BlobChanged, BlobMissing

_OK: Final = 200
_NOT_MODIFIED: Final = 304


class LearnedPath:
    """Base of `request_path.RequestPath`: what `connection.Connection` calls for learned heads."""

    def __init__(self, shared: Shared, answers: Answers) -> None:
        self._shared = shared
        self._answers = answers

    def serve_hot(self, connection: Connection, hot: HotEntry, head: bytes) -> bool:
        """Answer a plain GET from a hot entry; False when the entry does not hold any more."""
        shared = self._shared
        wheel = shared.wheel
        tally = connection.tallies[hot.place]
        whole = hot.whole
        is_of_now = hot.second == wheel.second and hot.epoch == shared.page.epoch
        if not is_of_now or whole is None or not tally.is_open:
            return self._serve_timed(connection, hot, head, _OK)
        connection.deadline_at = wheel.idle_deadline_at
        is_logging = shared.accounts.is_logging
        began_s = wheel.clock.monotonic() if is_logging else 0.0
        if connection.send(whole):
            tally.whole.append(hot.rendering)
            if is_logging:
                ended_s = wheel.clock.monotonic()
                shared.accounts.log((connection, head, hot.rendering, tally, _OK, began_s, ended_s))
        return True

    def serve_last(self, asking: Asking, hot: HotEntry, head: bytes) -> bool:
        """As `serve_hot`, to a head that ends its connection; the caller closes."""
        if hot.content is None:
            return False
        shared = self._shared
        began_s = shared.wheel.clock.monotonic()
        is_of_now = hot.second == shared.wheel.second and hot.epoch == shared.page.epoch
        if not is_of_now and not self._renew(asking, hot, _OK):
            return False
        last_head, rendering = hot.last()
        if asking.send(last_head + hot.content):
            self._count(asking, head, rendering, asking.tallies[hot.place], _OK, began_s)
        return True

    def serve_not_modified(self, connection: Connection, hot: HotEntry, head: bytes) -> bool:
        """Answer 304 to a GET that names the entry's tag; False when it does not hold any more."""
        shared = self._shared
        wheel = shared.wheel
        tally = connection.tallies[hot.place]
        is_of_now = hot.second == wheel.second and hot.epoch == shared.page.epoch
        if not is_of_now or not tally.is_open:
            return self._serve_timed(connection, hot, head, _NOT_MODIFIED)
        connection.deadline_at = wheel.idle_deadline_at
        is_logging = shared.accounts.is_logging
        began_s = wheel.clock.monotonic() if is_logging else 0.0
        if connection.send(hot.not_modified):
            tally.not_modified.append(hot.rendering)
            if is_logging:
                ended_s = wheel.clock.monotonic()
                shared.accounts.log(
                    (connection, head, hot.rendering, tally, _NOT_MODIFIED, began_s, ended_s)
                )
        return True

    def _serve_timed(self, connection: Connection, hot: HotEntry, head: bytes, status: int) -> bool:
        """As `serve_hot`, for what takes more than a count, and once a window to be timed."""
        shared = self._shared
        wheel = shared.wheel
        began_s = wheel.clock.monotonic()
        is_of_now = hot.second == wheel.second and hot.epoch == shared.page.epoch
        if not is_of_now and not self._renew(connection, hot, status):
            return False
        whole = hot.whole if status == _OK else hot.not_modified
        if whole is None:
            kept = shared.contents.find(hot)
            if kept is None:
                return self._send_hot_file(connection, hot, head)
            if not self._send_kept(connection, hot, head, kept):
                return True
            whole = b""  # it has left
        connection.deadline_at = wheel.idle_deadline_at
        if whole and not connection.send(whole):
            return True
        tally = connection.tallies[hot.place]
        self._count(connection, head, hot.rendering, tally, status, began_s)
        return True

    def _count(
        self,
        asking: Asking,
        head: bytes,
        rendering: Rendering,
        tally: Tally,
        status: int,
        began_s: float,
    ) -> None:
        accounts = self._shared.accounts
        ended_s = self._shared.wheel.clock.monotonic()
        accounts.add(tally, rendering, status, ended_s - began_s)
        if accounts.is_logging:
            accounts.log((asking, head, rendering, tally, status, began_s, ended_s))

    def _renew(self, connection: Answering, hot: HotEntry, status: int) -> bool:
        """Make ready what a learned head is answered with; False when it takes the parser."""
        if not hot.is_sequenced:
            return self._render(hot)
        shared = self._shared
        if hot.content is None:
            # Its file may be gone, and what is given is noted before the file is opened.
            return False
        is_due = hot.rendered_second != shared.wheel.second or hot.epoch != shared.page.epoch
        if is_due and not self._render(hot):
            return False
        # A learned head has no X-Forwarded-For, so the client is the connection's.
        turn = shared.sequences.turn(connection.peer, hot.key)
        now_ms = shared.wheel.monotonic_ms
        if turn.wanted(now_ms) not in (0, hot.generation):
            return False
        turn.give(status, hot.generation, now_ms)
        return True

    def _render(self, hot: HotEntry) -> bool:
        """Render for this second, after a look at the index if the epoch moved or it is stale."""
        shared = self._shared
        # Read before the look-up: a move in between is seen by the next request.
        epoch = shared.page.epoch
        stored: Stored | None = hot.stored
        now = shared.wheel.now
        entry = hot.stored.entry
        is_stale = not is_fresh(entry.fresh_until, now, confirmed_at=entry.confirmed_at)
        if hot.epoch != epoch or is_stale:
            stored = shared.reader.lookup(hot.key)
        decision, hot.vouched_at = shared.crate_listing.apply(
            decide(stored, now, rules=shared.rules_of(hot.route)),
            hot.route,
            hot.vouched_at,
            now,
        )
        if (
            hot.awaits_form(shared.wheel.second)
            or not isinstance(decision, Serve)
            or decision.stored.entry.digest != hot.stored.entry.digest
        ):
            shared.hot.discard(hot.name)
            return False
        if hot.epoch != epoch or decision.stored is not hot.stored:
            hot.confirm(decision, epoch)
        if decision.revalidate:
            shared.keeper.revalidate(hot.key)
        words = self._answers.marked(decision.outcome, decision.stored.entry)
        hot.render(words, shared.wheel.now)
        return True

    def _send_kept(self, connection: Connection, hot: HotEntry, head: bytes, kept: Kept) -> bool:
        """Send content in memory; whether all of it left at once, and is still to be counted."""
        content = kept.content
        taken = connection.send_both(hot.head, content)
        if taken == len(content) or taken < 0:
            return taken >= 0
        account = connection.account = self._shared.accounts.open(connection, None, head, hot)
        account.count_head(_OK, len(hot.head))
        account.count_content(taken)
        sender = Sender(connection, KeptSource(kept), taken, account.count_content)
        SegmentExchange(connection, sender).start(hot.content_bytes)
        return False

    def _send_hot_file(self, connection: Connection, hot: HotEntry, head: bytes) -> bool:
        shared = self._shared
        source = shared.contents.open(hot)
        if isinstance(source, (BlobMissing, BlobChanged)):
            shared.hot.discard(hot.name)
            return False
        account = connection.account = shared.accounts.open(connection, None, head, hot)
        if connection.send(hot.head):
            account.count_head(_OK, len(hot.head))
        sender = Sender(connection, source, 0, account.count_content)
        SegmentExchange(connection, sender).start(hot.content_bytes)
        return True

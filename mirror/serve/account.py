"""The account of one response: what it is, what of it left, and how it ended.

Rules: see `accounts`, where all of them come together.

Units: bytes; seconds of the monotonic clock, Unix seconds for when a request came.
Runs in: worker.
"""

from __future__ import annotations

from typing import Final, Protocol

from mirror.accounting.layout import Outcome
from mirror.clock import Clock
from mirror.route.route import ContentClass, Kind, Route
from mirror.serve.cells import CONTENT_BYTES, CUT, HEAD_BYTES, NOT_MODIFIED, RANGED, Cells
from mirror.serve.hot_entry import HitRows
from mirror.serve.outcomes import outcome_of_status, path_of
from mirror.serve.paced import PacedOutlet
from mirror.serve.ports import Keeper
from mirror.serve.request import Request

CARGO: Final = b"cargo/"  # how a User-Agent begins whose downloads crates.io counts
_SELECTED: Final = (200, 206, 304)  # answers that are of a representation


class Answering(Protocol):
    """A `stream.Stream`, as its accounts see it."""

    @property
    def peer(self) -> str: ...

    @property
    def socket_peer(self) -> str: ...

    @property
    def group(self) -> int:
        """The client group of the connection."""

    @property
    def scheme(self) -> str: ...

    @property
    def is_http2(self) -> bool: ...

    @property
    def unsent_bytes(self) -> int:
        """What the transport still holds of what it was handed: an abort throws it away."""


class Books:
    """What an account counts into; `accounts.Accounts` keeps them."""

    def __init__(
        self, cells: Cells, keeper: Keeper, clock: Clock, *, counts_downloads: bool
    ) -> None:
        self.cells = cells
        self._rows = dict(zip(ContentClass, cells.hit_rows, strict=True))
        self.keeper = keeper
        self.clock = clock
        self.counts_downloads = counts_downloads

    def count(self, total: str) -> None:
        """Add one to a name of `TOTALS`."""
        self.cells.count(total)

    def rows_of(self, content_class: ContentClass) -> HitRows:
        """Return where hits of the class are counted."""
        return self._rows[content_class]

    def file(self, account: Account, duration_s: float) -> None:
        """Take over an account that is over."""
        raise NotImplementedError


class Account:
    """`route`: what the request names, once that is known. `was_asked`: the keeper.

    `length`: of the stored representation; -1: not known (yet), or there is none.
    """

    __slots__ = (
        "_began_s",
        "_books",
        "_handed_bytes",
        "_is_over",
        "_row",
        "began_at",
        "content_bytes",
        "group",
        "head",
        "head_bytes",
        "is_complete",
        "length",
        "outcome",
        "request",
        "route",
        "status",
        "stream",
        "was_asked",
        "words",
    )

    is_paced = False  # only a `limited_path.LimitedAccount` is

    def __init__(
        self, books: Books, stream: Answering, request: Request | None, head: bytes, group: int
    ) -> None:
        """Use `Accounts.open`."""
        self._books = books
        self._began_s = books.clock.monotonic()
        self._handed_bytes = 0  # of content, to the transport
        self._is_over = False
        self._row = -1  # of what was answered; below 0 until the head has left
        self.began_at = books.clock.now()
        self.content_bytes = 0
        self.group = group
        self.head = head
        self.head_bytes = 0
        self.is_complete = False
        self.length = -1
        self.outcome: Outcome | None = None  # None: the status says it
        self.request = request
        self.route: Route | None = None
        self.status = 0
        self.stream = stream
        self.was_asked = False
        self.words = ""

    def __repr__(self) -> str:
        state = "over" if self._is_over else "open"
        return f"<Account {self.status} {state}, {self.content_bytes} bytes>"

    # What whoever answers says.

    def paced(self) -> PacedOutlet | None:
        """Return what content is to go through; None: it leaves as fast as it can."""
        return None

    def answers(self, outcome: Outcome | None, words: str, length: int = -1) -> None:
        """Note what the answer is; what was noted before is void, for its head never left."""
        self.outcome = outcome
        self.words = words
        self.length = length

    # What the stream says.

    def count_head(self, status: int, head_bytes: int) -> None:
        """The head has left."""
        cells, route = self._books.cells, self.route
        self.status = status
        self.head_bytes = head_bytes
        if self.outcome is None:
            self.outcome = outcome_of_status(status)
        content_class = None if route is None else route.content_class
        row = cells.served(content_class, self.outcome) + self.group * cells.stride
        self._row = row
        view = cells.view
        view[row] += 1
        view[row + HEAD_BYTES] += head_bytes
        if status == 206:
            view[row + RANGED] += 1
        elif status == 304:
            view[row + NOT_MODIFIED] += 1

    def count_content(self, content_bytes: int) -> None:
        """So much more content was handed over; what the transport holds of it has not left."""
        if self._row >= 0 and not self._is_over:
            self._handed_bytes += content_bytes
            self._count_sent(self._handed_bytes - self.stream.unsent_bytes)

    def end(self, *, is_complete: bool) -> None:
        """The response is over; idempotent, and nothing where no head has left.

        Complete: all that was handed over has left.
        """
        if self._is_over:
            return
        self._is_over = True
        if self._row < 0 or self.outcome is None:
            return
        if is_complete:
            self._count_sent(self._handed_bytes)
        books, route = self._books, self.route
        self.is_complete = is_complete
        duration_s = books.clock.monotonic() - self._began_s
        if is_complete:
            content_class = None if route is None else route.content_class
            path = path_of(self.outcome, was_asked=self.was_asked)
            books.cells.add_latency(books.cells.latency(content_class, path), duration_s)
        else:
            books.cells.view[self._row + CUT] += 1
        if route is not None and self.status in _SELECTED:
            self._note_use(route)
        books.file(self, duration_s)

    def _count_sent(self, sent_bytes: int) -> None:
        """Count content up to `sent_bytes` of it; never less than before: cells only grow."""
        more_bytes = sent_bytes - self.content_bytes
        if more_bytes > 0:
            self._books.cells.view[self._row + CONTENT_BYTES] += more_bytes
            self.content_bytes = sent_bytes

    def _note_use(self, route: Route) -> None:
        length = self.length
        if length < 0 and self.is_complete and self.status == 200:
            length = self.content_bytes  # it was not known before the end
        if length >= 0:
            downloads = int(self._is_download(route))
            self._books.keeper.used(route.key, 1, self.content_bytes, downloads, length)

    def _is_download(self, route: Route) -> bool:
        if not self._books.counts_downloads or route.kind is not Kind.CRATE:
            return False
        if self.status != 200 or not self.is_complete:
            return False
        if self.request is None:
            return True  # learned: of cargo's heads only (`Accounts.may_learn`)
        return self.request.method == b"GET" and is_cargo(self.request)


def is_cargo(request: Request) -> bool:
    return request.fields.get(b"user-agent", b"").startswith(CARGO)

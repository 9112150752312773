"""A stored response as a worker holds it: rendered, and small content in memory.

Rules:
1. A small response is one bytes object, head and content, rendered at most once a second: one
   write per hit (Date, Age and the ttl of Cache-Status are whole seconds).
2. It is valid for one epoch of the shared page and while it is fresh; `request_path` checks both.
   One of a channel is valid for one request: `second` stays in the past (`request_path`, rule 3).
   Of a crate it also knows when its index entry was last confirmed (`crate_listing`).
3. Content was hashed when it was loaded and is never changed.
4. It is of one form (`variants`); `stored` and `digits` are of the identity whatever the form.

Units: `second` and `rendered_second` in Unix seconds.
Runs in: worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from mirror.fill.plan import Serve
from mirror.http.cache_status import cache_status
from mirror.http.dates import format_http_date
from mirror.http.freshness import age_s
from mirror.http.h2_frames import MAX_FRAME_BYTES
from mirror.route.route import Kind, Route
from mirror.serve.generations import generation_of
from mirror.serve.head import CACHE_NAME, VIA_LINE, connection_line, date_line, join_head
from mirror.serve.representation import describe
from mirror.serve.respond import lasting_lines, state_lines, steady_lines
from mirror.serve.variants import SETTLED, Form
from mirror.store.entry import Stored

SMALL_BYTES: Final = 65_536  # measured: above this, joining costs more than a second write
SIZE_SHIFT: Final = 32
# The objects around the content, and the rendered head; what HTTP/2 adds is 1 KB more.
_OVERHEAD_BYTES: Final = 2_560
Lines = tuple[bytes, bytes, bytes, bytes]  # Date, what stays, what is of this second, Via


# All entries are rendered in the same seconds, and most of those of one second have few ages.
@lru_cache(maxsize=2)
def _date_line(second: int) -> bytes:
    return date_line(format_http_date(second))


@lru_cache(maxsize=1024)
def _state_lines(age: int, words: str) -> bytes:
    return state_lines(age, cache_status(CACHE_NAME, words))


@dataclass(frozen=True, slots=True)
class HitRows:
    """Where hits of one content class are counted, for the first client group; `place` is that of
    the class."""

    place: int
    served: int
    latency: int


class Rendering:
    """What an entry's heads were for a second: what is counted of those that were answered.

    It knows no entry: each would hold the other, until a collector comes by.
    """

    __slots__ = (
        "bare_head_bytes",
        "content_bytes",
        "head_bytes",
        "length",
        "route",
        "size",
        "words",
    )

    def __init__(
        self, route: Route, length: int, content_bytes: int, words: str, heads: tuple[bytes, bytes]
    ) -> None:
        """`length`: of the stored representation; `heads`: of 200 and 304."""
        self.route = route
        self.length = length
        self.content_bytes = content_bytes
        self.words = words
        self.head_bytes, self.bare_head_bytes = map(len, heads)
        self.size = content_bytes << SIZE_SHIFT | self.head_bytes  # both in one sum (`tally`)


class H2Rendering:
    """One answer as HTTP/2 sends it (`h2_rendering`).

    `pieces`: its frames, cut where the stream's identifier comes; `views`: further frames, each a
    head without the identifier and a part of the content; `rendering`: what is counted of it;
    `source`: what it is made from.
    """

    __slots__ = ("pieces", "rendering", "source", "views")

    def __init__(
        self,
        source: Rendering,
        pieces: tuple[bytes, ...],
        views: tuple[tuple[bytes, memoryview], ...],
        heads: tuple[bytes, bytes],
    ) -> None:
        """`heads`: see `Rendering`; with the heads of their frames, as `h2_stream` counts them."""
        self.pieces = pieces
        self.views = views
        self.rendering = Rendering(
            source.route, source.length, source.content_bytes, source.words, heads
        )
        self.source = source

    def __repr__(self) -> str:
        return f"<H2Rendering {len(self.pieces) - 1 + len(self.views)} frames>"


class HotEntry:
    """`content` None: a large one, read from its file. `whole` None: not rendered, or large."""

    __slots__ = (
        "_bare",
        "_shows_modified",
        "_steady",
        "bare_lines",
        "closing",
        "coded",
        "content",
        "content_bytes",
        "digits",
        "epoch",
        "generation",
        "h2",
        "h2_bare",
        "h2_steady",
        "h2_tags",
        "head",
        "is_sequenced",
        "key",
        "lines",
        "looked_second",
        "name",
        "not_modified",
        "place",
        "rendered_second",
        "rendering",
        "representation",
        "route",
        "rows",
        "second",
        "stored",
        "vouched_at",
        "was_asked",
        "whole",
    )

    def __init__(
        self,
        route: Route,
        decision: Serve,
        content: bytes | None,
        *,
        rows: HitRows,
        epoch: int,
        form: Form,
    ) -> None:
        """`content` is in the form; `rows` are those of hits of this class."""
        self.route = route
        self.key = route.key
        self.name = form.name
        self.coded = form.coded
        self.looked_second = form.looked_second
        self.content = content
        self.content_bytes = (form.coded or decision.stored).entry.length
        self.digits = decision.stored.entry.digest.hex().encode()
        self.place = rows.place
        self.rows = rows
        self.whole: bytes | None = None
        self.closing: tuple[bytes, Rendering] | None = None
        self.head = b""
        self.not_modified = b""
        self.rendering = Rendering(route, 0, 0, "", (b"", b""))
        self.is_sequenced = route.kind is Kind.CHANNEL
        self.vouched_at = decision.stored.entry.confirmed_at
        self.h2: H2Rendering | None = None  # see `h2_rendering`
        self.h2_bare: H2Rendering | None = None
        self.h2_steady: dict[int, tuple[bytes, bytes]] = {}
        self.h2_tags: tuple[bytes, ...] = ()
        self.lines: Lines = (b"", b"", b"", b"")  # of the 200
        self.bare_lines: Lines = (b"", b"", b"", b"")  # of the 304
        self.was_asked = False  # for content that is not here; see `hot_contents`
        self.confirm(decision, epoch)

    def __repr__(self) -> str:
        size = "large" if self.content is None else f"{len(self.content)} bytes"
        return f"<HotEntry {self.route.key} {size} epoch {self.epoch}>"

    @property
    def file(self) -> Stored:
        """What is opened for the content."""
        return self.coded or self.stored

    def awaits_form(self, second: int) -> bool:
        """Whether another form may be stored since this one was chosen."""
        return self.looked_second not in (SETTLED, second)

    @property
    def cost_bytes(self) -> int:
        """With `whole`, and the first frame of HTTP/2 where there are more (`h2_rendering`)."""
        size_bytes = len(self.content or b"")
        framed_bytes = MAX_FRAME_BYTES if size_bytes > MAX_FRAME_BYTES else 0
        return _OVERHEAD_BYTES + 2 * size_bytes + framed_bytes

    def confirm(self, decision: Serve, epoch: int) -> None:
        """The index names the same digest at `epoch`; times may have moved."""
        self.stored = decision.stored
        self.representation = describe(
            decision.stored.entry,
            self.route,
            self.content_bytes,
            variant=None if self.coded is None else self.coded.entry.digest,
        )
        self._shows_modified: bool | None = None  # not known before it is rendered
        self.epoch = epoch
        self.generation = 0
        if self.is_sequenced:
            self.generation = generation_of(decision.stored.entry.voucher)
        self.second = self.rendered_second = -1

    def render(self, words: str, now: float) -> None:
        """Make the answers to a plain GET, and to one that names the tag, within this second."""
        second = int(now)
        representation = self.representation
        if self._shows_modified is not (representation.last_modified <= now):
            self._shows_modified = representation.last_modified <= now
            self._bare = steady_lines(representation, now)
            self._steady = lasting_lines(representation) + self._bare
        date = _date_line(second)
        state = _state_lines(age_s(representation.confirmed_at, now), words)
        self.lines = (date, self._steady, state, VIA_LINE)
        self.bare_lines = (date, self._bare, state, VIA_LINE)
        self.head = join_head(200, self.lines)
        self.not_modified = join_head(304, self.bare_lines)
        self.rendering = Rendering(
            self.route,
            self.stored.entry.length,
            self.content_bytes,
            words,
            (self.head, self.not_modified),
        )
        self.closing = None
        if self.content is not None:
            self.whole = self.head + self.content
        self.rendered_second = second
        if not self.is_sequenced:
            self.second = second

    def last(self) -> tuple[bytes, Rendering]:
        """Return the head of a connection's last answer, and what is counted of it. Made when it is
        first asked for after `render`; not joined with the content, which `cost_bytes` counts twice
        already."""
        if self.closing is None:
            head = self.head[:-2] + connection_line(keep_alive=False, is_http10=False) + b"\r\n"
            shown = self.rendering
            counted = Rendering(
                self.route, shown.length, self.content_bytes, shown.words, (head, b"")
            )
            self.closing = (head, counted)
        return self.closing

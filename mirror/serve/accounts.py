"""What is answered, once: into the counters, the latencies, the keeper's notices, the access log.

Rules:
1. Every answered request is one `Account`, or one count of a learned head in a `Tally`. A request
   is counted when its head leaves; content is counted as the kernel takes it (HTTP/2: as it is put
   into frames), not as it is promised; what ends before it is complete is counted as cut. Who
   leaves before the head is not counted. Only a learned head is counted whole at once: when its
   client stops reading and is cut, up to `SMALL_BYTES` of that one answer had not left.
2. Whoever answers says what the answer is (`outcome`, `words`, `length`); the stream that carries
   it says what left, and when it is over.
3. Learned heads are only noted in a list (measured: 0.03 us instead of 0.4 us for three cells).
   `settle` adds them up, `SETTLE_S` after the first at the latest: so what a worker that is killed
   outright loses is what it answered from learned heads within `SETTLE_S`. What was served of each
   object is told to the keeper once a second.
4. Nothing is armed while the worker is idle.
5. The first learned head of each window is timed and stands for the others of its class and group
   in the window; what was cut has no latency. The access log tells how long each took.
6. A download is a crate that a GET of cargo got whole as 200: as crates.io counts them.

Units: bytes; seconds of the monotonic clock, Unix seconds for when a request came.
Does not: know what an answer is made of, or write files.
Runs in: worker.
"""

from __future__ import annotations

import asyncio
from typing import Final

from mirror.accounting.layout import Outcome
from mirror.accounting.records import RequestRecord
from mirror.clock import Clock
from mirror.route.route import Kind
from mirror.serve.account import Account, Answering, Books, is_cargo
from mirror.serve.cells import CONTENT_BYTES, HEAD_BYTES, NOT_MODIFIED, REQUESTS, Cells
from mirror.serve.client_groups import ClientGroups
from mirror.serve.hot_entry import HotEntry, Rendering
from mirror.serve.ports import Counting, Keeper, RequestLog
from mirror.serve.request import Request
from mirror.serve.request_records import Learned, RecordMaker
from mirror.serve.tally import Tally

SETTLE_S: Final = 0.025
LOGGED_S: Final = 0.005  # with an access log: what is counted and not yet handed over has no line
LOGGED_AT_ONCE: Final = 4096  # records that wait for a settle; more of them bring it about


class Accounts(Books):
    """All accounts of one worker. `start` in the running loop; `stop` before the counters close."""

    def __init__(
        self,
        counters: Counting,
        keeper: Keeper,
        clock: Clock,
        groups: ClientGroups,
        records: RecordMaker,
        *,
        log: RequestLog | None = None,
        counts_downloads: bool = False,
    ) -> None:
        """`log` None: no access log is kept."""
        cells = Cells(counters)
        if cells.groups != len(groups.names):
            raise ValueError(f"{cells.groups} groups in the counters, {len(groups.names)} known")
        super().__init__(cells, keeper, clock, counts_downloads=counts_downloads)
        self._groups = groups
        self._maker = records
        self._log = log
        self.is_logging = log is not None
        self.account_type: type[Account] = Account
        self._records: list[RequestRecord] = []
        self._learned: list[Learned] = []
        self._tallies = [
            tuple(Tally(group, group * cells.stride, rows) for rows in cells.hit_rows)
            for group in range(cells.groups)
        ]
        self._untold: set[Tally] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        is_open = [tally for tallies in self._tallies for tally in tallies if tally.is_open]
        return (
            f"<Accounts {len(is_open)} open, {len(self._untold)} untold,"
            f" {len(self._learned) + len(self._records)} records>"
        )

    @property
    def is_armed(self) -> bool:
        """Whether a settle is due by the clock."""
        return self._timer is not None

    # When it begins and ends.

    def start(self) -> None:
        """Settle by the clock from here on."""
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """Settle all there is, and count nothing more: the connections are cut."""
        self._loop = None
        self.settle()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.cells.close()

    # Requests that are parsed.

    def open(
        self, stream: Answering, request: Request | None, head: bytes, hot: HotEntry | None = None
    ) -> Account:
        """Return the account of a request that has just come.

        `request` None: `head` is not one, or it is learned and answered from `hot`'s file.
        """
        group = stream.group
        if request is not None:
            group = self._groups.of_request(group, stream.peer, request.fields)
        account = self.account_type(self, stream, request, head, group)
        if hot is not None:
            account.answers(Outcome.HIT, hot.rendering.words, hot.stored.entry.length)
            account.route = hot.route
        return account

    def may_learn(self, request: Request, kind: Kind) -> bool:
        """Whether all that send the same bytes are counted alike."""
        if not self._groups.may_learn(request.fields):
            return False
        if self.counts_downloads and kind is Kind.CRATE:
            return self.counts_apart(request)
        return True

    def counts_apart(self, request: Request) -> bool:
        """Whether crates that are given to these field lines are downloads: no others' are."""
        return self.counts_downloads and is_cargo(request)

    def file(self, account: Account, duration_s: float) -> None:
        """See `account.Books`."""
        if self._log is not None:
            self._records.append(self._maker.of_account(account, duration_s))
            self._arm()
            if len(self._records) >= LOGGED_AT_ONCE:
                self.settle_cells()

    # Learned heads.

    def tallies(self, group: int) -> tuple[Tally, ...]:
        """Return where a connection of the group counts its learned heads, by class."""
        return self._tallies[group]

    def add(self, tally: Tally, rendering: Rendering, status: int, duration_s: float) -> None:
        """Count a learned head that was timed, and open the tally for those that are not."""
        if not tally.is_open:
            tally.sample_s = duration_s
        self._add(tally, rendering, status)
        self._arm()

    def log(self, learned: Learned) -> None:
        """Have a line written of a learned head, which is counted besides."""
        self._learned.append(learned)
        if len(self._learned) >= LOGGED_AT_ONCE:
            self.settle_cells()

    # Settling.

    def settle(self) -> None:
        """Bring everything up to date with what was answered until now."""
        self.settle_cells()
        self.tell()

    def settle_cells(self) -> None:
        """Add what was counted since the last time to the cells, and hand over the records."""
        for tally in self._untold:
            if tally.is_open:
                self._settle_tally(tally)
        if self._log is None:
            return
        if self._records:
            records, self._records = self._records, []
            self._log.write(records)
        if self._learned:
            learned, self._learned = self._learned, []
            epoch_s = self.clock.now() - self.clock.monotonic()
            self._log.write_hits(self._maker.of_learned(learned, epoch_s))

    def tell(self) -> None:
        """Tell the keeper what was served by learned heads."""
        untold, self._untold = self._untold, set()
        for tally in untold:
            if tally.is_open:
                self._settle_tally(tally)
            for rendering, count, whole in tally.take_all():
                self._note_use(rendering, count, whole)

    def _add(self, tally: Tally, rendering: Rendering, status: int) -> None:
        (tally.not_modified if status == 304 else tally.whole).append(rendering)
        tally.is_open = True
        self._untold.add(tally)

    def _arm(self) -> None:
        if self._timer is None and self._loop is not None:
            delay_s = LOGGED_S if self.is_logging else SETTLE_S
            self._timer = self._loop.call_later(delay_s, self._settle_armed)

    def _settle_armed(self) -> None:
        self._timer = None
        self.settle_cells()

    def _settle_tally(self, tally: Tally) -> None:
        sums = tally.settle()
        view, at = self.cells.view, tally.rows.served + tally.offset
        view[at + REQUESTS] += sums.requests
        view[at + CONTENT_BYTES] += sums.content_bytes
        view[at + HEAD_BYTES] += sums.head_bytes
        view[at + NOT_MODIFIED] += sums.not_modified
        self.cells.add_latency(tally.rows.latency, tally.sample_s, sums.requests)

    def _note_use(self, rendering: Rendering, count: int, whole: int) -> None:
        route = rendering.route
        downloads = whole if self.counts_downloads and route.kind is Kind.CRATE else 0
        content_bytes = rendering.content_bytes * whole
        self.keeper.used(route.key, count, content_bytes, downloads, rendering.length)

"""What each client has asked of this worker, and whether it may ask for more.

Rules:
1. A client that is within its limits is let through; requests over `client_requests` or
   `client_streams` are refused; content over `client_rate` is sent later (`paced`).
2. The limits are of the client, not of the worker: what the other workers have of it is added
   (`client_table`). It is read when it is needed, so what another worker has let through before
   counts; two workers that decide at the same moment may both let the last one through.
3. At most as many clients are known as the table has places; of those that share a set the one
   seen longest ago is forgotten, one without a request under way first. A client that is forgotten
   begins anew, as if it had asked nothing.
4. Time is that of the worker's last tick.

Units: seconds and milliseconds of the monotonic clock.
Runs in: worker. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mirror.config import Limits
from mirror.serve.client_networks import ClientNetworks
from mirror.serve.client_table import ClientTable, Record
from mirror.serve.paced import Allowance, Outlet, PacedOutlet
from mirror.serve.request_window import WINDOW_MS, Counted, has_room, wait_s, window_of

_WINDOW_S: Final = WINDOW_MS // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """Which limit one more request would break, and when it may be asked again.

    `total` is a name of `TOTALS`.
    """

    total: str
    sentence: str
    retry_after_s: int


class LimitedClient:
    """One client, as one worker knows it."""

    __slots__ = (
        "_counted",
        "_hashed",
        "_limits",
        "allowance",
        "at_once",
        "name",
        "place",
        "used_ms",
    )

    def __init__(self, limits: ClientLimits, name: str, hashed: int, place: int) -> None:
        self._limits = limits
        self._hashed = hashed
        self._counted = Counted(0, 0, 0)
        rate = limits.settings.client_rate
        self.allowance = (
            Allowance(float(rate), self._begin_pacing, limits.count_wait) if rate else None
        )
        self.at_once = 0
        self.name = name
        self.place = place  # -1: it was forgotten
        self.used_ms = 0

    def __repr__(self) -> str:
        return f"<LimitedClient {self.name} {self._counted.now} asked, {self.at_once} at once>"

    def excess(self, now_ms: int) -> Excess | None:
        """Return why one more request is too much; None: it is not."""
        settings = self._limits.settings
        others = self._others()
        if settings.client_requests:
            counted = self._counted.at(window_of(now_ms))
            for other in others:
                counted = counted.plus(other.counted)
            limit = settings.client_requests * _WINDOW_S
            if not has_room(counted, now_ms, limit):
                return Excess(
                    total="limited_requests",
                    sentence="Too many requests from your address; ask more slowly.",
                    retry_after_s=wait_s(counted, now_ms, limit),
                )
        if settings.client_streams:
            at_once = self.at_once + sum(other.at_once for other in others)
            if at_once >= settings.client_streams:
                return Excess(
                    total="limited_at_once",
                    sentence="Too many requests from your address at once.",
                    retry_after_s=1,
                )
        return None

    def count(self, now_ms: int) -> None:
        """One more request is let through."""
        counted = self._counted.at(window_of(now_ms))
        counted = self._counted = Counted(counted.number, counted.now + 1, counted.before)
        self.used_ms = now_ms
        if self.place >= 0:
            self._limits.table.count(self.place, counted)

    def enter(self) -> None:
        """A request is under way from here on, until `leave`."""
        self.at_once += 1
        self._tell_at_once()

    def leave(self) -> None:
        self.at_once -= 1
        self._tell_at_once()

    def outlet(self, stream: Outlet) -> PacedOutlet | None:
        """Return what content for the client goes through; None: it goes as it comes."""
        return None if self.allowance is None else PacedOutlet(stream, self.allowance)

    def refill(self, elapsed_s: float) -> bool:
        """A tick has passed; False when nothing of the client waits for the next."""
        allowance = self.allowance
        if allowance is None:
            return False
        is_active = allowance.refill(elapsed_s, self._paced_elsewhere())
        if self.place >= 0:
            self._limits.table.set_paced(self.place, allowance.active)
        return is_active

    def begin_record(self) -> None:
        """Take the place in the table over."""
        record = Record(self._counted, self.at_once, 0)
        self._limits.table.write(self.place, self._hashed, record)

    def _begin_pacing(self) -> int:
        self._limits.active[self] = None
        return self._paced_elsewhere()

    def _others(self) -> list[Record]:
        return list(self._limits.table.others(self._hashed))

    def _paced_elsewhere(self) -> int:
        return sum(other.paced for other in self._others())

    def _tell_at_once(self) -> None:
        if self.place >= 0:
            self._limits.table.set_at_once(self.place, self.at_once)


class ClientLimits:
    """The clients of one worker; `settings` has at least one limit."""

    def __init__(
        self,
        settings: Limits,
        networks: ClientNetworks,
        table: ClientTable,
        now_s: float,
        *,
        count_wait: Callable[[], None],
    ) -> None:
        """Takes the table over. `count_wait` is called once for each response that waits."""
        self.settings = settings
        self.count_wait = count_wait
        self.table = table
        # Clients with content that was sent or waited since the last tick.
        self.active: dict[LimitedClient, None] = {}
        self._networks = networks
        self._clients: dict[str, LimitedClient] = {}
        self._places: dict[int, LimitedClient] = {}
        self._ticked_s = now_s
        self.now_ms = int(now_s * 1000)
        table.beat(self.now_ms)

    def __repr__(self) -> str:
        return f"<ClientLimits {len(self._clients)} clients, {len(self.active)} paced>"

    def __len__(self) -> int:
        return len(self._clients)

    def find(self, address: str) -> LimitedClient | None:
        """Return the client of `address`; None: it is not limited."""
        name = self._networks.client_of(address)
        return (self._clients.get(name) or self._begin(name)) if name else None

    def tick(self, now_s: float) -> None:
        """Move the time on; let go on what waited for it."""
        elapsed_s, self._ticked_s = now_s - self._ticked_s, now_s
        self.now_ms = int(now_s * 1000)
        self.table.beat(self.now_ms)
        active, self.active = self.active, {}
        for client in active:
            if client.refill(elapsed_s):
                self.active[client] = None

    def close(self) -> None:
        for client in self._clients.values():
            client.place = -1
        self.table.close()

    def _begin(self, name: str) -> LimitedClient:
        hashed = self.table.hash_of(name)
        places = self.table.places_of(hashed)
        place = next((place for place in places if place not in self._places), -1)
        if place < 0:
            place = min(places, key=self._staleness)
            forgotten = self._places[place]
            del self._clients[forgotten.name]
            forgotten.place = -1
        client = LimitedClient(self, name, hashed, place)
        client.used_ms = self.now_ms
        self._clients[name] = self._places[place] = client
        client.begin_record()
        return client

    def _staleness(self, place: int) -> tuple[bool, int]:
        client = self._places[place]
        return client.at_once > 0, client.used_ms


def has_limits(settings: Limits) -> bool:
    """Whether anything is limited per client."""
    return bool(settings.client_requests or settings.client_rate or settings.client_streams)

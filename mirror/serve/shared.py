"""What all connections of one worker share.

Runs in: worker.
"""

from __future__ import annotations

import secrets
import socket
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from mirror.config import Config, Freshness
from mirror.events import EventLog
from mirror.fill.plan import FreshnessRules
from mirror.http.authority import Authority, parse_authority
from mirror.http.h2_blocks import HeadEncoder
from mirror.http.h2_limits import Limits as H2Limits
from mirror.http.h2_memo import BlockMemo
from mirror.route.policy import has_partner
from mirror.route.route import Route
from mirror.serve.accounts import Accounts
from mirror.serve.asks import Asks
from mirror.serve.client_address import TrustedProxies, client_address
from mirror.serve.client_counts import ClientCounts
from mirror.serve.client_groups import ClientGroups, OneGroup
from mirror.serve.client_networks import ClientNetworks
from mirror.serve.crate_listing import CrateListing
from mirror.serve.crowd import Crowd, Idle
from mirror.serve.file_pages import FilePages
from mirror.serve.h2_config import limits_of
from mirror.serve.head_parser import parse_head
from mirror.serve.held import HELD_TOTAL_BYTES, HeldBytes
from mirror.serve.hot_contents import HotContents
from mirror.serve.hot_entry import HotEntry
from mirror.serve.memo import HeadMemo
from mirror.serve.miss_queue import MissQueue
from mirror.serve.outlet import Outlet
from mirror.serve.ports import Counting, GroupTable, Keeper, Page, RequestLog, StoreView
from mirror.serve.refusal_log import RefusalLog
from mirror.serve.request import Request
from mirror.serve.request_records import RecordMaker
from mirror.serve.respond import RangeRules
from mirror.serve.send_queues import LITTLE_BYTES
from mirror.serve.sequences import Sequences
from mirror.serve.wheel import Wheel
from mirror.serve.writability import Writability
from mirror.store.hot import HotMap

# The kernel doubles it, for its own use: a head of the largest size, or 100 streams of 300 bytes.
RECEIVE_BUFFER_BYTES: Final = 16_384
# Of `hot_memory` small objects have one half whatever happens, content up to 1 MiB the other.
_CONTENTS_RATIO: Final = 0.5


class Shared:
    """The rooms' doors, the hot map, the memo, the wheel and the limits, for one worker."""

    __slots__ = (
        "accounts",
        "asks",
        "clients",
        "config",
        "contents",
        "crate_listing",
        "crowd",
        "freshness_rules",
        "groups",
        "h2_heads",
        "h2_limits",
        "h2_memo",
        "held",
        "hot",
        "is_draining",
        "keeper",
        "log",
        "loop_token",
        "max_connections",
        "max_head_bytes",
        "max_target_bytes",
        "memo",
        "misses",
        "networks",
        "page",
        "pages",
        "partner_rules",
        "public_authority",
        "range_rules",
        "reader",
        "refusals",
        "sequences",
        "trusted",
        "uses_proxy_protocol",
        "wheel",
        "writability",
    )

    def __init__(
        self,
        config: Config,
        *,
        reader: StoreView,
        keeper: Keeper,
        counters: Counting,
        page: Page,
        wheel: Wheel,
        log: EventLog,
        loop_token: str,
        groups: GroupTable | None = None,
        request_log: RequestLog | None = None,
    ) -> None:
        """`groups` None: all clients are of one; `request_log` None: there is no access log."""
        serve = config.serve
        self.config = config
        self.reader = reader
        self.keeper = keeper
        self.trusted = TrustedProxies(serve.trusted_proxies)
        self.groups = ClientGroups(groups or OneGroup(), self.trusted)
        self.accounts = self._make_accounts(counters, wheel, request_log)
        self.asks = Asks(keeper, self.accounts.count)
        self.crate_listing = CrateListing(config.freshness, reader, keeper)
        self.freshness_rules = _freshness_rules(config.freshness)
        self.partner_rules = replace(self.freshness_rules, revalidate_s=0.0)
        self.held = HeldBytes(HELD_TOTAL_BYTES)
        self.page = page
        self.wheel = wheel
        self.log = log
        self.loop_token = loop_token.encode("ascii")
        self.pages = FilePages()
        self.sequences = Sequences(page.sequence_words(), page.sequence_key)
        self.refusals = RefusalLog(log, wheel)
        self.memo = HeadMemo()
        contents_bytes = int(serve.hot_memory * _CONTENTS_RATIO)
        self.hot: HotMap[str, HotEntry] = HotMap(serve.hot_memory - contents_bytes)
        self.contents = HotContents(contents_bytes, reader, self.pages)
        self.writability = Writability()
        self.networks = _networks_of(config, self.trusted)
        self.clients = ClientCounts(serve.max_connections_per_client, self.networks)
        self.crowd = Crowd(serve.max_connections)
        self.misses = MissQueue(config.limits.queued_misses)
        self.public_authority = authority_of_url(serve.public_url)
        self.uses_proxy_protocol = serve.proxy_protocol
        self.max_connections = serve.max_connections
        self.max_head_bytes = int(serve.max_head)
        self.max_target_bytes = int(serve.max_target)
        self.range_rules = _range_rules(serve.max_ranges)
        self._start_http2(limits_of(serve.http2))
        self.is_draining = False

    def _start_http2(self, limits: H2Limits) -> None:
        self.h2_limits = limits
        self.h2_heads = HeadEncoder()
        self.h2_memo = BlockMemo()

    def _make_accounts(
        self, counters: Counting, wheel: Wheel, request_log: RequestLog | None
    ) -> Accounts:
        return Accounts(
            counters,
            self.keeper,
            wheel.clock,
            self.groups,
            RecordMaker(self.parse, self.groups.names, self.trusted),
            log=request_log,
            counts_downloads=self.config.accounting.downloads,
        )

    @property
    def has_http2(self) -> bool:
        return self.config.serve.http2.enabled

    def finds_room(self, besides: int = 0) -> bool:
        """Close an idle connection for another one; `besides`: how many have no place in the wheel.

        False: there is no room.
        """
        wheel = self.wheel
        if not self.crowd.make_room(self._idle, len(wheel) + besides):
            return False
        self.accounts.count("connections_made_room")
        return True

    def _idle(self) -> list[Idle]:
        return [each for each in self.wheel.members() if isinstance(each, Outlet) and each.is_idle]

    def client_of(self, peer: str, request: Request) -> str:
        """The client's address; `peer` is the connection's (socket or PROXY header)."""
        return client_address(peer, request.forwarded_for, self.trusted)

    def rules_of(self, route: Route) -> FreshnessRules:
        """What may be done with stale responses; see `fill.plan`, rule 10."""
        return self.partner_rules if has_partner(route.kind) else self.freshness_rules

    def parse(self, head: bytes) -> Request:
        """Raises RequestError."""
        return parse_head(head, max_target_bytes=self.max_target_bytes)


def _range_rules(max_ranges: int) -> RangeRules:
    return RangeRules(max_ranges=max_ranges, boundary_key=secrets.token_bytes(16))


def _networks_of(config: Config, trusted: TrustedProxies) -> ClientNetworks:
    limits = config.limits
    return ClientNetworks(trusted, ipv6_prefix=limits.ipv6_prefix, exempt=limits.exempt)


def _freshness_rules(freshness: Freshness) -> FreshnessRules:
    return FreshnessRules(
        revalidate_s=float(freshness.stale_while_revalidate),
        error_s=float(freshness.stale_if_error),
        client_floor_s=float(freshness.client_floor),
    )


def authority_of_url(url: str) -> Authority | None:
    """The authority of `[serve] public_url`; None when it is empty."""
    return parse_authority(urlsplit(url).netloc.encode("ascii", "replace")) if url else None


def tune(listening: socket.socket) -> None:
    """Set on a listening socket what accepted ones inherit.

    Without TCP_NOTSENT_LOWAT the kernel buffers 3.4 to 4.1 MB per slow reader; with it, 244 kB.
    Without a receive buffer of its own a connection brings up to 256 KB in one read, all of which
    waits while its client does not read (measured: 148 KB per client of 1,000 requests sent ahead).
    """
    if listening.family in (socket.AF_INET, socket.AF_INET6):
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, LITTLE_BYTES)

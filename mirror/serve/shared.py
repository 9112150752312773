"""What all connections of one worker share.

Runs in: worker.
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from mirror.config import Config
from mirror.events import EventLog
from mirror.http.authority import Authority, parse_authority
from mirror.serve.asks import Asks
from mirror.serve.client_address import TrustedProxies, client_address
from mirror.serve.crate_listing import CrateListing
from mirror.serve.file_pages import FilePages
from mirror.serve.head_parser import parse_head
from mirror.serve.held import HELD_TOTAL_BYTES, HeldBytes
from mirror.serve.hot_entry import HotEntry
from mirror.serve.memo import HeadMemo
from mirror.serve.ports import Counting, Keeper, Page, StoreView
from mirror.serve.refusal_log import RefusalLog
from mirror.serve.request import Request
from mirror.serve.sequences import Sequences
from mirror.serve.wheel import Wheel
from mirror.store.hot import HotMap


class Shared:
    """The rooms' doors, the hot map, the memo, the wheel and the limits, for one worker."""

    __slots__ = (
        "asks",
        "config",
        "counters",
        "crate_listing",
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
        "page",
        "pages",
        "public_authority",
        "reader",
        "refusals",
        "sequences",
        "trusted",
        "uses_proxy_protocol",
        "view",
        "wheel",
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
    ) -> None:
        serve = config.serve
        self.config = config
        self.reader = reader
        self.keeper = keeper
        self.asks = Asks(keeper)
        self.crate_listing = CrateListing(config.freshness, reader, keeper)
        self.held = HeldBytes(HELD_TOTAL_BYTES)
        self.counters = counters
        self.view = counters.view
        self.page = page
        self.wheel = wheel
        self.log = log
        self.loop_token = loop_token.encode("ascii")
        self.pages = FilePages()
        self.sequences = Sequences(page.sequence_words(), page.sequence_key)
        self.refusals = RefusalLog(log, wheel)
        self.memo = HeadMemo()
        self.hot: HotMap[str, HotEntry] = HotMap(serve.hot_memory)
        self.trusted = TrustedProxies(serve.trusted_proxies)
        self.public_authority = authority_of_url(serve.public_url)
        self.uses_proxy_protocol = serve.proxy_protocol
        self.max_connections = serve.max_connections
        self.max_head_bytes = int(serve.max_head)
        self.max_target_bytes = int(serve.max_target)
        self.is_draining = False

    def client_of(self, peer: str, request: Request) -> str:
        """The client's address; `peer` is the connection's (socket or PROXY header)."""
        return client_address(peer, request.forwarded_for, self.trusted)

    def parse(self, head: bytes) -> Request:
        """Raises RequestError."""
        return parse_head(head, max_target_bytes=self.max_target_bytes)


def authority_of_url(url: str) -> Authority | None:
    """The authority of `[serve] public_url`; None when it is empty."""
    return parse_authority(urlsplit(url).netloc.encode("ascii", "replace")) if url else None


def tune(listening: socket.socket) -> None:
    """Set on a listening socket what accepted ones inherit.

    Without TCP_NOTSENT_LOWAT the kernel buffers 3.4 to 4.1 MB per slow reader; with it, 244 kB.
    """
    if listening.family in (socket.AF_INET, socket.AF_INET6):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 131_072)

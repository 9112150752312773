"""The pools of `[upstream.*]`, opened from configuration.

Rules:
1. A pool is named as its section: "releases", "crates", "index".
2. Each pool has its own connections, S3 too; `connect_to` belongs to the pool's first URL.
3. Budgets, circuits and hedges are each pool's own: one upstream in trouble costs the others
   nothing.
4. No total deadline: bodies are big. Connecting and silence have deadlines; a request that waits
   for a connection of ours waits as long as for a silent upstream.

Runs in: keeper.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator, Mapping

import aiohttp

from mirror.authorities import tls_context
from mirror.clock import Clock
from mirror.config import Crates, Index, Releases, Upstream
from mirror.errors import ConfigError
from mirror.events import EventLog
from mirror.upstream.askers import Shared, open_askers, user_agent
from mirror.upstream.backoff import BACKOFF_FIRST_S
from mirror.upstream.breaker import BreakerLimits
from mirror.upstream.budgets import HedgeBudget, Pace
from mirror.upstream.origin import Origin, OriginLimits, parse_origin
from mirror.upstream.pool import Pool, PoolSettings
from mirror.upstream.queueing import queueing_trace
from mirror.upstream.resolver import UpstreamResolver, parse_connect_to
from mirror.upstream.reused import reuse_trace, send_once
from mirror.upstream.sending import Member, Reports, SendingLimits
from mirror.upstream.traffic import NoTally, Tally, TrafficMeter

# A smaller buffer pauses the socket too often to fill at the rate of the disk.
READ_BUFFER_BYTES = 262144
KEEPALIVE_S = 15.0
REQUESTS_BURST_S = 10.0  # of max_requests may be asked at once: cargo begins with a burst
CONTENT_BURST_S = 1.0  # of max_rate may be read at once: more than a buffer at any useful rate
QUEUE_WAIT_S = 20.0  # as [limits] queue_wait; commands have no clients that wait
DNS_CACHE_S = 10


class Pools(Mapping[str, Pool]):
    """Pool by name; close with `aclose`."""

    def __init__(self, pools: Mapping[str, Pool]) -> None:
        self._pools = dict(pools)

    def __getitem__(self, name: str) -> Pool:
        return self._pools[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pools)

    def __len__(self) -> int:
        return len(self._pools)

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()


def open_pools(
    config: Upstream,
    *,
    own_token: str,
    meter: TrafficMeter,
    clock: Clock,
    log: EventLog,
    backoff_first_s: float = BACKOFF_FIRST_S,
    queue_wait_s: float = QUEUE_WAIT_S,
    tally: Tally | None = None,
) -> Pools:
    """Return the pools; must be called inside the running loop. Nothing is connected yet.

    `own_token` is what this mirror puts into `CDN-Loop` and refuses in requests; `queue_wait_s` the
    longest that a request waits for its turn in the budget.

    Raises: ConfigError for a URL, `connect_to` or CA file that cannot be used.
    """
    context = tls_context(config.ca_file)
    sections: Mapping[str, Releases | Crates | Index] = {
        "releases": config.releases,
        "crates": config.crates,
        "index": config.index,
    }
    fields = {
        "user-agent": user_agent(config.contact),
        "accept": "*/*",
        # Bodies pass byte for byte; a caller that decodes asks for a coding itself.
        "accept-encoding": "identity",
        "cdn-loop": own_token,
    }
    reports = Reports(meter=meter, tally=tally or NoTally(), log=log)
    limits = _origin_limits(config)
    pools: dict[str, Pool] = {}
    for name, section in sections.items():
        key = f"upstream.{name}"
        origins = [parse_origin(url, f"{key}.urls", limits) for url in section.urls]
        settings = PoolSettings(
            name=name,
            attempts=config.attempts,
            fields=fields,
            sending=_sending_limits(config, queue_wait_s),
            backoff_first_s=backoff_first_s,
        )
        resolver = _resolver(key, section.connect_to, origins, config)
        session = _session(config, resolver, context)
        shared = Shared(name=name, config=config, session=session, clock=clock)
        askers = open_askers(section, origins, shared)
        pools[name] = Pool(
            settings,
            [Member(origin=o, asker=a) for o, a in zip(origins, askers, strict=True)],
            aclose_connections=session.close,
            reports=reports,
            clock=clock,
        )
    return Pools(pools)


def _origin_limits(config: Upstream) -> OriginLimits:
    breaker = BreakerLimits(
        failures=config.breaker_failures,
        rest_s=float(config.breaker_rest),
        longest_s=float(config.breaker_longest),
    )
    return OriginLimits(breaker=breaker, hold_s=float(config.failover_hold))


def _sending_limits(config: Upstream, queue_wait_s: float) -> SendingLimits:
    """Return the budgets of one pool; each has its own."""
    requests, rate = config.max_requests, int(config.max_rate)
    return SendingLimits(
        requests=Pace(requests, requests * REQUESTS_BURST_S),
        content=Pace(rate, rate * CONTENT_BURST_S),
        hedges=HedgeBudget(config.hedge_percent),
        hedge_after_s=float(config.hedge_after),
        queue_wait_s=queue_wait_s,
    )


def _resolver(
    key: str, connect_to: str, origins: list[Origin], config: Upstream
) -> UpstreamResolver:
    endpoint = parse_connect_to(connect_to, f"{key}.connect_to")
    host = origins[0].host if origins else ""
    if endpoint is not None and _is_address(host):
        # An address is connected to without asking a resolver: the key would be ignored silently.
        raise ConfigError(f"{key}.connect_to", connect_to, "needs a URL with a host name")
    return UpstreamResolver(
        hosts=(host,), connect_to=endpoint, timeout_s=float(config.connect_timeout)
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _session(
    config: Upstream, resolver: UpstreamResolver, context: ssl.SSLContext
) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        limit=0,  # the filler bounds the flights; per host is what the upstream feels
        limit_per_host=config.max_connections,
        resolver=resolver,
        ssl=context,
        keepalive_timeout=KEEPALIVE_S,
        ttl_dns_cache=DNS_CACHE_S,
    )
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=READ_BUFFER_BYTES,
        trace_configs=[queueing_trace(), reuse_trace()],
        middlewares=(send_once,),
        timeout=aiohttp.ClientTimeout(
            total=None,
            # From asking the connector until connected: the wait for a free connection is in it.
            connect=float(config.read_timeout) + float(config.connect_timeout),
            sock_connect=float(config.connect_timeout),
            sock_read=float(config.read_timeout),
        ),
    )

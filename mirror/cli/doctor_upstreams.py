"""What `doctor` learns by asking each upstream URL, as the mirror does, for one small object.

Rules:
1. The pools are the mirror's own (proxy, CA, connect_to, S3), one per URL, without retries.
2. One URL takes at most `LIMIT_S`, whatever hangs; all are asked at once.
3. Little is asked for: two files of some hundred bytes, and the head of one crate.

Units: seconds.
Runs in: commands (aiohttp is imported here; `serve` never imports this).
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec
from yarl import URL

from mirror.cli.doctor_checks import Task
from mirror.cli.upstream_manners import NoMeter, Silence, own_token
from mirror.clock import SystemClock
from mirror.config import Config, Duration, DurationOrZero, Upstream
from mirror.doctor.clocks import offset_s
from mirror.doctor.upstreams import Asked, Stage
from mirror.errors import MirrorError, UpstreamError
from mirror.loops import find_loops
from mirror.upstream.egress import proxy_for
from mirror.upstream.pool import Pool
from mirror.upstream.pools import open_pools

LIMIT_S = 5.0
_STEP_S = 4.0
_PATHS = {
    "releases": "/dist/channel-rust-stable.toml.sha256",
    "crates": "/crates/serde/serde-1.0.0.crate",
    "index": "/config.json",
}


@dataclass(slots=True, kw_only=True)
class Inquiry:
    """One URL and how far asking it has come; written by its own thread."""

    pool: str
    url: str
    config: Config  # with this URL alone
    own_ports: frozenset[int]
    stage: Stage = Stage.NAME
    status: int = 0
    trouble: str = ""
    way: str = ""
    loop: str = ""
    offset_s: float | None = None
    seconds: float = field(default=LIMIT_S)

    @property
    def path(self) -> str:
        return _PATHS[self.pool]

    def asked(self) -> Asked:
        return Asked(
            pool=self.pool,
            url=self.url,
            path=self.path,
            stage=self.stage,
            seconds=self.seconds,
            status=self.status,
            trouble=self.trouble or f"no answer in {LIMIT_S:.0f} s",
            way=self.way,
        )


def inquire(config: Config, own_ports: frozenset[int]) -> list[Inquiry]:
    """Ask every URL, and return how far each came after at most `LIMIT_S`."""
    inquiries = list(_inquiries(config, own_ports))
    began_at = time.monotonic()
    tasks = [Task(_Run(inquiry)) for inquiry in inquiries]
    for inquiry, task in zip(inquiries, tasks, strict=True):
        try:
            task.result(began_at + LIMIT_S - time.monotonic())
        except TimeoutError:
            continue  # as far as it came, that is what is told
        except MirrorError as exc:
            inquiry.trouble = exc.message
    return inquiries


def _inquiries(config: Config, own_ports: frozenset[int]) -> Iterator[Inquiry]:
    for pool in _PATHS:
        section = getattr(config.upstream, pool)
        for number, url in enumerate(section.urls):
            only = _only(config.upstream, pool, url, section.connect_to if number == 0 else "")
            alone = msgspec.structs.replace(config, upstream=only)
            yield Inquiry(pool=pool, url=url, config=alone, own_ports=own_ports)


def _only(upstream: Upstream, pool: str, url: str, connect_to: str) -> Upstream:
    """Return the settings with that URL alone, asked once and without patience."""
    sections = {
        name: msgspec.structs.replace(
            getattr(upstream, name),
            urls=(url,) if name == pool else (),
            connect_to=connect_to if name == pool else "",
        )
        for name in _PATHS
    }
    return msgspec.structs.replace(
        upstream,
        **sections,
        attempts=1,
        connect_timeout=Duration(min(_STEP_S, upstream.connect_timeout)),
        read_timeout=Duration(min(_STEP_S, upstream.read_timeout)),
        hedge_after=DurationOrZero(0),
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """Asks, on a thread of its own."""

    inquiry: Inquiry

    def __call__(self) -> None:
        inquiry = self.inquiry
        began_at = time.monotonic()
        if not self._resolve():
            return
        inquiry.stage = Stage.ASKING
        loops = find_loops(inquiry.config, inquiry.own_ports)
        if loops:
            inquiry.loop = inquiry.trouble = loops[0].allowed
            return
        try:
            asyncio.run(self._ask(LIMIT_S - (time.monotonic() - began_at)))
        except UpstreamError as exc:
            inquiry.trouble = exc.reason
            inquiry.status = exc.upstream_status
            if inquiry.pool == "crates" and inquiry.status == 403:
                inquiry.stage = Stage.ANSWERED  # a bucket that may not be listed says so of absence
        except TimeoutError:
            return
        else:
            inquiry.stage = Stage.ANSWERED
        inquiry.seconds = time.monotonic() - began_at

    def _resolve(self) -> bool:
        """Resolve what will be connected to: the proxy, `connect_to`, or the host itself."""
        inquiry, host, port = self.inquiry, "", 0
        parts = urlsplit(inquiry.url)
        if parts.scheme == "s3":
            return True  # its endpoint follows from more than the URL
        section = getattr(inquiry.config.upstream, inquiry.pool)
        proxy = proxy_for(URL(inquiry.url), inquiry.config.upstream.proxy)
        if proxy:
            inquiry.way, through = proxy, urlsplit(proxy)
            host, port = through.hostname or "", through.port or 80
        elif section.connect_to:
            inquiry.way = section.connect_to
            host, _, digits = section.connect_to.rpartition(":")
            host, port = host.strip("[]"), int(digits)
        else:
            host, port = parts.hostname or "", parts.port or 443
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            reason = getattr(exc, "strerror", None) or str(exc)
            inquiry.trouble = f"the name {host} does not resolve ({reason})"
            return False
        return True

    async def _ask(self, limit_s: float) -> None:
        inquiry = self.inquiry
        pools = open_pools(
            inquiry.config.upstream,
            own_token=own_token(inquiry.config.state.path),
            meter=NoMeter(),
            clock=SystemClock(),
            log=Silence(),
        )
        try:
            async with asyncio.timeout(limit_s):
                await self._fetch(pools[inquiry.pool])
        finally:
            await pools.aclose()

    async def _fetch(self, pool: Pool) -> None:
        inquiry = self.inquiry
        if inquiry.pool == "crates":
            inquiry.status = 200 if await pool.describe(inquiry.path) is not None else 404
            return
        asked_at = time.time()
        async with pool.get(inquiry.path) as response:
            answered_at = time.time()
            inquiry.status = response.status
            date, age = response.fields.get("date", ""), response.fields.get("age", "")
            inquiry.offset_s = offset_s(date, age, asked_at, answered_at)


def offsets(inquiries: Sequence[Inquiry]) -> dict[str, float]:
    """Return how far this clock is ahead, by the URL that said so."""
    return {each.url: each.offset_s for each in inquiries if each.offset_s is not None}

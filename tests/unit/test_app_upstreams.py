"""The keeper's upstreams: opened by the first who needs one, once, and behind the serving."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from typing import cast

import pytest

from mirror.app_upstreams import LateUpstreams
from mirror.errors import ConfigError
from mirror.route.route import UpstreamName
from mirror.upstream.pools import Pools
from mirror.upstream.response import UpstreamResponse


class ScriptedPool:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.open = 0
        self.is_closed = False

    @contextlib.asynccontextmanager
    async def get(
        self, path: str, *, fields: Mapping[str, str], expected_sha256: bytes = b""
    ) -> AsyncIterator[UpstreamResponse]:
        self.asked.append(path)
        self.open += 1
        try:
            yield cast("UpstreamResponse", path)
        finally:
            self.open -= 1

    async def aclose(self) -> None:
        self.is_closed = True


class Opening:
    """Counts how often it was asked for pools."""

    def __init__(self, refusal: ConfigError | None = None) -> None:
        self.pool = ScriptedPool()
        self.times = 0
        self._refusal = refusal

    def __call__(self) -> Pools:
        self.times += 1
        if self._refusal is not None:
            raise self._refusal
        return Pools({name.value: self.pool for name in UpstreamName})  # type: ignore[misc] # a fake


async def _ask(upstreams: LateUpstreams, name: UpstreamName, path: str) -> object:
    async with upstreams.by_name[name].get(path, fields={}) as response:
        return response


async def test_the_first_requests_open_the_upstreams_once() -> None:
    opening = Opening()
    upstreams = LateUpstreams(opening)
    assert opening.times == 0
    asks = [_ask(upstreams, name, f"/{name.value}") for name in UpstreamName]
    assert await asyncio.gather(*asks) == [f"/{name.value}" for name in UpstreamName]
    await upstreams.opened()
    assert opening.times == 1
    assert opening.pool.open == 0
    await upstreams.aclose()
    assert opening.pool.is_closed


async def test_one_who_gives_up_leaves_the_opening_to_the_others() -> None:
    opening = Opening()
    upstreams = LateUpstreams(opening)
    leaver = asyncio.create_task(_ask(upstreams, UpstreamName.CRATES, "/left"))
    await asyncio.sleep(0)  # it waits
    leaver.cancel()
    assert await _ask(upstreams, UpstreamName.CRATES, "/stayed") == "/stayed"
    assert leaver.cancelled()
    assert opening.pool.asked == ["/stayed"]
    await upstreams.aclose()


async def test_what_is_wrong_is_told_to_the_start_and_to_whoever_asks() -> None:
    upstreams = LateUpstreams(Opening(ConfigError("upstream.ca_file", "/x", "cannot be read")))
    with pytest.raises(ConfigError, match="ca_file"):
        await _ask(upstreams, UpstreamName.INDEX, "/config.json")
    with pytest.raises(ConfigError, match="ca_file"):
        await upstreams.opened()
    await upstreams.aclose()


async def test_closing_before_the_end_of_the_opening_leaves_nothing_open() -> None:
    opening = Opening()
    upstreams = LateUpstreams(opening)
    await upstreams.aclose()
    waiter = asyncio.create_task(upstreams.opened())
    await asyncio.sleep(0)
    await upstreams.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert opening.times == 0 or opening.pool.is_closed


@pytest.mark.full
def test_a_keeper_serves_before_it_has_loaded_what_only_upstreams_need() -> None:
    program = "import sys, mirror.app_keeper; print('aiohttp' in sys.modules)"
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"

"""The keeper's upstreams, opened behind the serving: what is stored needs none of them.

Rules:
1. A third of what a keeper imports comes with aiohttp (0.3 s of CPU): who asks for a stored object
   (after a lost index the workers know none) does not wait for it.
2. The first who needs an upstream opens all of them, once; later ones wait for that opening.
3. What is wrong with them is told by `opened`, which the start asks for too.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

from mirror.route.route import UpstreamName

if TYPE_CHECKING:
    from mirror.upstream.pools import Pools
    from mirror.upstream.response import UpstreamResponse


class LateUpstreams:
    """The pools of one keeper; close with `aclose`."""

    def __init__(self, open_all: Callable[[], Pools]) -> None:
        """`open_all` is called once, in the loop, when what it imports is there."""
        self._open_all = open_all
        self._opening: asyncio.Task[Pools] | None = None
        self.by_name: Mapping[UpstreamName, LatePool] = {
            name: LatePool(self, name) for name in UpstreamName
        }

    async def opened(self) -> Pools:
        """Return the pools. Raises: ConfigError for what cannot be used of `[upstream]`."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="upstreams")
        return await asyncio.shield(self._opening)  # one who gives up leaves it to the others

    async def aclose(self) -> None:
        opening = self._opening
        if opening is None:
            return
        opening.cancel()
        await asyncio.wait((opening,))
        # One that failed has told those who asked for it.
        if not opening.cancelled() and opening.exception() is None:
            await opening.result().aclose()

    async def _open(self) -> Pools:
        await asyncio.to_thread(importlib.import_module, "mirror.upstream.pools")
        return self._open_all()

    def __repr__(self) -> str:
        is_open = self._opening is not None and self._opening.done()
        return f"<LateUpstreams {'open' if is_open else 'not open'}>"


class LatePool:
    """One pool for the filler, from the first request on the real one."""

    def __init__(self, upstreams: LateUpstreams, name: UpstreamName) -> None:
        self._upstreams = upstreams
        self._name = name.value

    @contextlib.asynccontextmanager
    async def get(
        self, path: str, *, fields: Mapping[str, str], expected_sha256: bytes = b""
    ) -> AsyncIterator[UpstreamResponse]:
        pool = (await self._upstreams.opened())[self._name]
        async with pool.get(path, fields=fields, expected_sha256=expected_sha256) as response:
            yield response

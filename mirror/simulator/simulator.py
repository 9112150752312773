"""The simulator as one object, for use inside a running loop.

```python
async with Simulator(SimulatorOptions(seed=1)) as simulator:
    simulator.releases_url, simulator.crates_url, simulator.index_url
    simulator.faults.add(parse_rules([{"kind": "status", "path": "/dist/*"}]))
    simulator.tally.total.requests
```

Does not: listen for control requests (`control.py`); in another process use `process.py`.
Runs in: simulator.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from mirror.simulator.faults import FaultBook
from mirror.simulator.listeners import Listeners
from mirror.simulator.published import Site
from mirror.simulator.tally import Tally
from mirror.simulator.upstream import SimulatedUpstream, SimulatorOptions


class Simulator:
    """An upstream that serves; every member may be used from the loop's thread."""

    def __init__(
        self, upstream: SimulatedUpstream | SimulatorOptions, *, host: str = "127.0.0.1"
    ) -> None:
        """Serve `upstream`, or a first tree made from options."""
        if isinstance(upstream, SimulatorOptions):
            upstream = SimulatedUpstream(upstream)
        self.upstream = upstream
        self.faults = FaultBook()
        self.tally = Tally()
        self.listeners = Listeners(self.upstream, self.faults, self.tally)
        self._host = host

    @property
    def releases_url(self) -> str:
        return self.listeners.url(Site.RELEASES)

    @property
    def crates_url(self) -> str:
        return self.listeners.url(Site.CRATES)

    @property
    def index_url(self) -> str:
        return self.listeners.url(Site.INDEX)

    async def start(self, ports: dict[Site, int] | None = None) -> None:
        self.listeners.reserve(self._host, ports or {})
        self.upstream.name_crates_url(self.crates_url)
        await self.listeners.start()

    async def aclose(self) -> None:
        await self.listeners.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

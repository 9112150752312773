"""Verbs on the unix socket: dry unless told, one at a time, finished or told why not."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mirror.clock import SystemClock
from mirror.control.hosts import AllowedHosts
from mirror.control.server import ControlServer
from mirror.control.verbs import Verbs, VerbSource
from mirror.errors import StoreError
from mirror.jobs.purge import PurgeStore
from mirror.store.purging import Named
from mirror.store.store import Store
from tests.unit.store.bench import Bench, put


@dataclass
class Told:
    client: aiohttp.ClientSession
    verbs: Verbs
    bench: Bench
    store: Store
    source: VerbSource
    flags: dict[str, bool] = field(default_factory=dict)

    async def __call__(self, target: str, **wish: object) -> tuple[int, list[dict[str, Any]]]:
        async with self.client.post(f"http://unix{target}", data=json.dumps(wish)) as response:
            lines = [json.loads(line) for line in (await response.text()).splitlines()]
            return response.status, lines


class Slow:
    """A purger whose purge waits until it may, and fails if it should."""

    def __init__(self, purger: PurgeStore) -> None:
        self._purger = purger
        self.began, self.may = threading.Event(), threading.Event()
        self.error: Exception | None = None

    def purge(self, keys: list[str]) -> Named:
        self.began.set()
        self.may.wait(10)
        if self.error is not None:
            raise self.error
        return self._purger.purge(keys)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._purger, name)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[Bench, Store]]:
    bench = Bench(str(tmp_path))
    opened = bench.open()
    yield bench, opened
    opened.close()


@pytest.fixture
async def tell(tmp_path: Path, store: tuple[Bench, Store]) -> AsyncIterator[Told]:
    bench, opened = store
    flags = {"repairing": False}
    source = VerbSource(
        store=opened,
        page=bench.page,
        clock=SystemClock(),
        events=bench.log,
        is_repairing=lambda: flags["repairing"],
    )
    verbs = Verbs(source)
    path = str(tmp_path / "control.sock")
    server = ControlServer(dict, AllowedHosts("", ()), verbs=verbs)
    await server.start(path, [])
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as client:
        yield Told(client, verbs, bench, opened, source, flags)
    await server.aclose()


async def test_whoever_forgets_to_say_so_gets_a_dry_run(tell: Told) -> None:
    put(tell.store, "crates:/a", b"a")
    status, lines = await tell("/purge", names=[["crates:/a"]])
    assert (status, lines[-1]["result"]["keys"]) == (200, 1)
    assert (await tell("/gc", to_bytes=0))[1][-1]["result"]["evicted_bytes"] > 0
    assert tell.store.lookup("crates:/a") is not None
    assert tell.bench.log.names() == []


async def test_purge_is_told_with_its_progress_and_is_an_event(tell: Told) -> None:
    put(tell.store, "crates:/a", b"a")
    status, lines = await tell("/purge", prefixes=["crates:/"], dry_run=False)
    assert (status, lines[0]) == (200, {"progress": 1})
    assert lines[-1]["result"]["unaware_workers"] == []
    assert tell.store.lookup("crates:/a") is None
    assert tell.bench.log.events[-1][0] == "purged"


async def test_gc_is_told_and_is_an_event(tell: Told) -> None:
    put(tell.store, "crates:/a", b"a")
    status, lines = await tell("/gc", to_bytes=0, dry_run=False)
    assert (status, lines[-1]["result"]["used_bytes"]) == (200, 0)
    assert tell.bench.log.names() == ["garbage-collected"]


@pytest.mark.parametrize("target", ["/purge", "/gc"])
async def test_nonsense_is_refused(tell: Told, target: str) -> None:
    for wish in ({"names": "x"}, {"unknown": 1}, {"dry_run": "no"}):
        status, [line] = await tell(target, **wish)
        assert status == 400
        assert line["error"].startswith("not understood")
    async with tell.client.get(f"http://unix{target}") as response:
        assert response.status == 405


async def test_a_second_one_is_refused_while_one_runs_and_its_asker_may_go(tell: Told) -> None:
    put(tell.store, "crates:/a", b"a")
    slow = Slow(tell.store.purger)
    tell.store.purger = slow  # type: ignore[assignment]  # a stand-in of the same methods
    first = asyncio.create_task(tell("/purge", names=[["crates:/a"]], dry_run=False))
    await asyncio.to_thread(slow.began.wait, 10)
    status, [line] = await tell("/gc")
    assert (status, line["error"]) == (409, "another purge or gc runs; wait for its end")
    first.cancel()
    slow.may.set()
    async with asyncio.timeout(10):
        while tell.store.lookup("crates:/a") is not None:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(StoreError("s", "no space", hint="free some"), "no space", id="disk"),
        pytest.param(ValueError("oops"), "the mirror failed to do it", id="mistake"),
    ],
)
async def test_failure_is_told_as_the_last_line(tell: Told, error: Exception, told: str) -> None:
    put(tell.store, "crates:/a", b"a")
    slow = Slow(tell.store.purger)
    slow.error = error
    slow.may.set()
    tell.store.purger = slow  # type: ignore[assignment]  # a stand-in of the same methods
    _, lines = await tell("/purge", names=[["crates:/a"]], dry_run=False)
    assert told in lines[-1]["error"]
    assert (await tell("/gc"))[0] == 200  # and the next one runs


async def test_stopping_ends_it_after_its_step(tell: Told) -> None:
    put(tell.store, "crates:/a", b"a")
    slow = Slow(tell.store.purger)
    tell.store.purger = slow  # type: ignore[assignment]  # a stand-in of the same methods
    asked = asyncio.create_task(tell("/purge", names=[["crates:/a"]], dry_run=False))
    await asyncio.to_thread(slow.began.wait, 10)
    closing = asyncio.create_task(tell.verbs.aclose())
    await asyncio.sleep(0)
    slow.may.set()
    await closing
    _, lines = await asked
    assert "the mirror is stopping" in lines[-1]["error"]
    assert tell.store.lookup("crates:/a") is None


async def test_what_needs_the_whole_index_waits_for_its_repair(tell: Told) -> None:
    put(tell.store, "crates:/a", b"a")
    tell.flags["repairing"] = True
    for target, wish in (("/gc", {}), ("/purge", {"prefixes": ["crates:/"]})):
        status, [line] = await tell(target, **wish)
        assert (status, line["error"]) == (409, "the index is being made anew")
    status, lines = await tell("/purge", names=[["crates:/a"]], dry_run=False)
    assert (status, lines[-1]["result"]["keys"]) == (200, 1)

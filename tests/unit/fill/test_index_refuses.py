"""The index refuses to commit, as on a full or read-only disk: bodies arrive whole, one alarm.

The errors are SQLite's own: the connection is told to behave as if the disk had that trouble.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from mirror.errors import DiskTrouble
from tests.unit.fill.broken_world import BrokenWorld
from tests.unit.fill.test_kth_call import Upstream


@pytest.mark.parametrize("kind", ["archive", "crate"])
@pytest.mark.parametrize(
    ("pragma", "healed", "trouble"),
    [
        pytest.param(
            "max_page_count = 1", "max_page_count = 1073741823", DiskTrouble.FULL, id="full"
        ),
        pytest.param("query_only = 1", "query_only = 0", DiskTrouble.READ_ONLY, id="read-only"),
    ],
)
async def test_bodies_pass_an_index_that_refuses(
    tmp_path: Path, pragma: str, healed: str, trouble: DiskTrouble, kind: str
) -> None:
    async with BrokenWorld(tmp_path) as world:
        upstream = Upstream(world)
        make = upstream.archive if kind == "archive" else upstream.crate
        stored_before, later = [make(), make()], [make() for _ in range(40)]
        for key, content in stored_before:
            assert await world.fetched(key) == content
        await world.settled()
        if trouble is DiskTrouble.FULL:  # its pages are all used: what comes needs another
            pragma = f"max_page_count = {_pages(world)}"
        world.store.index._writer.execute(f"PRAGMA {pragma}").fetchall()
        for key, content in later:
            assert await world.fetched(key) == content
        for key, content in stored_before:
            assert await world.fetched(key) == content
        await world.settled()
        ailment = world.store.trouble.ailment
        assert ailment is not None
        assert ailment.kind is trouble
        told = len(world.log.named("store-trouble"))
        assert told == 1 + len(world.log.named("store-recovered"))
        world.store.index._writer.execute(f"PRAGMA {healed}").fetchall()
        world.heal()
        world.clock.move(400.0)
        key, content = later[-1]
        assert await world.fetched(key) == content
        await world.settled()
        world.require_tidy([key])


def _pages(world: BrokenWorld) -> int:
    rows = world.store.index._writer.execute("PRAGMA page_count").fetchall()
    return cast("int", rows[0][0])

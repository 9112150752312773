"""Fixtures of this room's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.jobs.shelf_bench import ShelfBench
from tests.unit.store.bench import Bench


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[ShelfBench]:
    bench = Bench(str(tmp_path))
    store = bench.open()
    yield ShelfBench(bench, store)
    store.close()
    bench.page.close()

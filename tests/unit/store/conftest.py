"""Fixtures of the store's tests."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.store.store import Store
from tests.faults.files import FaultFiles
from tests.unit.store.bench import Bench


@pytest.fixture(scope="module", autouse=True)
def small_heap() -> Iterator[None]:
    """`end_process` collects hundreds of times; what pytest has gathered (thousands of tests) is
    not looked at each time. Measured: 18 s against 3 s for one test in the whole run."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(str(tmp_path))
    yield made
    made.page.close()


@pytest.fixture
def files() -> Iterator[FaultFiles]:
    made = FaultFiles()
    yield made
    made.bury()


@pytest.fixture
def store(bench: Bench, files: FaultFiles) -> Iterator[Store]:
    opened = bench.open(files)
    yield opened
    files.heal()
    opened.close()

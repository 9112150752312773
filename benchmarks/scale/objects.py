"""What a store of 1,000 to 1,000,000 objects costs: look-ups, memory, start.

Rules:
1. Look-ups are those of a worker's reader for keys that are not hot, in random order, page cache
   warm: CPU time of the thread, so that a busy machine does not count.
2. The mirror then starts over the store; worker and keeper are read after the same requests for
   objects with files, the same number of them in every store.
3. Stores are made once per size in the given folder and thrown away.

Units: microseconds, bytes, seconds. Runs in: benchmark.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.memory.loaded import pss_by_role
from benchmarks.miss.asking import ask_all
from benchmarks.restart import Mirror
from benchmarks.restart_store import RECORDED_OF, key_of
from benchmarks.scale.growth_of import LINEAR_MAX, PER_OPERATION_MAX, growth
from benchmarks.scale.index_rows import WITH_FILES, key_of_row, make_index
from mirror.store.layout import index_path
from mirror.store.reader import StoreReader

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
LOOKUP_LIMIT_US = 100.0
_LOOKUPS = 5_000
_PER_ROUND = 500
_SEED = 7
_CONNECTIONS = 8


def measure(counts: Sequence[int] = COUNTS, *, folder: Path | None = None) -> dict[str, object]:
    """Measure each count of objects; tell by which power the costs grow."""
    rows: list[dict[str, float]] = []
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="bench-scale-", dir=folder) as name:
            root = Path(name) / "mirror"
            make_index(root, count)
            rows.append({"objects": count, **lookups(root, count), **_running(root)})
    return {
        "rows": rows,
        "lookup_limit_us": LOOKUP_LIMIT_US,
        "is_lookup_met": all(row["lookup_us"] <= LOOKUP_LIMIT_US for row in rows),
        "growth": {
            "lookup_us": growth(_points(rows, "lookup_us"), PER_OPERATION_MAX),
            "index_bytes": growth(_points(rows, "index_bytes"), LINEAR_MAX),
            "worker_pss_bytes": growth(_points(rows, "worker_pss_bytes"), PER_OPERATION_MAX),
            "keeper_pss_bytes": growth(_points(rows, "keeper_pss_bytes"), LINEAR_MAX),
            "first_hit_s": growth(_points(rows, "first_hit_s"), LINEAR_MAX),
        },
    }


def lookups(root: Path, count: int) -> dict[str, float]:
    """Return the CPU time of a look-up, the median of rounds. Raises RuntimeError for a miss."""
    store = str(root / "store")
    keys = _keys(count)
    reader = StoreReader(store)
    rounds: list[float] = []
    try:
        for key in keys:  # the page cache has the pages
            reader.lookup(key)
        for start in range(0, len(keys), _PER_ROUND):
            some = keys[start : start + _PER_ROUND]
            began_at = time.thread_time()
            found = [reader.lookup(key) for key in some]
            rounds.append((time.thread_time() - began_at) * 1e6 / len(some))
            if None in found:
                raise RuntimeError("a row that was made is not found")
    finally:
        reader.close()
    return {
        "lookup_us": round(statistics.median(rounds), 1),
        "index_bytes": Path(index_path(store)).stat().st_size,
    }


def _keys(count: int) -> list[str]:
    chosen = random.Random(_SEED)  # the same keys in every run
    if count == WITH_FILES:
        return [key_of(chosen.randrange(count)) for _ in range(_LOOKUPS)]
    return [key_of_row(chosen.randrange(WITH_FILES, count)) for _ in range(_LOOKUPS)]


def _running(root: Path) -> dict[str, float]:
    mirror = Mirror(root, workers=1)
    mirror.start()
    try:
        first_hit_s = mirror.first_hit_s(RECORDED_OF)
        targets = [f"/index/be/nc/bench{number}" for number in range(0, WITH_FILES, RECORDED_OF)]
        ask_all(mirror.port, targets, _CONNECTIONS)
        held = pss_by_role(mirror.pids())
    finally:
        mirror.kill_all()
    return {
        "first_hit_s": round(first_hit_s, 3),
        "worker_pss_bytes": held["worker"],
        "keeper_pss_bytes": held["keeper"],
    }


def _points(rows: Sequence[dict[str, float]], name: str) -> list[tuple[float, float]]:
    return [(row["objects"], row[name]) for row in rows]

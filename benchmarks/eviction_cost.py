"""What eviction costs in a full store of many objects: milliseconds for a reservation that evicts.

    python -m benchmarks.eviction_cost [--objects N] [--rounds N] [--no-result]

The store is real but for its blobs, which are rows without files (removing a file that is absent
costs as much as removing one). Measures the medians of processor time and of time: reserving what
one object takes, so that one goes; the same within a class of content that is one in a thousand;
publishing a small object; a batch of 256 uses. Fails when an eviction takes more than `MOST_MS` of
processor time.

Runs in: benchmark; about a minute for a million objects.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median

from benchmarks.results import write_result
from mirror import config
from mirror.clock import SystemClock
from mirror.config import ByteSize
from mirror.store.budget import footprint
from mirror.store.entry import Entry
from mirror.store.files import RealFiles
from mirror.store.index import Index
from mirror.store.layout import Layout
from mirror.store.recovery import note_clean
from mirror.store.schema import UPSERT_ENTRY, entry_row
from mirror.store.store import Store

MOST_MS = 5.0
_LENGTH = 40_000
_RARE_OF = 1000  # every so many-th object is of the rare class
_CRATE, _RARE = 3, 1  # numbers of classes in the index
_BATCH = 256


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--no-result", action="store_true", help="print only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        settings = config.Store(
            path=f"{root}/store", budget=ByteSize(options.objects * footprint(_LENGTH))
        )
        state = config.State(path=f"{root}/state")
        os.makedirs(state.path)
        clock = SystemClock()
        Store.open(settings, state, RealFiles(), clock, None).close()
        begun = time.perf_counter()
        _fill(settings.path, options.objects)
        print(f"{options.objects} rows in {time.perf_counter() - begun:.0f} s")
        store = Store.open(settings, state, RealFiles(), clock, None)
        figures = _measured(store, options.objects, options.rounds)
        store.close()
    for name, (cpu, whole) in figures.items():
        print(f"{name:<32}{cpu:>8.2f} ms of the processor{whole:>9.2f} ms, in the median")
    if not options.no_result:
        result: dict[str, object] = {
            "objects": options.objects,
            "milliseconds": {name: [round(f, 3) for f in pair] for name, pair in figures.items()},
        }
        print(write_result("eviction_cost", result))
    return 0 if figures["reserve, evicting one"][0] <= MOST_MS else 1


def _digest(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


def _key(number: int) -> str:
    return f"crates:/crates/c{number}/c{number}-1.0.0.crate"


def _fill(path: str, objects: int) -> None:
    """Write rows as if so many objects had been stored and used in the last month."""
    index = Index.open(Layout(root=path).index)
    dice, now_ms = random.Random(1), int(time.time() * 1000)
    entry = Entry(
        key="", status=200, digest=b"", length=_LENGTH, media_type="application/gzip",
        last_modified=0, upstream_etag='"v"', upstream_last_modified="", fetched_at=1.0,
        confirmed_at=1.0, fresh_until=1e12, proof="index",
    )  # fmt: skip
    by_digest = sorted(range(objects), key=_digest)  # in order is many times quicker
    for first in range(0, objects, 50_000):
        numbers = by_digest[first : first + 50_000]
        with index.changing() as changes:
            changes._connection.executemany(
                "INSERT INTO blob (digest, length, inode, ctime_ns, used_at_ms, rank_ms, class,"
                " uses) VALUES (?, ?, 1, 1, ?, ?, ?, 3)",
                [
                    (_digest(n), _LENGTH, at_ms, at_ms, _CRATE if n % _RARE_OF else _RARE)
                    for n in numbers
                    for at_ms in [now_ms - dice.randrange(30 * 86_400_000)]
                ],
            )
            changes._connection.executemany(
                UPSERT_ENTRY,
                [entry_row(replace(entry, key=_key(n), digest=_digest(n))) for n in numbers],
            )
    note_clean(index)
    index.close()


def _measured(store: Store, objects: int, rounds: int) -> dict[str, tuple[float, float]]:
    dice = random.Random(2)

    def evict() -> None:
        reservation = store.reserve(_LENGTH)
        if reservation is None:
            raise SystemExit("no room: nothing was evicted")
        reservation.release()
        # What was freed is promised for good, so that the next one evicts too.
        store._budget.promise(footprint(_LENGTH), 0)

    def evict_rare() -> None:
        store._room.evict(store._room._victims(1, only=_RARE))
        store._budget.promise(footprint(_LENGTH), 0)

    fresh = (os.urandom(600) for _ in range(rounds))

    def publish() -> None:
        content = next(fresh)
        digest = hashlib.sha256(content).digest()
        entry = Entry(
            key=f"index:/{digest.hex()}", status=200, digest=digest, length=600,
            media_type="text/plain", last_modified=0, upstream_etag='"v"',
            upstream_last_modified="", fetched_at=1.0, confirmed_at=1.0, fresh_until=1e12,
            proof="parsed",
        )  # fmt: skip
        store.put_small([(entry, content)])

    def touch() -> None:
        store.touch([_key(dice.randrange(objects)) for _ in range(_BATCH)])

    return {
        "reserve, evicting one": _timed(evict, rounds),
        "evict one of a rare class": _timed(evict_rare, max(1, rounds // 10)),
        "publish, evicting one": _timed(publish, rounds),
        f"{_BATCH} uses": _timed(touch, rounds),
    }


def _timed(call: Callable[[], None], rounds: int) -> tuple[float, float]:
    """Return the medians of processor time and of time, in milliseconds."""
    spent = list(_spent_ms(call, rounds))
    return median(cpu for cpu, _ in spent), median(whole for _, whole in spent)


def _spent_ms(call: Callable[[], None], rounds: int) -> Iterator[tuple[float, float]]:
    for _ in range(rounds):
        begun_cpu, begun = time.thread_time(), time.perf_counter()
        call()
        whole = time.perf_counter() - begun
        yield 1000 * (time.thread_time() - begun_cpu), 1000 * whole


if __name__ == "__main__":
    sys.exit(main())

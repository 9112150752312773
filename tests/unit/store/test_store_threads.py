"""Many threads fill, replace, evict and read one store; nobody is served a wrong byte."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

from mirror.errors import StoreError
from mirror.store.reader import StoreReader
from mirror.store.store import Store
from tests.unit.store.bench import Bench, entry_of, publish, put, sha256
from tests.unit.store.steps import check_accounts, check_blobs

KIB = 1024
_ROUNDS = 60
_KEYS = 12


def _content(key: int, version: int) -> bytes:
    return (b"%d:%d," % (key, version)) * (KIB // 2)


def test_fills_evictions_and_readers_at_once(tmp_path: Path) -> None:
    bench = Bench(str(tmp_path), budget_bytes=96 * KIB)
    store = bench.open()
    over: list[int] = []
    wrong: list[int] = []
    errors: list[BaseException] = []
    stop = threading.Event()

    def write(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(_ROUNDS):
            _one_change(store, dice)
            if store.used_bytes > store.budget_bytes:
                over.append(store.used_bytes)

    def read() -> None:
        reader = StoreReader(bench.store_config.path, page=bench.page)
        while not stop.is_set():
            wrong.extend(key for key in range(_KEYS) if _is_wrong(reader, key))
        reader.close()

    def guarded(work: Callable[..., None], *values: int) -> None:
        try:
            work(*values)
        except BaseException as exc:
            errors.append(exc)

    writers = [threading.Thread(target=guarded, args=(write, seed)) for seed in range(4)]
    readers = [threading.Thread(target=guarded, args=(read,)) for _ in range(2)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join(timeout=60)
    stop.set()
    for thread in readers:
        thread.join(timeout=60)
    assert (errors, wrong, over) == ([], [], [])
    assert " 0 reserved" in repr(store)
    store.close()
    check_blobs(bench)
    again = bench.open()
    check_accounts(bench, again)
    again.close()


def _is_wrong(reader: StoreReader, key: int) -> bool:
    stored = reader.lookup(f"k{key}")
    content = reader.load_small(stored) if stored else b""
    return isinstance(content, bytes) and bool(content) and not content.startswith(b"%d:" % key)


def _one_change(store: Store, dice: random.Random) -> None:
    key = dice.randrange(_KEYS)
    content = _content(key, dice.randrange(3))
    name = f"k{key}"
    try:
        chance = dice.random()
        if chance < 0.4:
            publish(store, name, content)
        elif chance < 0.7:
            put(store, name, content, proof="parsed")
        elif chance < 0.8:
            store.adopt(sha256(content), entry_of(name, content))
        elif chance < 0.9:
            store.touch([name])
        else:
            store.withdraw([name])
    except StoreError:
        pass  # no room, or the same temp is being filled: both are answers

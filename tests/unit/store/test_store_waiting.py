"""Who waits for the disk: a file or directory sync of one operation holds up no other."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from mirror.store.store import Store
from tests.faults.files import FaultFiles
from tests.unit.store.bench import Bench, entry_of, publish, put, sha256

_DEADLINE_S = 20.0


class SlowDisk(FaultFiles):
    """A disk whose syncs, of files or of directories, wait until they are let go."""

    def __init__(self, slow: str) -> None:
        super().__init__()
        self._slow = slow
        self.is_slow = False
        self.reached = threading.Event()
        self.let_go = threading.Event()

    def sync(self, fd: int) -> None:
        self._wait("sync")
        super().sync(fd)

    def sync_directory(self, path: str) -> None:
        self._wait("sync_directory")
        super().sync_directory(path)

    def _wait(self, what: str) -> None:
        if self.is_slow and what == self._slow:
            self.reached.set()
            self.let_go.wait(_DEADLINE_S)


def _reserve(store: Store) -> None:
    reservation = store.reserve(1000)
    assert reservation is not None
    store.abandon(
        store.begin("p", digest=b"", validator="", length=1000, reservation=reservation), False
    )


def _adopt_absent(store: Store) -> None:
    assert store.adopt(sha256(b"absent"), entry_of("a", b"absent")) is None


def _adopt_present(store: Store) -> None:
    assert store.adopt(sha256(b"here"), entry_of("twin", b"here")) is not None


def _look_up(store: Store) -> None:
    assert store.lookup("here") is not None


@pytest.mark.parametrize("other", [_reserve, _adopt_absent, _adopt_present, _look_up])
@pytest.mark.parametrize("slow", ["sync", "sync_directory"])
@pytest.mark.parametrize("operation", ["publish", "put_small"])
def test_nobody_waits_for_the_syncs_of_another(
    bench: Bench, operation: str, slow: str, other: Callable[[Store], None]
) -> None:
    files = SlowDisk(slow)
    store = bench.open(files)
    put(store, "here", b"here")
    run = publish if operation == "publish" else put
    writer = threading.Thread(target=run, args=(store, "k", b"content"))
    files.is_slow = True
    writer.start()
    assert files.reached.wait(_DEADLINE_S)
    done = threading.Thread(target=other, args=(store,))
    done.start()
    done.join(_DEADLINE_S / 4)
    is_held_up = done.is_alive()
    assert store.lookup("k") is None  # not visible before it is durable
    files.let_go.set()
    writer.join(_DEADLINE_S)
    done.join(_DEADLINE_S)
    assert not is_held_up
    assert store.lookup("k") is not None
    store.close()


def test_a_reservation_that_fits_does_not_wait_for_a_commit(store: Store) -> None:
    with store._lock, store.index.changing():  # what a commit holds
        taken: list[object] = []
        thread = threading.Thread(target=lambda: taken.append(store.reserve(1000)))
        thread.start()
        thread.join(_DEADLINE_S)
        assert taken != [None]
    assert len(taken) == 1

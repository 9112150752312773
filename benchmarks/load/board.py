"""The board that all runners look at: which release was published, and whether the day is over.

Rules:
1. Who rests is woken by both, so that a release is asked for by all at once.
2. Each release is a file `release-<n>.json`, complete when it has its name; `watch` reads them in
   order.

Units: seconds. Runs in: benchmark, both environments.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

from benchmarks.load.catalogue import Toolchain, to_json, toolchain_from

_LOOK_EVERY_S = 0.1


class Board:
    """`number` counts the releases that were posted; `release` is the last of them."""

    def __init__(self) -> None:
        self.number = 0
        self.release: Toolchain | None = None
        self.is_over = False
        self._news = threading.Event()

    def rest(self, seconds: float) -> None:
        """Return after so long, or as soon as something is posted; at once when the day is over."""
        if not self.is_over:
            self._news.wait(seconds)

    def post(self, release: Toolchain) -> None:
        self.number += 1
        self.release = release
        self._tell()

    def close(self) -> None:
        self.is_over = True
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, threading.Event()
        news.set()

    def watch(self, folder: Path) -> None:
        """Post what is published into the folder, until the day is over."""
        while not self.is_over:
            path = release_file(folder, self.number + 1)
            if path.exists():
                self.post(toolchain_from(json.loads(path.read_text())))
            else:
                self.rest(_LOOK_EVERY_S)


def release_file(folder: Path, number: int) -> Path:
    return folder / f"release-{number}.json"


def publish(folder: Path, number: int, release: Toolchain) -> None:
    """Write the release for `watch`; the first has number 1."""
    path = release_file(folder, number)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(to_json(release)))
    unfinished.rename(path)

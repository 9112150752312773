"""Temps of small objects: written whole, synced together, gone when the block ends.

Rules:
1. They carry no record: a crash's leftovers are swept at the next start.
2. Up to `_GROUP` are written before the first is synced, so that the disk takes them in one go
   and the process does not run out of descriptors.

Runs in: keeper (any of its threads; each call has its own names).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping

from mirror.store.files import Files, disk_errors, write_all
from mirror.store.layout import Layout
from mirror.store.leftovers import Leftovers
from mirror.store.publishing import Arrival

_GROUP = 64


class SmallTemps:
    """Makes temps in the directory of partials."""

    def __init__(self, files: Files, layout: Layout, leftovers: Leftovers) -> None:
        self._leftovers = leftovers
        self._files = files
        self._layout = layout
        self._numbers = itertools.count()

    @contextlib.contextmanager
    def written(self, contents: Mapping[bytes, bytes]) -> Iterator[list[Arrival]]:
        """Hold a synced temp per content (by digest) for the block. Raises StoreError."""
        arrivals = [
            Arrival(temp_path=self._name(digest), digest=digest, length=len(content))
            for digest, content in contents.items()
        ]
        try:
            with disk_errors(self._layout.partials):
                for start in range(0, len(arrivals), _GROUP):
                    self._write(arrivals[start : start + _GROUP], contents)
            yield arrivals
        finally:
            for arrival in arrivals:  # the published ones are gone already
                self._leftovers.remove(arrival.temp_path)

    def _write(self, arrivals: list[Arrival], contents: Mapping[bytes, bytes]) -> None:
        open_files: list[int] = []
        try:
            for arrival in arrivals:
                fd = self._files.create(arrival.temp_path)
                open_files.append(fd)
                write_all(self._files, fd, contents[arrival.digest], 0)
            for fd in open_files:
                self._files.sync(fd)
        finally:
            for fd in open_files:
                with contextlib.suppress(OSError):
                    self._files.close(fd)

    def _name(self, digest: bytes) -> str:
        number = next(self._numbers)
        return self._layout.partial(f"small-{number}-{digest.hex()}.tmp")

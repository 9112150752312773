"""How far a check is: a bar on a terminal, a line now and then elsewhere.

Rules:
1. Progress goes to standard error, results to standard output.

Units: bytes, seconds.
Runs in: commands (rich is imported here; `serve` never imports this).
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichProgress

from mirror.cli.tables import size_text
from mirror.store.inspection import Extent

LINE_EVERY_S = 10.0


class Progress:
    """Shows the two halves of a check: files by bytes, entries by number."""

    def __init__(self, *, is_shown: bool, line_every_s: float = LINE_EVERY_S) -> None:
        self._line_every_s = line_every_s
        self._bars = _bars() if is_shown and sys.stderr.isatty() else None
        self._tells_lines = is_shown and self._bars is None
        self._extent = Extent(entries=0, blobs=0, blob_bytes=0)
        self._read_bytes = 0
        self._files = 0
        self._entries = 0
        self._told_at = time.monotonic()
        self._reading: TaskID | None = None
        self._judging: TaskID | None = None

    def begin(self, extent: Extent) -> None:
        self._extent = extent
        if self._bars is not None:
            self._reading = self._bars.add_task("files", total=extent.blob_bytes)
            self._judging = self._bars.add_task("vouchers", total=extent.entries, visible=False)

    def begin_comparing(self, total: int) -> None:
        """Show a comparison of `total` objects with upstream."""
        self._extent = Extent(entries=total, blobs=0, blob_bytes=0)
        if self._bars is not None:
            self._judging = self._bars.add_task("objects", total=total)

    def read(self, size_bytes: int) -> None:
        self._read_bytes += size_bytes
        if self._bars is not None and self._reading is not None:
            self._bars.advance(self._reading, size_bytes)
        self._tell()

    def file_done(self) -> None:
        self._files += 1
        if self._bars is not None and self._reading is not None:
            self._bars.update(self._reading, description=f"files {self._files:,}")

    def entry_done(self) -> None:
        self._entries += 1
        if self._bars is not None and self._judging is not None:
            self._bars.update(self._judging, advance=1, visible=True)
        self._tell()

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def _tell(self) -> None:
        if not self._tells_lines or time.monotonic() < self._told_at + self._line_every_s:
            return
        self._told_at = time.monotonic()
        extent = self._extent
        read = (
            f"read {size_text(self._read_bytes)} of {size_text(extent.blob_bytes)},"
            f" {self._files:,} of {extent.blobs:,} files; "
        )
        compared = f"compared {self._entries:,} of {extent.entries:,} objects"
        click.echo((read if extent.blobs else "") + compared, err=True)


def _bars() -> RichProgress:
    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )

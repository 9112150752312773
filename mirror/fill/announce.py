"""Progress of growing files to one connection: one message per file and loop turn.

Rules:
1. However often a file moves in a turn, and however many streams follow it here, one PROGRESS
   goes out, with the newest state.
2. While the peer does not read, moves are only remembered; the newest state goes when it does.
3. The end of a file is always announced, and is the last that is said of it.

Runs in: keeper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mirror.fill.growing import GrowingFile
from mirror.fill.messages import Progress


class Announcer:
    """Which streams of one connection follow which files."""

    def __init__(self, send: Callable[[Progress], None]) -> None:
        self._send = send
        self._streams: dict[int, GrowingFile] = {}
        self._followers: dict[GrowingFile, int] = {}
        self._moved_files: dict[GrowingFile, None] = {}
        self._is_scheduled = False
        self._is_paused = False

    def __len__(self) -> int:
        return len(self._streams)

    def follow(self, stream: int, file: GrowingFile) -> None:
        """Announce every move of `file` from here on; call right after its ANSWER was sent."""
        self._streams[stream] = file
        self._followers[file] = self._followers.get(file, 0) + 1
        if file.is_over:
            self._moved(file)
        else:
            file.subscribe(self._moved)

    def leave(self, stream: int) -> bool:
        """Nobody waits on `stream` any more. False: it follows nothing."""
        file = self._streams.pop(stream, None)
        if file is None:
            return False
        self._followers[file] -= 1
        if not self._followers[file]:
            self._drop(file)
        return True

    def pause(self) -> None:
        self._is_paused = True

    def resume(self) -> None:
        self._is_paused = False
        self._flush()

    def close(self) -> None:
        for file in tuple(self._followers):
            self._drop(file)
        self._streams.clear()

    def _drop(self, file: GrowingFile) -> None:
        file.unsubscribe(self._moved)
        self._followers.pop(file, None)
        self._moved_files.pop(file, None)

    def _moved(self, file: GrowingFile) -> None:
        self._moved_files[file] = None
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._is_scheduled = False
        self._flush()

    def _flush(self) -> None:
        if self._is_paused:
            return
        moved, self._moved_files = self._moved_files, {}
        for file in moved:
            self._send(file.progress())
            if file.is_over:
                self._streams = {s: f for s, f in self._streams.items() if f is not file}
                self._drop(file)

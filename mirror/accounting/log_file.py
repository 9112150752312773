"""The file of the access log: opened, followed when it is moved away, appended to.

Rules:
1. Before each batch the path is looked at: a file that was moved away is followed by a new one.
2. To a regular file a batch is one O_APPEND write, which other processes' writes do not tear; to a
   pipe it is one write per line, because only so much is untorn there.
3. A line is written whole or is said not to be; what was cut is ended before the next line.

Does not: rotate; that is logrotate's.
Runs in: worker and keeper (in the log's thread), commands (`check_access_log`).
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Final

from mirror.config import Config
from mirror.errors import ConfigError

MODE: Final = 0o640  # lines name clients' addresses


class LogFile:
    """The open file: the one that stands at `path`, also after that was moved away."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = -1
        self._is_regular = True
        self._is_cut = False  # the last write ended within a line

    def append(self, lines: bytes) -> tuple[int, str]:
        """Return how many bytes of whole lines were written, and why not the others."""
        try:
            self._open_if_moved()
        except OSError as exc:
            return 0, exc.strerror or "cannot be opened"
        if self._is_regular:
            return self._append_at_once(lines)
        done = 0
        while done < len(lines):
            end = lines.index(b"\n", done) + 1
            try:
                os.write(self._descriptor, lines[done:end])
            except OSError as exc:
                return done, exc.strerror or "cannot be written"
            done = end
        return done, ""

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _append_at_once(self, lines: bytes) -> tuple[int, str]:
        content = memoryview(lines)
        done, error = 0, ""
        try:
            if self._is_cut:
                os.write(self._descriptor, b"\n")
                self._is_cut = False
            while done < len(content):
                done += os.write(self._descriptor, content[done:])
        except OSError as exc:
            error = exc.strerror or "cannot be written"
        whole = lines.rfind(b"\n", 0, done) + 1
        self._is_cut = self._is_cut or done > whole
        return whole, error

    def _open_if_moved(self) -> None:
        """Raises: OSError."""
        if self._descriptor >= 0:
            with contextlib.suppress(FileNotFoundError):
                there, ours = os.stat(self.path), os.fstat(self._descriptor)
                if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                    return
            self.close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
        self._descriptor = os.open(self.path, flags, MODE)
        self._is_regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._is_cut = False


def check_access_log(config: Config) -> None:
    """Raises ConfigError when the log could not be written. An empty path is no log."""
    path = config.log.access
    if not path:
        return
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        raise ConfigError("log.access", path, "the path of a file; this is a directory")
    if path.startswith(config.store.path.rstrip("/") + "/"):
        raise ConfigError("log.access", path, "a file outside store.path, which is swept")
    if not os.path.isdir(folder):
        raise ConfigError("log.access", path, f"a file in a directory that exists: make {folder}")
    target = path if os.path.exists(path) else folder
    if not os.access(target, os.W_OK):
        raise ConfigError("log.access", path, f"a file that this user can write: {target} is not")

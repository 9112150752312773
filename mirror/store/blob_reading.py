"""Blobs read whole and judged against their names: the one way for requests, scrub and `verify`.

Rules:
1. What is read aside leaves the page cache as it was to those who serve: what was in it stays, what
   this read brought in goes again (`Files.pread_aside`).
2. A file that changes while it is read is told, never judged.
3. What was in the page cache is read from there: rot of the disk beneath cached pages is seen when
   they have left it.

Units: bytes.
Does not: know the index, or act on a judgement.
Runs in: commands and keeper; a thread (about 1 s per GB).
"""

from __future__ import annotations

import enum
import errno
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mirror.store.entry import Attestation
from mirror.store.files import REAL_FILES, Files

STEP_BYTES = 1 << 20  # large enough that hashlib works without the interpreter lock


class ChangedError(OSError):
    """The file is another one, or has another size, than when its reading began."""


class Fault(enum.Enum):
    """What is wrong with a file, as a reason for people."""

    ABSENT = "the file is missing"
    MOVING = "it keeps changing"
    UNREADABLE = "the file cannot be read"
    OTHER_CONTENT = "the file is not what its name says"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """`fault` None: the file is what its name says. `attestation` and `got`, the digest of its
    content, are there when it was read whole; `error` when it could not be read."""

    fault: Fault | None
    attestation: Attestation | None = None
    got: bytes = b""
    error: OSError | None = None


def _unwatched(_nbytes: int) -> None:
    """Progress that nobody looks at."""


def judge(
    path: str,
    digest: bytes,
    *,
    files: Files = REAL_FILES,
    is_aside: bool = True,
    step_bytes: int = STEP_BYTES,
    progress: Callable[[int], None] = _unwatched,
) -> Judgement:
    """Hash the file at `path` and compare; `progress` gets the bytes of each step.

    What `progress` raises ends the reading and passes through, unless it is an OSError.
    """
    running = hashlib.sha256()
    try:
        reading = _Reading(files, path, is_aside=is_aside, step_bytes=step_bytes)
        for piece in reading.pieces():
            running.update(piece)
            progress(len(piece))
    except FileNotFoundError as exc:
        return Judgement(fault=Fault.ABSENT, error=exc)
    except ChangedError as exc:
        return Judgement(fault=Fault.MOVING, error=exc)
    except OSError as exc:
        return Judgement(fault=Fault.UNREADABLE, error=exc)
    got = running.digest()
    fault = None if got == digest else Fault.OTHER_CONTENT
    return Judgement(fault=fault, attestation=reading.before, got=got)


def read_pieces(path: str, files: Files = REAL_FILES) -> Iterator[bytes]:
    """Yield the content of a regular file, read aside. Raises OSError; ChangedError at its end."""
    return _Reading(files, path, is_aside=True, step_bytes=STEP_BYTES).pieces()


class _Reading:
    """One file, from its first byte to its last; `before` is known once it is open."""

    def __init__(self, files: Files, path: str, *, is_aside: bool, step_bytes: int) -> None:
        self._files = files
        self._path = path
        self._open = files.open_aside if is_aside else files.open_read
        self._pread = files.pread_aside if is_aside else files.pread
        self._step_bytes = step_bytes
        self.before: Attestation | None = None

    def pieces(self) -> Iterator[bytes]:
        fd = self._open(self._path)
        try:
            before = self.before = self._files.identify(fd)
            at = 0
            # Not to the end of a file that somebody appends to as fast as it is read; one byte
            # beyond the size is asked for, so that growth is seen.
            while at <= before.size:
                piece = self._pread(fd, min(self._step_bytes, before.size - at + 1), at)
                if not piece:
                    break
                yield piece
                at += len(piece)
            if at != before.size or self._files.identify(fd) != before:
                raise ChangedError(errno.ESTALE, "changed while it was read")
        finally:
            self._files.close(fd)


def identify(path: str, files: Files = REAL_FILES) -> Attestation | None:
    """Return which file lies there; None when it is absent or no regular file."""
    try:
        return files.identify_path(path)
    except OSError:
        return None

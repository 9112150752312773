"""The blob files: `blobs/ab/cd/<sha256>`, immutable, named by their content.

Rules:
1. A name appears by rename of a synced file, and counts only after `sync_names`.
2. A blob's directories are synced into their parents before the first name goes into them.
3. `judge` trusts no record: it reads the whole file and notices a change meanwhile.

Units: bytes.
Does not: know the index.
Runs in: keeper (any thread; one per blob at a time).
"""

from __future__ import annotations

import contextlib
import os.path
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mirror.store.blob_reading import Judgement, judge
from mirror.store.entry import Attestation
from mirror.store.files import Files, unlink_if_there
from mirror.store.layout import Layout, digest_of_name

_DIRECTORY_MODE = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobSeen:
    """A blob file: the digest that its name states, and which file that was."""

    digest: bytes
    attestation: Attestation


class BlobFiles:
    """The tree below `blobs/`."""

    def __init__(self, files: Files, layout: Layout) -> None:
        self._files = files
        self._layout = layout
        self._known: set[str] = set()
        self._making = threading.Lock()

    def prepare_directories(self, digests: Iterable[bytes]) -> None:
        """Make the directories of blobs that are about to be placed. Raises OSError."""
        inner = {os.path.dirname(self._layout.blob(digest)) for digest in digests}
        # Outer ones first; and one thread at a time: who finds a directory that another one has
        # just made must not go on before its name is durable.
        with self._making:
            self._make({os.path.dirname(directory) for directory in inner})
            self._make(inner)

    def place(self, temp_path: str, digest: bytes) -> None:
        """Rename a synced temp to its name. Raises OSError; then the name is as it was."""
        path = self._layout.blob(digest)
        try:
            self._files.rename(temp_path, path)
        except FileNotFoundError:  # somebody tidied up: the next one makes the directories again
            with self._making:
                inner = os.path.dirname(path)
                self._known -= {inner, os.path.dirname(inner)}
            raise

    def sync_names(self, digests: Iterable[bytes]) -> None:
        for directory in sorted({os.path.dirname(self._layout.blob(d)) for d in digests}):
            self._files.sync_directory(directory)

    def identify(self, digest: bytes) -> Attestation | None:
        """Return the file's identity; None when it is absent or no regular file."""
        try:
            return self._files.identify_path(self._layout.blob(digest))
        except OSError:
            return None

    def judge(self, digest: bytes) -> Judgement:
        """Hash the file whole for somebody who is about to read it."""
        return judge(self._layout.blob(digest), digest, files=self._files, is_aside=False)

    def remove(self, digest: bytes) -> None:
        unlink_if_there(self._files, self._layout.blob(digest))

    def names(self) -> Iterator[bytes]:
        """Yield the digest that the name of every file states which lies in its place.

        Raises: OSError.
        """
        root = self._layout.blobs
        for outer in self._directories(root):
            for inner in self._directories(f"{root}/{outer}"):
                for name in self._names_in(f"{root}/{outer}/{inner}"):
                    digest = digest_of_name(name)
                    if digest is not None and name[:4] == outer + inner:
                        yield digest

    def _make(self, directories: set[str]) -> None:
        unknown = sorted(directories - self._known)
        made = [d for d in unknown if self._files.make_directory(d, _DIRECTORY_MODE)]
        for parent in sorted({os.path.dirname(directory) for directory in made}):
            self._files.sync_directory(parent)
        self._known.update(unknown)

    def _directories(self, path: str) -> list[str]:
        return [name for name in self._names_in(path) if len(name) == 2]

    def _names_in(self, path: str) -> list[str]:
        with contextlib.suppress(NotADirectoryError):  # somebody's file among ours
            return self._files.list_directory(path)
        return []

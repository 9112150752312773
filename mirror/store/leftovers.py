"""Files that should be gone and are not, because the disk refused: removed when it lets them go.

Rules:
1. They are no blob's and no flight's, so they count nowhere. A disk that refuses to remove them is
   in trouble: nothing is stored until they are gone, and so the sum on it does not grow.
2. What a crash leaves of them the next start removes.

Does not: remove blobs that have, or are about to have, a row (`room`).
Runs in: keeper (any thread).
"""

from __future__ import annotations

import threading

from mirror.store.files import Files, disk_errors, store_error, unlink_if_there
from mirror.store.trouble import StoreTrouble


class Leftovers:
    """The temps of one store that could not be removed."""

    def __init__(self, files: Files, trouble: StoreTrouble) -> None:
        self._files = files
        self._trouble = trouble
        self._lock = threading.Lock()
        self._paths: set[str] = set()

    def remove(self, path: str) -> None:
        """Remove the file, at once or later; its name must not be used again."""
        try:
            unlink_if_there(self._files, path)
        except OSError as exc:
            with self._lock:
                self._paths.add(path)
            self._trouble.met(store_error(path, exc))

    def taken(self, path: str) -> None:
        """Somebody has made another file of this name."""
        with self._lock:
            self._paths.discard(path)

    def clear(self) -> None:
        """Remove what is left. Raises StoreError."""
        with self._lock:
            paths = tuple(self._paths)
        for path in paths:
            with disk_errors(path), self._lock:
                if path in self._paths:
                    unlink_if_there(self._files, path)
                    self._paths.discard(path)

    def __repr__(self) -> str:
        return f"<Leftovers {len(self._paths)} files>"

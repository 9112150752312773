"""Bytes that disagreed with what their publisher said: kept for a look, bounded, never served.

Rules:
1. The newest stay; the oldest go when the bytes pass the budget or the number `MAX_RECORDS`.
2. Bytes that alone pass the budget are not kept; their reason still is.
3. Quarantining must not fail the caller: what cannot be moved is removed.

Units: bytes.
Runs in: keeper; callers hold the store's lock.
"""

from __future__ import annotations

import contextlib

import msgspec

from mirror.store.files import Files, replace_file, unlink_if_there
from mirror.store.layout import RECORD_SUFFIX, Layout

MAX_RECORDS = 1000  # a broken upstream path could otherwise fill a directory


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a file lies here; `got` is the digest of its bytes."""

    keys: tuple[str, ...]
    expected: str
    got: str
    length: int
    reason: str
    at: float


class Quarantine:
    """The directory of quarantined files."""

    def __init__(self, files: Files, layout: Layout, budget_bytes: int) -> None:
        self._files = files
        self._layout = layout
        self._budget_bytes = budget_bytes
        self._sizes: dict[str, int] = {}

    @property
    def used_bytes(self) -> int:
        return sum(self._sizes.values())

    def __len__(self) -> int:
        return len(self._sizes)

    def load(self) -> None:
        """Count what lies there. Raises OSError."""
        root = self._layout.quarantine
        names = sorted(self._files.list_directory(root))
        for name in names:
            base = name.removesuffix(RECORD_SUFFIX)
            if name == base or base not in names:
                self._sizes[base] = self._size(f"{root}/{base}")
        self._trim()

    def take(self, path: str, reason: Reason) -> None:
        """Move the file at `path` here, or remove it when that cannot be."""
        name = f"{int(reason.at * 1000):015d}-{reason.got[:16] or 'none'}"
        target = f"{self._layout.quarantine}/{name}"
        try:
            replace_file(
                self._files, target + RECORD_SUFFIX, msgspec.json.encode(reason), durable=False
            )
            self._sizes[name] = 0
            if reason.length <= self._budget_bytes:
                self._files.rename(path, target)
                self._sizes[name] = reason.length
        except OSError:
            pass  # rule 3
        with contextlib.suppress(OSError):
            unlink_if_there(self._files, path)
        self._trim()

    def _trim(self) -> None:
        for name in sorted(self._sizes):
            if self.used_bytes <= self._budget_bytes and len(self._sizes) <= MAX_RECORDS:
                return
            for path in (name, name + RECORD_SUFFIX):
                with contextlib.suppress(OSError):
                    unlink_if_there(self._files, f"{self._layout.quarantine}/{path}")
            del self._sizes[name]

    def _size(self, path: str) -> int:
        try:
            return self._files.identify_path(path).size
        except OSError:
            return 0

"""What `doctor` reads of the store and the state directory.

Rule: it reads beside a running mirror, writes nothing, and ends after the time allowed.

Units: bytes, seconds.
Runs in: commands.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from mirror.config import Config
from mirror.doctor.store_health import Condition, Contents, Database
from mirror.errors import StoreError
from mirror.store.examining import Outcome, examine
from mirror.store.inspection import Inspection
from mirror.store.layout import FORMAT, RECORD_SUFFIX, Layout
from mirror.store.schema import INDEX_VERSION
from mirror.store.state import STATE_NAME, STATE_VERSION

CHECK_S = 3.0  # of each database; a million objects take longer, and that is said
_FORMAT_LIMIT_BYTES = 4096


def read_contents(config: Config) -> Contents:
    """Raises: nothing; what may not be read is in `trouble`."""
    layout = Layout(root=config.store.path)
    now, until = time.time(), time.monotonic() + CHECK_S
    try:
        parts = list(_files(layout.partials, until))
        kept = list(_files(layout.quarantine, until))
        stated = _format(layout.format)
        has_blobs = _has_blobs(layout.blobs)
    except OSError as exc:
        return Contents(
            path=layout.root,
            format_found=None,
            format_wanted=FORMAT.strip(),
            has_blobs=False,
            trouble=exc.strerror or "cannot be read",
        )
    return Contents(
        path=layout.root,
        format_found=stated,
        format_wanted=FORMAT.strip(),
        has_blobs=has_blobs,
        parts=len(parts),
        part_bytes=sum(size for size, _ in parts),
        oldest_part_s=max((now - changed_at for _, changed_at in parts), default=0.0),
        quarantined=len(kept),
        quarantine_bytes=sum(size for size, _ in kept),
    )


def read_index(config: Config) -> Database:
    layout = Layout(root=config.store.path)
    found = examine(layout.index, range(INDEX_VERSION, INDEX_VERSION + 1), CHECK_S)
    counted = ""
    if found.outcome in (Outcome.SOUND, Outcome.UNFINISHED):
        with contextlib.suppress(StoreError), contextlib.closing(_inspect(config)) as index:
            extent = index.extent()
            counted = f"{extent.entries:,} keys, {extent.blobs:,} files"
    condition = Condition[found.outcome.name]
    return Database(path=layout.index, condition=condition, trouble=found.reason, counted=counted)


def read_state(config: Config) -> Database:
    path = f"{config.state.path}/{STATE_NAME}"
    found = examine(path, range(STATE_VERSION + 1), CHECK_S)  # earlier ones are brought forward
    return Database(path=path, condition=Condition[found.outcome.name], trouble=found.reason)


def used_bytes(config: Config) -> int | None:
    """Return the bytes stored as the index says; None: it does not."""
    try:
        os.stat(Layout(root=config.store.path).index)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError:
        return None
    try:
        with contextlib.closing(_inspect(config)) as index:
            return index.extent().blob_bytes
    except StoreError:
        return None


def _inspect(config: Config) -> Inspection:
    return Inspection(config.store.path)


def _files(folder: str, until: float) -> Iterator[tuple[int, float]]:
    """Yield size and time of change of the files, without the records beside them."""
    try:
        listing = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with listing:
        for item in listing:
            if time.monotonic() > until:
                return
            with contextlib.suppress(FileNotFoundError):
                if not item.name.endswith(RECORD_SUFFIX) and item.is_file(follow_symlinks=False):
                    status = item.stat(follow_symlinks=False)
                    yield status.st_size, status.st_mtime


def _format(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read(_FORMAT_LIMIT_BYTES).decode("ascii", "replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _has_blobs(folder: str) -> bool:
    """Whether at least one file lies in the two levels of directories."""
    try:
        for first in os.listdir(folder):
            for second in os.listdir(f"{folder}/{first}"):
                with os.scandir(f"{folder}/{first}/{second}") as listing:
                    if next(listing, None) is not None:
                        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    return False

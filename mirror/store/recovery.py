"""What is done before a store is used: open the index or make an empty one, settle what a crash
left. What takes longer is `repair`'s, in the background.

Rules:
1. A killed process leaves at most: files that `arriving` announces, files that `doomed` condemns,
   temps. All three are settled without reading a blob.
2. After another boot without a clean close the kernel may have lost what was never synced: the
   index is to be checked whole and compared with the blob tree.
3. What is to be repaired is a fact of the index from the commit on that makes it usable, and stays
   until it is done: a process that dies meanwhile leaves it to the next one.
4. The database file goes before its log: a log without a database is ignored by SQLite, a database
   without its log would be an older state of it.

Runs in: keeper, before it listens (and again when the index is found damaged).
"""

from __future__ import annotations

import contextlib
import enum

from mirror.errors import StoreError
from mirror.store.blobs import BlobFiles, BlobSeen
from mirror.store.changes import Changes
from mirror.store.connections import DatabaseDamagedError
from mirror.store.files import Files, disk_errors, unlink_if_there
from mirror.store.index import Index
from mirror.store.layout import Layout

_BOOT_ID_PATH = "/proc/sys/kernel/random/boot_id"
_BOOT_FACT = "boot"
_CLEAN = "clean"  # in the place of a boot: the store was closed in order
_NEED_FACT = "repair"


class Need(enum.Enum):
    """What is to be repaired."""

    NOTHING = ""
    RESCAN = "rescan"  # the index knows nothing of what is on the disk
    CHECK = "check"  # a power cut may have taken something from either


def boot_id(files: Files) -> str:
    """Return a name for this run of the kernel; "" when it has none (then nothing is trusted)."""
    with contextlib.suppress(OSError):
        fd = files.open_read(_BOOT_ID_PATH)
        try:
            return files.pread(fd, 64, 0).decode("ascii", "replace").strip()
        finally:
            files.close(fd)
    return ""


def open_index(files: Files, layout: Layout, boot: str) -> tuple[Index, Need]:
    """Open the index, or make an empty one; and say what is to be repaired.

    Raises: StoreError.
    """
    if _is_there(files, layout.index):
        with contextlib.suppress(DatabaseDamagedError):
            index = Index.open(layout.index)
            return index, _need_of(index, boot)
    with disk_errors(layout.index):
        discard_index(files, layout)
        is_empty = not files.list_directory(layout.blobs)
    return Index.create(layout.index), Need.NOTHING if is_empty else Need.RESCAN


def discard_index(files: Files, layout: Layout) -> None:
    """Remove the index and its log, in this order (rule 4). Raises OSError."""
    for suffix in ("", "-wal", "-shm"):
        unlink_if_there(files, layout.index + suffix)


def settle(index: Index, blobs: BlobFiles) -> None:
    """Finish what the last process began: removals, and files that came without their rows."""
    with index.changing() as changes:
        doomed, arriving = changes.doomed(), changes.arriving()
    with disk_errors("blobs"):
        for digest in doomed:
            blobs.remove(digest)
    with index.changing() as changes:
        for digest in arriving:
            identity = blobs.identify(digest)
            if identity is not None:
                put_seen(changes, BlobSeen(digest=digest, attestation=identity))
        changes.clear_doomed()
        changes.arrived(arriving)


def put_seen(changes: Changes, blob: BlobSeen) -> None:
    """Give a file its row, unread, if it has none; the time of its last change stands in for that
    of its last use."""
    if changes.blob_length(blob.digest) is None:
        used_at_ms = blob.attestation.ctime_ns // 1_000_000
        changes.put_unattested_blob(blob.digest, blob.attestation.size, used_at_ms)


def note_need(index: Index, boot: str, need: Need) -> None:
    """Say what is to be repaired, and that this boot of the kernel knows. Raises StoreError.

    Durable: a power cut that took this commit would take those behind it too, and leave the word of
    the last close that everything is on the disk. Files would be there that nobody counts.
    """
    with index.changing(durable=True) as changes:
        changes.set_fact(_BOOT_FACT, boot)
        changes.set_fact(_NEED_FACT, need.value)


def note_clean(index: Index) -> None:
    """Say that everything is on the disk; the last change before a close. Raises StoreError."""
    with index.changing(durable=True) as changes:
        changes.set_fact(_BOOT_FACT, _CLEAN)


def _need_of(index: Index, boot: str) -> Need:
    try:
        last_boot, need = index.fact(_BOOT_FACT), index.fact(_NEED_FACT)
    except StoreError:
        index.close()
        raise
    is_trusted = last_boot == _CLEAN or (bool(boot) and last_boot == boot)
    return Need(need) if is_trusted else Need.CHECK


def _is_there(files: Files, path: str) -> bool:
    try:
        files.identify_path(path)
    except OSError:
        return False
    return True

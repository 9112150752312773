"""What is done before a store is used: open the index or make it again, settle what a crash left.

Rules:
1. A killed process leaves at most: files that `arriving` announces, files that `doomed` condemns,
   temps. All three are settled without reading a blob.
2. After another boot without a clean close the kernel may have lost what was never synced: the
   index is checked whole and the blob tree is compared with it.
3. A rescan hashes nothing: rows are written unattested, and the first request for one has it
   hashed then.
4. The database file goes before its log: a log without a database is ignored by SQLite, a database
   without its log would be an older state of it.

Runs in: keeper, before it listens (and again when the index is found damaged).
"""

from __future__ import annotations

import contextlib
from itertools import islice

from mirror.errors import StoreError
from mirror.store.blobs import BlobFiles, BlobSeen
from mirror.store.changes import Changes
from mirror.store.connections import DatabaseDamagedError
from mirror.store.entry import Entry
from mirror.store.files import Files, disk_errors, unlink_if_there
from mirror.store.heads import Heads
from mirror.store.index import Index
from mirror.store.layout import Layout

_BOOT_ID_PATH = "/proc/sys/kernel/random/boot_id"
_BOOT_FACT = "boot"
_CLEAN = "clean"  # in the place of a boot: the store was closed in order
_ROWS_PER_COMMIT = 2000


def boot_id(files: Files) -> str:
    """Return a name for this run of the kernel; "" when it has none (then nothing is trusted)."""
    with contextlib.suppress(OSError):
        fd = files.open_read(_BOOT_ID_PATH)
        try:
            return files.pread(fd, 64, 0).decode("ascii", "replace").strip()
        finally:
            files.close(fd)
    return ""


def open_index(files: Files, layout: Layout, boot: str) -> tuple[Index, bool]:
    """Open the index, or make an empty one; True when the blob tree must be scanned.

    Raises: StoreError.
    """
    if _is_there(files, layout.index):
        with contextlib.suppress(DatabaseDamagedError):
            return _open_existing(layout, boot)
    with disk_errors(layout.index):
        discard_index(files, layout)
    return Index.create(layout.index), True


def discard_index(files: Files, layout: Layout) -> None:
    """Remove the index and its log, in this order (rule 4). Raises OSError."""
    for suffix in ("", "-wal", "-shm"):
        unlink_if_there(files, layout.index + suffix)


def rescan(index: Index, blobs: BlobFiles, heads: Heads) -> int:
    """Bring blobs without a row, and the entries of heads, into the index; return how many blobs.

    Raises: StoreError.
    """
    found = 0
    with disk_errors("blobs"):
        seen = blobs.scan()
        while batch := list(islice(seen, _ROWS_PER_COMMIT)):
            with index.changing() as changes:
                found += sum(_put_seen(changes, blob) for blob in batch)
        entries = heads.load()
        while heads_batch := list(islice(entries, _ROWS_PER_COMMIT)):
            with index.changing() as changes:
                for entry in heads_batch:
                    _put_head(changes, entry)
    return found


def settle(index: Index, blobs: BlobFiles, boot: str) -> None:
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
                _put_seen(changes, BlobSeen(digest=digest, attestation=identity))
        changes.clear_doomed()
        changes.arrived(arriving)
        changes.set_fact(_BOOT_FACT, boot)


def note_clean(index: Index) -> None:
    """Say that everything is on the disk; the last change before a close. Raises StoreError."""
    with index.changing(durable=True) as changes:
        changes.set_fact(_BOOT_FACT, _CLEAN)


def _open_existing(layout: Layout, boot: str) -> tuple[Index, bool]:
    index = Index.open(layout.index)
    try:
        last_boot = index.fact(_BOOT_FACT)
        is_trusted = last_boot == _CLEAN or (bool(boot) and last_boot == boot)
        if not is_trusted:
            index.require_sound()
    except StoreError:
        index.close()
        raise
    return index, not is_trusted


def _put_seen(changes: Changes, blob: BlobSeen) -> bool:
    if changes.blob_length(blob.digest) is not None:
        return False
    used_at_ms = blob.attestation.ctime_ns // 1_000_000
    changes.put_unattested_blob(blob.digest, blob.attestation.size, used_at_ms)
    return True


def _put_head(changes: Changes, entry: Entry) -> None:
    """Name a blob again; an entry that the index knows is newer than its record."""
    if changes.entry(entry.key) is None and changes.blob_length(entry.digest) == entry.length:
        changes.put_entry(entry)


def _is_there(files: Files, path: str) -> bool:
    try:
        files.identify_path(path)
    except OSError:
        return False
    return True

"""The record beside a temp: what of it counts for the next flight, and under which terms.

Rules:
1. On the same boot all of the prefix counts (the kernel keeps what a killed process wrote); after
   another boot only what was synced (a power cut may leave a hole of zeros).
2. A record that cannot be read, or is of another version, is none.

Units: bytes, Unix seconds. Does not: know the temp itself. Runs in: keeper.
"""

from __future__ import annotations

import msgspec

from mirror.store.files import Files, read_all, replace_file
from mirror.store.layout import RECORD_SUFFIX

RECORD_VERSION = 1
_RECORD_LIMIT_BYTES = 65536


def is_resumable(validator: str, length: int) -> bool:
    """A weak validator or an unknown length cannot tie two transfers together."""
    return bool(validator) and not validator.startswith("W/") and length >= 0


class PartialRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What lies beside a temp: enough to go on with it, and to know when not to."""

    version: int
    key: str
    validator: str
    length: int
    digest: str
    extents: tuple[tuple[int, int], ...]  # synced: what counts after another boot
    boot: str
    noted_at: float
    prefix: int = -1  # what counts on the same boot; -1: the whole file, nothing lies ahead

    @property
    def is_resumable(self) -> bool:
        return is_resumable(self.validator, self.length)


class Resumable(msgspec.Struct, frozen=True, kw_only=True):
    """A kept temp as it lies: `landed` bytes of `length` under the strong `validator`."""

    validator: str
    length: int
    landed: int


def write_record(files: Files, temp_path: str, record: PartialRecord) -> None:
    """Put `record` beside a temp, in the place of the one before. Raises OSError."""
    replace_file(files, temp_path + RECORD_SUFFIX, msgspec.json.encode(record), durable=False)


def load_record(files: Files, temp_path: str) -> PartialRecord | None:
    """Return the record beside a temp; None when there is none that can be used."""
    try:
        content = read_all(files, temp_path + RECORD_SUFFIX, _RECORD_LIMIT_BYTES)
        record = msgspec.json.decode(content, type=PartialRecord)
    except (OSError, msgspec.MsgspecError):
        return None
    return record if record.version == RECORD_VERSION else None


def usable_prefix(record: PartialRecord, size: int, boot: str) -> int:
    """Return how many bytes of a temp of `size` bytes count (rule 1)."""
    if record.boot and record.boot == boot:
        landed = size if record.prefix < 0 else min(size, record.prefix)
    else:
        landed = min(size, synced_bytes(record))
    return landed if landed <= record.length else 0


def is_uncut(record: PartialRecord, boot: str) -> bool:
    """Whether the temp keeps what lies behind its prefix when it is resumed."""
    return record.prefix >= 0 and bool(record.boot) and record.boot == boot


def synced_bytes(record: PartialRecord) -> int:
    """Return how far the prefix counts after another boot."""
    return record.extents[0][1] if record.extents else 0

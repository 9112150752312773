"""One flight's temp file: bytes land in order, are hashed as they land, and survive a crash.

Rules:
1. A temp is resumed only under the same key, strong validator, digest and complete length, and
   its prefix is hashed again from the disk.
2. How much of the prefix counts: on the same boot all of it (the kernel keeps what a killed process
   wrote); after another boot only what `note` had synced (a power cut may leave a hole of zeros).
3. A failed write, sync or note removes the temp and its record and gives the reservation back; the
   bytes that landed stay readable through `read` until the flight lets go.

Units: bytes; `landed` is the length of the prefix on disk.
Does not: publish, verify against the expected digest, or decide what to keep.
Runs in: keeper; one thread at a time per partial.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
from collections.abc import Iterator

import msgspec

from mirror.clock import Clock
from mirror.errors import StoreError
from mirror.store.blobs import hash_prefix
from mirror.store.budget import Reservation
from mirror.store.files import Files, disk_errors, read_all, replace_file, write_all
from mirror.store.layout import RECORD_SUFFIX

_RECORD_VERSION = 1
_RECORD_LIMIT_BYTES = 65536
# An unknown length reserves ahead in steps, so that not every chunk asks for room.
_RESERVE_STEP_BYTES = 1 << 20


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
    extents: tuple[tuple[int, int], ...]
    boot: str
    noted_at: float

    @property
    def is_resumable(self) -> bool:
        return is_resumable(self.validator, self.length)


class Resumable(msgspec.Struct, frozen=True, kw_only=True):
    """A kept temp as it lies: `landed` bytes of `length` under the strong `validator`."""

    validator: str
    length: int
    landed: int


class PartialState(enum.Enum):
    LANDING = "landing"
    FAILED = "failed"  # the name is gone; bytes still readable
    CLOSED = "closed"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a flight knows before the first byte. `digest` b"" or `length` -1: unknown."""

    key: str
    validator: str
    length: int
    digest: bytes

    @property
    def is_resumable(self) -> bool:
        return is_resumable(self.validator, self.length)


class Partial:
    """A temp file that this flight owns; made by `Partials.begin`."""

    def __init__(
        self,
        *,
        files: Files,
        path: str,
        fd: int,
        terms: Terms,
        reservation: Reservation,
        clock: Clock,
        boot: str,
    ) -> None:
        self.path = path
        self.terms = terms
        self.landed = 0
        self.state = PartialState.LANDING
        self._files = files
        self._fd = fd
        self.reservation = reservation
        self._clock = clock
        self._boot = boot
        self._hash = hashlib.sha256()

    @property
    def key(self) -> str:
        return self.terms.key

    @property
    def length(self) -> int:
        return self.terms.length

    def take_prefix(self, length: int) -> None:
        """Hash the first `length` bytes again and cut the rest off. Raises OSError."""
        self.reservation.has_landed(length)
        self._hash = hash_prefix(self._files, self._fd, length)
        self._files.truncate(self._fd, length)
        self.landed = length

    def write(self, content: bytes | memoryview) -> None:
        """Append `content`. Raises StoreError; after a disk error the temp is gone."""
        self._require_landing()
        size = len(content)
        if 0 <= self.length < self.landed + size:
            raise StoreError(
                self.key, f"more than the {self.length} bytes promised", retryable=False
            )
        short = self.landed + size - self.reservation.nbytes
        if short > 0 and not self.reservation.extend(max(short, _RESERVE_STEP_BYTES)):
            self.discard()
            raise StoreError(self.key, "no room left in the byte budget")
        with self._failing():
            write_all(self._files, self._fd, content, self.landed)
        self._hash.update(content)
        self.landed += size
        self.reservation.has_landed(self.landed)

    def read(self, offset: int, size: int) -> bytes:
        """Return landed bytes, also after a failure. Raises StoreError."""
        if self.state is PartialState.CLOSED:
            raise StoreError(self.key, "the flight has let go of its file", retryable=False)
        with disk_errors(self.path):
            return self._files.pread(self._fd, min(size, max(0, self.landed - offset)), offset)

    def digest(self) -> bytes:
        """Return the sha256 of what has landed."""
        return self._hash.digest()

    def note(self) -> None:
        """Make the landed prefix durable and say so in the record. Costs an fsync of new bytes.

        Nothing to do for what can never be resumed: without a record the next start sweeps it.
        """
        self._require_landing()
        if not self.terms.is_resumable:
            return
        with self._failing():
            self._files.sync(self._fd)
            self.write_record()

    def write_record(self) -> None:
        """Raises OSError."""
        record = PartialRecord(
            version=_RECORD_VERSION,
            key=self.key,
            validator=self.terms.validator,
            length=self.length,
            digest=self.terms.digest.hex(),
            extents=((0, self.landed),) if self.landed else (),
            boot=self._boot,
            noted_at=self._clock.now(),
        )
        replace_file(
            self._files, self.path + RECORD_SUFFIX, msgspec.json.encode(record), durable=False
        )

    def sync(self) -> None:
        """Make the content durable before it is published. Raises StoreError."""
        self._require_landing()
        with self._failing():
            self._files.sync(self._fd)

    def discard(self) -> None:
        """Remove the temp and its record and free the reservation; `read` goes on working."""
        if self.state is PartialState.LANDING:
            self.state = PartialState.FAILED
            for path in (self.path, self.path + RECORD_SUFFIX):
                with contextlib.suppress(OSError):  # swept at the next start
                    self._files.unlink(path)
        self.reservation.release()

    def close(self) -> None:
        """Let go of the descriptor and the reservation; leaves the files as they are."""
        if self.state is not PartialState.CLOSED:
            self.state = PartialState.CLOSED
            with contextlib.suppress(OSError):  # nothing is lost: content was synced, or is dropped
                self._files.close(self._fd)
        self.reservation.release()

    def __repr__(self) -> str:
        return f"<Partial {self.key} {self.landed}/{self.length} {self.state.value}>"

    def _require_landing(self) -> None:
        if self.state is not PartialState.LANDING:
            raise StoreError(self.key, f"its file is {self.state.value}")

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            with disk_errors(self.path):
                yield
        except StoreError:
            self.discard()
            raise


def load_record(files: Files, temp_path: str) -> PartialRecord | None:
    """Return the record beside a temp; None when there is none that can be used."""
    try:
        content = read_all(files, temp_path + RECORD_SUFFIX, _RECORD_LIMIT_BYTES)
        record = msgspec.json.decode(content, type=PartialRecord)
    except (OSError, msgspec.MsgspecError):
        return None
    return record if record.version == _RECORD_VERSION else None


def usable_prefix(record: PartialRecord, size: int, boot: str) -> int:
    """Return how many bytes of a temp of `size` bytes count (rule 2)."""
    if record.boot and record.boot == boot:
        landed = size
    else:
        landed = min(size, record.extents[0][1] if record.extents else 0)
    return landed if landed <= record.length else 0

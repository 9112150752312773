"""One flight's temp file: a prefix that is hashed as it grows, and extents that lie ahead of it.

Rules:
1. A temp is resumed only under the same key, strong validator, digest and complete length, and
   its prefix is hashed again from the disk: in steps (`absorb`), while the rest already lands.
   What a prefix alone hashes to proves nothing, so nobody need wait for it; the digest of the
   whole decides, and knows of every byte (`digest`).
2. How much of the prefix counts: on the same boot all of it (the kernel keeps what a killed process
   wrote); after another boot only what `note` had synced (a power cut may leave a hole of zeros).
3. A failed write, sync or note, or a prefix that cannot be read back, removes the temp and its
   record and gives the reservation back; the bytes that landed stay readable through `read` until
   the flight lets go.
4. Bytes may be written ahead of the prefix; they join it when it reaches them. What was hashed is
   never written again: a second copy of it is dropped.
5. Before the first byte ahead is written, the record says so: from then on the size of the file
   says nothing, and after a crash the prefix is what was recorded, at most `SPARSE_NOTE_BYTES`
   less than it was. Extents do not outlive their flight.
6. Such a file is resumed uncut: a worker may still be sending what the flight before announced,
   and a cut that later grows would give it zeros. Its bytes are of the same strong validator.

Units: bytes; `landed` is the length of the prefix on disk, of which `_hashed` are hashed.
Does not: publish, verify against the expected digest, or decide what to keep.
Runs in: keeper; one thread at a time per partial, and one more that flushes.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import threading
from collections.abc import Callable, Iterator

import msgspec

from mirror.clock import Clock
from mirror.errors import StoreError
from mirror.store.budget import Reservation
from mirror.store.extents import Extents, Runs
from mirror.store.files import Files, disk_errors, write_all
from mirror.store.layout import RECORD_SUFFIX
from mirror.store.partial_record import (
    RECORD_VERSION,
    PartialRecord,
    is_resumable,
    is_uncut,
    synced_bytes,
    write_record,
)
from mirror.store.points import Point, passed

# An unknown length reserves ahead in steps, so that not every chunk asks for room.
_RESERVE_STEP_BYTES = 1 << 20
# A record costs 0.1 ms; a crash costs at most so much of what had landed.
SPARSE_NOTE_BYTES = 4 << 20
_READ_STEP_BYTES = 1 << 20


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
        self._hashed = 0
        self._ahead = Extents()
        self._is_sparse = False  # something lies, or lay, ahead of the prefix
        self._inherited_bytes = 0  # what an uncut temp took of the disk before this flight
        self._recorded = 0  # how much of the prefix the record of a sparse temp admits
        self._synced = 0
        self._syncing = threading.Lock()
        self._is_still = False  # no flush begins any more
        self._flushed = 0  # how far a flush found the prefix
        self._flush_error: OSError | None = None
        self._tapped: Callable[[bytes], None] | None = None

    @property
    def key(self) -> str:
        return self.terms.key

    @property
    def length(self) -> int:
        return self.terms.length

    def take_prefix(self, length: int, record: PartialRecord) -> None:
        """Go on behind the first `length` bytes, of which `record` tells. Raises OSError."""
        is_sparse = is_uncut(record, self._boot)
        self.reservation.has_landed(length)
        if not is_sparse:
            self._files.truncate(self._fd, length)
        self._is_sparse = is_sparse
        self._synced = min(length, synced_bytes(record))
        self.landed = self._recorded = length

    def inherit(self, held_bytes: int) -> None:
        """Count `held_bytes` as taken where the temp is uncut: what lies ahead is still there."""
        if self._is_sparse:
            self._inherited_bytes = held_bytes

    def tap(self, take: Callable[[bytes], None]) -> None:
        """Give `take` what has been hashed, and then what is. Raises StoreError."""
        at = 0
        while at < self._hashed:
            piece = self._read_back(at, self._hashed)
            take(piece)
            at += len(piece)
        self._tapped = take

    def write(self, content: bytes | memoryview) -> None:
        """Append `content`. Raises StoreError; after a disk error the temp is gone."""
        self.write_at(self.landed, content)

    def write_at(self, offset: int, content: bytes | memoryview) -> None:
        """Write `content` where it belongs, before, at or ahead of the end of the prefix.

        Only bytes behind a known complete length may come ahead of it. Raises StoreError; after a
        disk error the temp is gone.
        """
        self._require_landing()
        end = offset + len(content)
        if 0 <= self.length < end:
            raise StoreError(
                self.key, f"more than the {self.length} bytes promised", retryable=False
            )
        if end <= self.landed:
            return  # rule 4
        short = end - self.reservation.nbytes
        if short > 0 and not self.reservation.extend(max(short, _RESERVE_STEP_BYTES)):
            self.discard()
            raise StoreError(self.key, "no room left in the byte budget")
        if offset > self.landed:
            self._write_ahead(offset, content)
        else:
            self._append(content[self.landed - offset :])

    def absorb(self, size: int) -> bool:
        """Let the prefix take over what lies at its end, and hash up to `size` bytes of it that are
        not hashed yet; whether there are more. Raises StoreError; then the temp is gone.
        """
        self._require_landing()
        end = self._ahead.end_at(self.landed)
        if end > self.landed:
            self._grow_to(end)
        self._catch_up(min(self.landed, self._hashed + size))
        return self._hashed < self.landed

    @property
    def ahead(self) -> Runs:
        """What landed ahead of the prefix."""
        return self._ahead.runs

    @property
    def held_bytes(self) -> int:
        """What the temp takes of the disk, at least of its content."""
        return max(self.landed + self._ahead.total_bytes, self._inherited_bytes)

    def read(self, offset: int, size: int) -> bytes:
        """Return landed bytes, also after a failure. Raises StoreError."""
        if self.state is PartialState.CLOSED:
            raise StoreError(self.key, "the flight has let go of its file", retryable=False)
        with disk_errors(self.path):
            end = self.landed if offset < self.landed else self._ahead.end_at(offset)
            return self._files.pread(self._fd, min(size, max(0, end - offset)), offset)

    def digest(self) -> bytes:
        """Return the sha256 of what has landed. Raises StoreError when it cannot be read back."""
        self._catch_up(self.landed)
        return self._hash.digest()

    def flush(self) -> None:
        """Make durable what has landed, beside whoever writes on: the one call for another thread.

        What the disk says against it is raised by the next call that needs the disk.
        """
        landed = self.landed
        with self._syncing:
            if self._is_still or self.state is not PartialState.LANDING:
                return
            try:
                self._files.sync(self._fd)
                self._flushed = max(self._flushed, landed)
            except OSError as exc:
                self._flush_error = exc

    def still(self) -> None:
        """Wait for a flush that runs, and begin none any more. What the disk did not take in goes:
        read back later it could be other bytes, and upstream would be blamed.
        """
        with self._syncing:
            self._is_still = True
        if self._flush_error is not None:
            self.discard()

    def note(self) -> None:
        """Say in the record how far the prefix is durable (`flush`).

        Nothing to do for what can never be resumed: without a record the next start sweeps it.
        """
        self._require_landing()
        with self._failing():
            if not self.terms.is_resumable:
                return
            self._synced = max(self._synced, self._flushed)
            self.write_record()
        passed(Point.FILL_NOTED)

    def write_record(self) -> None:
        """Raises OSError."""
        record = PartialRecord(
            version=RECORD_VERSION,
            key=self.key,
            validator=self.terms.validator,
            length=self.length,
            digest=self.terms.digest.hex(),
            extents=((0, self._synced),) if self._synced else (),
            boot=self._boot,
            noted_at=self._clock.now(),
            prefix=self.landed if self._is_sparse else -1,
        )
        write_record(self._files, self.path, record)
        self._recorded = self.landed

    def record_prefix(self) -> None:
        """Admit all of the prefix to the next flight; without the disk's help it gets less."""
        if self._is_sparse and self._recorded < self.landed:
            with contextlib.suppress(OSError):
                self.write_record()

    def sync(self) -> None:
        """Make the content durable before it is published. Raises StoreError."""
        self._require_landing()
        with self._syncing, self._failing():
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
            self.still()  # a flush must not meet another file under this number
            self.state = PartialState.CLOSED
            with contextlib.suppress(OSError):  # nothing is lost: content was synced, or is dropped
                self._files.close(self._fd)
        self.reservation.release()

    def __repr__(self) -> str:
        return f"<Partial {self.key} {self.landed}/{self.length} {self.state.value}>"

    def _append(self, content: bytes | memoryview) -> None:
        with self._failing():
            write_all(self._files, self._fd, content, self.landed)
        passed(Point.FILL_LANDING)
        if self._hashed == self.landed:
            self._take_in(content)
        self._grow_to(self.landed + len(content))

    def _grow_to(self, end: int) -> None:
        """The prefix reaches `end`; all of it is on the disk."""
        self.landed = end
        self._ahead.drop_before(end)
        self.reservation.has_landed(end + self._ahead.total_bytes)
        if self._is_sparse and self.landed - self._recorded >= SPARSE_NOTE_BYTES:
            with self._failing():
                self.write_record()

    def _catch_up(self, end: int) -> None:
        """Hash the prefix up to `end`."""
        with self._failing():
            while self._hashed < end:
                self._take_in(self._read_back(self._hashed, end))

    def _read_back(self, at: int, end: int) -> bytes:
        piece = self.read(at, min(_READ_STEP_BYTES, end - at))
        if not piece:
            raise StoreError(self.key, "ends before what has landed")
        return piece

    def _take_in(self, content: bytes | memoryview) -> None:
        self._hash.update(content)
        if self._tapped is not None:
            self._tapped(bytes(content))
        self._hashed += len(content)

    def _write_ahead(self, offset: int, content: bytes | memoryview) -> None:
        if not self.terms.is_resumable:
            raise StoreError(self.key, "nothing ties bytes ahead to the rest", retryable=False)
        with self._failing():
            if not self._is_sparse:
                self._is_sparse = True
                self.write_record()  # rule 5
            write_all(self._files, self._fd, content, offset)
        passed(Point.FILL_LANDING)
        self._ahead.add(offset, offset + len(content))
        self.reservation.has_landed(self.landed + self._ahead.total_bytes)

    def _require_landing(self) -> None:
        if self.state is not PartialState.LANDING:
            raise StoreError(self.key, f"its file is {self.state.value}")

    def _require_flushed(self) -> None:
        """Raises what `flush` met: OSError. The system tells of a failed write-back once per
        descriptor, so no later sync would.
        """
        if self._flush_error is not None:
            raise self._flush_error

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            with disk_errors(self.path):
                self._require_flushed()
                yield
        except StoreError:
            self.discard()
            raise

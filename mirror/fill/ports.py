"""What the keeper side of fill needs from the store and the upstreams, as small Protocols.

Rules:
1. Every store method is synchronous and may block on the disk; only `fill.desk` calls them.
2. A pool raises `UpstreamError` for connect errors, time-outs, 5xx and 429, after its own retries;
   a body that breaks raises `UpstreamError` out of `chunks()`.

Runs in: keeper. Declarations only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from mirror.store.entry import Entry, NoVariant, Stored
from mirror.store.extents import Runs
from mirror.store.knowledge import Statement
from mirror.store.state import CrateRecord
from mirror.store.trouble import StoreTrouble


class PartialFile(Protocol):
    """A fill's temp file; `landed` counts the prefix that is on disk, `ahead` are the runs of bytes
    that are on disk behind it."""

    @property
    def path(self) -> str: ...

    @property
    def landed(self) -> int: ...

    @property
    def ahead(self) -> Runs: ...

    def tap(self, take: Callable[[bytes], None]) -> None:
        """Give `take` the prefix, as far as it is hashed and then as it is."""
        ...

    def write(self, data: bytes) -> None: ...

    def write_at(self, offset: int, content: bytes) -> None: ...

    def absorb(self, size: int) -> bool:
        """Let the prefix take over what lies at its end, and hash up to `size` bytes of it that are
        not hashed yet; whether there are more."""
        ...

    def digest(self) -> bytes: ...

    def read(self, offset: int, size: int) -> bytes: ...

    def flush(self) -> None:
        """Make durable what has landed; the one call that may run beside another."""
        ...

    def note(self) -> None:
        """Record how far it was flushed."""
        ...


class Resumable(Protocol):
    """What an earlier fill left of a body: `landed` of `length` bytes under a strong validator."""

    @property
    def validator(self) -> str: ...

    @property
    def length(self) -> int: ...

    @property
    def landed(self) -> int: ...


class IndexDoor(Protocol):
    def entries_of_proof(self, proof: str) -> list[Entry]: ...


class MetadataDoor(Protocol):
    """The store's small objects and names."""

    def put_small(
        self, items: Sequence[tuple[Entry, bytes]], records: Sequence[Entry] = ()
    ) -> list[Stored]:
        """Store and record everything in one transaction; one value per item, in order."""
        ...

    def record(self, entries: Sequence[Entry]) -> object: ...

    def withdraw(self, keys: Iterable[str]) -> None: ...

    def touch(self, keys: Iterable[str]) -> None: ...

    def entries_of_prefix(self, prefix: str) -> list[Entry]: ...


class BlobDoor(Protocol):
    """The store's files. `reservation` is the store's own object, handed back unopened."""

    def reserve(self, nbytes: int, resuming: tuple[str, bytes] | None = None) -> Any: ...

    def may_resume(self, key: str, digest: bytes) -> bool:
        """Whether something of it is kept; touches no disk and waits for no lock."""
        ...

    def resumable(self, key: str, digest: bytes) -> Resumable | None: ...

    def begin(
        self, key: str, *, digest: bytes, validator: str, length: int, reservation: Any
    ) -> PartialFile: ...

    def publish(self, partial: Any, entries: Sequence[Entry]) -> list[Stored]: ...

    def abandon(self, partial: Any, keep: bool) -> None: ...

    def quarantine(self, partial: Any, reason: str) -> None: ...


class TrustDoor(Protocol):
    """What the store knows about content it may already hold."""

    def adopt(self, digest: bytes, entry: Entry) -> Stored | None: ...

    def attest(self, stored: Stored) -> Stored | None: ...

    def vouch(self, manifest: Entry, pairs: Iterable[tuple[str, bytes]]) -> None: ...

    def vouched(self, path: str) -> Statement | None: ...

    def manifest_read(self, key: str) -> bytes | None: ...

    def recover_all(self) -> None:
        """Read every record that a lost index left to be read."""

    def trust_mark(self) -> str: ...

    def note_trust_mark(self, mark: str) -> None: ...


class Reservation(Protocol):
    """Bytes promised to one fill."""

    def extend(self, more_bytes: int) -> bool: ...

    def release(self) -> None: ...


class TrustState(Protocol):
    """What must outlive store and upstream: the state database. Every method may wait for the disk;
    what returned is durable."""

    def newest_date(self, channel: str) -> str: ...

    def note_channel(self, channel: str, date: str) -> None: ...

    def fact(self, name: str) -> str | None: ...

    def set_fact(self, name: str, value: str) -> None: ...

    def crate_record(self, name: str) -> bytes | None: ...

    def put_crate_records(self, records: Sequence[CrateRecord]) -> None: ...

    def marked_crates(self) -> list[str]: ...


class StoreDoor(MetadataDoor, BlobDoor, TrustDoor, Protocol):
    @property
    def index(self) -> IndexDoor: ...

    def lookup(self, key: str) -> Stored | None:
        """Return what `key` names; an index that was lost is made up for meanwhile."""
        ...


class VariantDoor(Protocol):
    """The coded forms of stored contents."""

    def find(self, stored: Stored) -> Stored | NoVariant: ...

    def attest(self, variant: Stored) -> bool: ...

    def put(self, forms: Mapping[bytes, bytes]) -> None: ...


class FillerStore(StoreDoor, Protocol):
    @property
    def variants(self) -> VariantDoor: ...

    @property
    def trouble(self) -> StoreTrouble: ...

    @property
    def probe(self) -> Callable[[], None]:
        """Raises StoreError while the store cannot take anything."""


class BlobReader(Protocol):
    """Reads stored content back as a worker does (`store.reader`)."""

    def load_small(self, stored: Stored) -> object: ...

    def open_blob(self, stored: Stored) -> object: ...


class UpstreamResponse(Protocol):
    """`fields` have lower-case names; several lines are joined by ", ".

    `stated_sha256` is the checksum that the store behind upstream states of the content as it is
    sent; b"": none.
    """

    @property
    def status(self) -> int: ...

    @property
    def stated_sha256(self) -> bytes: ...

    @property
    def fields(self) -> Mapping[str, str]: ...

    def chunks(self) -> AsyncIterator[bytes]: ...


class UpstreamPool(Protocol):
    def get(
        self, path: str, *, fields: Mapping[str, str], expected_sha256: bytes = b""
    ) -> AbstractAsyncContextManager[UpstreamResponse]:
        """Raises VerificationError when upstream states another digest than the expected one."""
        ...

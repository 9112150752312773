"""Small records of what the index knew about objects whose digest nobody upstream states.

A crate's digest can be had again from its index file, an archive's from a manifest or its sibling
`.sha256`. For the rest (index files, channel files, rustup scripts) a lost index would mean a
download; their record in `heads/` makes it a rescan.

Rules:
1. One file per key, replaced by rename; a torn or foreign one is ignored.
2. The files of one generation name each other: a rescan brings back all of them or none.
3. A record is removed before its entry is withdrawn, and the removal is synced: a rescan never
   brings back what was withdrawn.

Does not: sync contents (losing a record costs one small download).
Runs in: keeper.
"""

from __future__ import annotations

import contextlib
import math
import os.path
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from mirror.store.entry import GENERATION_PROOFS, Entry, current_key, former_key
from mirror.store.files import Files, read_all, replace_file
from mirror.store.layout import Layout

_STATED_UPSTREAM = frozenset({"index", "manifest", "sha256", "signature"})
_VERSION = 2
_LIMIT_BYTES = 65536


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One record. `fresh_until` None: never ends (JSON has no infinity)."""

    version: int
    key: str
    digest: str
    length: int
    media_type: str
    last_modified: int
    upstream_etag: str
    upstream_last_modified: str
    fetched_at: float
    confirmed_at: float
    fresh_until: float | None
    proof: str
    voucher: str
    verified_at: float
    upstream_version: str
    generation: tuple[tuple[str, str], ...]


def needs_head(entry: Entry) -> bool:
    """Say whether only this store knows the digest of `entry`."""
    return entry.status == 200 and entry.proof not in _STATED_UPSTREAM


def group_of(key: str) -> str:
    """Return the key of the manifest that `key` belongs to; two channels never share a group, nor
    do a channel's current and former generation, also when one call records all of them."""
    current = current_key(key)
    manifest = current.removesuffix(".sha256").removesuffix(".asc")
    return manifest if current == key else former_key(manifest)


def is_same_representation(one: Entry, other: Entry) -> bool:
    """Say whether two entries differ in nothing but their times."""
    return (
        one.status, one.digest, one.upstream_etag, one.upstream_last_modified,
        one.last_modified, one.media_type, one.proof, one.voucher,
    ) == (
        other.status, other.digest, other.upstream_etag, other.upstream_last_modified,
        other.last_modified, other.media_type, other.proof, other.voucher,
    )  # fmt: skip


class Heads:
    """The tree below `heads/`."""

    def __init__(self, files: Files, layout: Layout) -> None:
        self._files = files
        self._layout = layout

    def write(self, entries: Sequence[Entry]) -> None:
        """Record those of `entries` that need it. Raises OSError."""
        generations: dict[str, list[tuple[str, str]]] = {}
        for entry in entries:
            if needs_head(entry) and entry.proof in GENERATION_PROOFS:
                members = generations.setdefault(group_of(entry.key), [])
                members.append((entry.key, entry.digest.hex()))
        for entry in entries:
            if not needs_head(entry):
                continue
            is_member = entry.proof in GENERATION_PROOFS
            members = generations[group_of(entry.key)] if is_member else []
            head = _head_of(entry, tuple(members))
            self._files.make_directory(self._layout.head_directory(entry.key), 0o755)
            replace_file(
                self._files,
                self._layout.head(entry.key),
                msgspec.json.encode(head),
                durable=False,
            )

    def remove(self, keys: Iterable[str], *, durable: bool) -> None:
        """Remove the records of `keys`, where there are any. Raises OSError."""
        touched: set[str] = set()
        for key in keys:
            path = self._layout.head(key)
            try:
                self._files.unlink(path)
            except FileNotFoundError:
                continue
            touched.add(os.path.dirname(path))
        if durable:
            for directory in sorted(touched):
                self._files.sync_directory(directory)

    def is_there(self, key: str) -> bool:
        """Say whether there is a file for the record of `key`; it may not be usable."""
        try:
            self._files.identify_path(self._layout.head(key))
        except OSError:
            return False
        return True

    def places(self) -> Iterator[str]:
        """Yield where records may lie, in no order. Raises OSError."""
        root = self._layout.heads
        for directory in self._files.list_directory(root):
            with contextlib.suppress(NotADirectoryError):
                for name in self._files.list_directory(f"{root}/{directory}"):
                    yield f"{root}/{directory}/{name}"

    def group_of_key(self, key: str) -> list[Entry]:
        """As `group_at`, by key."""
        return self.group_at(self._layout.head(key))

    def group_at(self, place: str) -> list[Entry]:
        """Return the entry that is recorded there, with the rest of its generation.

        Nothing when it is not usable, or the generation is not recorded whole.
        """
        head = self._read(place)
        if head is None:
            return []
        if not head.generation:
            return [_entry_of(head)]
        members = [self._read(self._layout.head(key)) for key, _ in head.generation]
        whole = [member for member in members if member and member.generation == head.generation]
        is_named = head.key in {member.key for member in whole}
        if len(whole) != len(members) or not is_named:
            return []
        return [_entry_of(member) for member in whole]

    def _read(self, place: str) -> Head | None:
        """Return a usable record that lies where its key says. Rule 1: any other is ignored."""
        try:
            head = msgspec.json.decode(read_all(self._files, place, _LIMIT_BYTES), type=Head)
            bytes.fromhex(head.digest)
        except (OSError, ValueError):  # msgspec's errors are ValueErrors
            return None
        is_ours = self._layout.head(head.key) == place
        return head if head.version == _VERSION and is_ours and len(head.digest) == 64 else None


def _head_of(entry: Entry, generation: tuple[tuple[str, str], ...]) -> Head:
    return Head(
        version=_VERSION,
        key=entry.key,
        digest=entry.digest.hex(),
        length=entry.length,
        media_type=entry.media_type,
        last_modified=entry.last_modified,
        upstream_etag=entry.upstream_etag,
        upstream_last_modified=entry.upstream_last_modified,
        fetched_at=entry.fetched_at,
        confirmed_at=entry.confirmed_at,
        fresh_until=None if math.isinf(entry.fresh_until) else entry.fresh_until,
        proof=entry.proof,
        voucher=entry.voucher,
        verified_at=entry.verified_at,
        upstream_version=entry.upstream_version,
        generation=generation,
    )


def _entry_of(head: Head) -> Entry:
    return Entry(
        key=head.key,
        status=200,
        digest=bytes.fromhex(head.digest),
        length=head.length,
        media_type=head.media_type,
        last_modified=head.last_modified,
        upstream_etag=head.upstream_etag,
        upstream_last_modified=head.upstream_last_modified,
        fetched_at=head.fetched_at,
        confirmed_at=head.confirmed_at,
        fresh_until=math.inf if head.fresh_until is None else head.fresh_until,
        proof=head.proof,
        voucher=head.voucher,
        verified_at=head.verified_at,
        upstream_version=head.upstream_version,
    )

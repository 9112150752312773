"""What a crate's index file has said before, and what a newly fetched one may say.

Rules:
1. A version never changes its `cksum`, and never moves to another version or spelling of the name,
   unless upstream showed its deletion first: its line, or the whole file, was gone.
2. A line that is gone is a deletion: its version is buried with its `cksum`, until a later file
   lists it again, with the same `cksum` (lifted) or another one (registered again).
3. A change is taken over only when an operator accepted exactly that name, version and `cksum`; one
   change that nobody accepted holds the whole file, and nothing of it is remembered.
4. A crate without a history is believed: there is nobody else to ask.
5. A `cksum` belongs to one version (a package names its version inside): where a line is gone and
   its `cksum` stands beside a version never seen, that is a change, not a deletion.

Units: digests are 32 bytes; an impossible record is an error, never an empty history.
Does not: vouch for yanks, dependencies or features: nobody states what they must be.
Runs in: keeper. Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

import msgspec

from mirror.acceptances import AcceptedCrate
from mirror.errors import VerificationError

# Per crate; the largest crates have some 3,000 versions. Beyond it the oldest deletions go.
DELETED_MAX = 16_384
# Of one file: more than anybody can accept one by one; with more it is held whatever is accepted.
CHANGES_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class CrateListing:
    """What one index file states: `digest` is that of its content."""

    name: str
    digest: bytes
    versions: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrateHistory:
    """`live`: what the file of digest `listed` states; `deleted`: what upstream showed as gone.

    `listed` is b"" after the whole file went. `is_marked`: something was deleted or changed once,
    so that a stored crate may be one that the index disowned.
    """

    name: str
    listed: bytes
    live: Mapping[str, bytes]
    deleted: Mapping[str, bytes]
    is_marked: bool


class _Record(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """The form on disk: some 36 bytes and the version string for each version."""

    name: str
    listed: bytes
    live: dict[str, bytes]
    deleted: dict[str, bytes]
    is_marked: bool


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Record)


class ChangeKind(enum.Enum):
    """What a line did that it may not do; the value is for people."""

    CKSUM = "another cksum"
    NAME = "another spelling of the name"
    MOVED = "the cksum of a version that is gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrateChange:
    """One line that contradicts the history; `release` is what an operator would accept."""

    kind: ChangeKind
    release: AcceptedCrate
    before: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """`history` is what to remember once the file is taken over; of a held file it is of no use.

    `registered_again`: versions with another `cksum` than before their deletion. Of it and of
    changes at most `CHANGES_MAX` and one more are named.
    """

    history: CrateHistory
    held: tuple[CrateChange, ...] = ()
    accepted: tuple[CrateChange, ...] = ()
    deleted: tuple[str, ...] = ()
    lifted: tuple[str, ...] = ()
    registered_again: tuple[CrateChange, ...] = ()
    first_seen: tuple[str, ...] = ()

    @property
    def must_outlive(self) -> bool:
        """Whether forgetting it would let something wrong through: durable before any answer."""
        return bool(self.accepted or self.deleted or self.lifted or self.registered_again)


def judge(
    remembered: CrateHistory | None,
    listed: CrateListing,
    is_accepted: Callable[[AcceptedCrate], bool],
) -> Judgement:
    """Compare a file with the history of its crate; `is_accepted` is asked about each change."""
    if remembered is None:
        return Judgement(history=_taken_over(None, listed), first_seen=tuple(listed.versions))
    if remembered.name == listed.name and remembered.live == listed.versions:
        return Judgement(history=_taken_over(remembered, listed))  # the common case: a yank
    gone = {v: cksum for v, cksum in remembered.live.items() if v not in listed.versions}
    found = _compare(remembered, listed, set(gone.values()))
    accepted: list[CrateChange] = []
    held: list[CrateChange] = []
    for number, change in enumerate(found.changes):
        is_let_through = number < CHANGES_MAX and is_accepted(change.release)
        (accepted if is_let_through else held).append(change)
    is_marked = bool(found.changes or found.again)
    return Judgement(
        history=_taken_over(remembered, listed, gone, is_marked=is_marked),
        held=tuple(held),
        accepted=tuple(accepted),
        deleted=tuple(gone),
        lifted=tuple(found.lifted),
        registered_again=tuple(found.again),
        first_seen=tuple(found.first_seen),
    )


def bury(remembered: CrateHistory) -> Judgement:
    """The whole index file is gone: every version is deleted."""
    listing = CrateListing(name=remembered.name, digest=b"", versions={})
    history = _taken_over(remembered, listing, remembered.live)
    return Judgement(history=history, deleted=tuple(remembered.live))


def joined(remembered: CrateHistory | None, stored: CrateListing) -> CrateHistory:
    """Return the history with what the stored file lists beyond it.

    What is first seen may be lost in a crash; the file that said so is stored then. Where both know
    a version the history wins: it is the newer.
    """
    if remembered is None:
        return _taken_over(None, stored)
    if remembered.name != stored.name:
        return remembered
    unknown = {
        version: cksum
        for version, cksum in stored.versions.items()
        if version not in remembered.live and version not in remembered.deleted
    }
    if not unknown:
        return remembered
    return CrateHistory(
        name=remembered.name,
        listed=b"",
        live={**remembered.live, **unknown},
        deleted=remembered.deleted,
        is_marked=remembered.is_marked,
    )


def pack(history: CrateHistory) -> bytes:
    return _encoder.encode(
        _Record(
            name=history.name,
            listed=history.listed,
            live=dict(history.live),
            deleted=dict(history.deleted),
            is_marked=history.is_marked,
        )
    )


def unpack(record: bytes, source: str) -> CrateHistory:
    """Raises VerificationError for what `pack` did not make."""
    try:
        read = _decoder.decode(record)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise VerificationError(source, expected="a record of a crate", got=str(exc)) from exc
    for cksum in (*read.live.values(), *read.deleted.values()):
        if len(cksum) != 32:
            raise VerificationError(source, expected="32 bytes", got=f"{len(cksum)} bytes")
    return CrateHistory(
        name=read.name,
        listed=read.listed,
        live=read.live,
        deleted=read.deleted,
        is_marked=read.is_marked,
    )


class _Found:
    """The lines of a file by what they are to the history."""

    def __init__(self) -> None:
        self.changes: list[CrateChange] = []
        self.again: list[CrateChange] = []
        self.lifted: list[str] = []
        self.first_seen: list[str] = []


def _compare(remembered: CrateHistory, listed: CrateListing, gone: set[bytes]) -> _Found:
    found = _Found()

    def note(changes: list[CrateChange], kind: ChangeKind, version: str, before: bytes) -> None:
        if len(changes) <= CHANGES_MAX:
            cksum = listed.versions[version]
            release = AcceptedCrate(name=listed.name, version=version, cksum=cksum)
            changes.append(CrateChange(kind=kind, release=release, before=before))

    for version, cksum in listed.versions.items():
        live = remembered.live.get(version)
        buried = remembered.deleted.get(version)
        if live is not None and live != cksum:
            note(found.changes, ChangeKind.CKSUM, version, live)
        elif live is not None:
            if remembered.name != listed.name:
                note(found.changes, ChangeKind.NAME, version, live)
        elif cksum in gone:
            note(found.changes, ChangeKind.MOVED, version, cksum)
        elif buried is None:
            found.first_seen.append(version)
        elif buried == cksum:
            found.lifted.append(version)
        else:
            note(found.again, ChangeKind.CKSUM, version, buried)
    return found


def _taken_over(
    remembered: CrateHistory | None,
    listed: CrateListing,
    gone: Mapping[str, bytes] | None = None,
    *,
    is_marked: bool = False,
) -> CrateHistory:
    deleted: dict[str, bytes] = {}
    if remembered is not None:
        deleted = {v: c for v, c in remembered.deleted.items() if v not in listed.versions}
        is_marked = is_marked or remembered.is_marked
    deleted.update(gone or {})
    if len(deleted) > DELETED_MAX:
        deleted = dict(islice(deleted.items(), len(deleted) - DELETED_MAX, None))
    return CrateHistory(
        name=listed.name,
        listed=listed.digest,
        live=listed.versions,
        deleted=deleted,
        is_marked=is_marked or bool(deleted),
    )

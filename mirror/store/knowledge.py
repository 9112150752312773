"""What manifests state about archives, packed: 48 bytes per path instead of a row of 140.

Rules:
1. One packed value per manifest and date: records of 16 bytes of the SHA-256 of the file's name and
   the 32 bytes of its digest, sorted. 1,100 archives take 53 kB.
2. A path is split into its date and the name below it, without loss: a date comes only from
   `/dist/<date>/<name>`, where `name` has no "/"; every other path is a name under no date.
3. No two names share a record. Two that a manifest lists under one prefix are refused when they are
   packed. A name that it does not list meets a listed one by chance with probability 2^-117 (2^11
   names, 2^128 prefixes), and to look for one takes 2^117 hashes; whoever found one would get the
   bytes that the manifest states, not others.
4. What was packed by hand or damaged on disk is no multiple of 48 bytes or not sorted: then names
   are not found, and whoever asks takes the longer way.

Units: bytes; dates are YYYY-MM-DD, "" for none.
Runs in: keeper. Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mirror.errors import StoreError
from mirror.store.entry import SIGNED_GENERATION

PREFIX_BYTES: Final = 16
RECORD_BYTES: Final = PREFIX_BYTES + 32
DATES_MAX: Final = 16  # some 50 to 160 kB each; an installation asks for one date many times

_DATED: Final = re.compile(r"/dist/(\d{4}-\d\d-\d\d)/([^/]+)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A manifest's word about one path; `proof` is what vouched for the manifest."""

    digest: bytes
    manifest_key: str
    manifest_digest: bytes
    proof: str

    @property
    def is_signed(self) -> bool:
        return self.proof == SIGNED_GENERATION

    @property
    def voucher(self) -> str:
        return f"{self.manifest_key}@{self.manifest_digest.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What one manifest (by its own digest) states about the files of one date."""

    manifest_key: str  # under which it was read
    manifest_digest: bytes
    proof: str
    records: bytes


def split(path: str) -> tuple[str, str]:
    """Return the date and the name of a path (rule 2)."""
    found = _DATED.fullmatch(path)
    return ("", path) if found is None else (found[1], found[2])


def pack(digests: Mapping[str, bytes], source: str) -> dict[str, bytes]:
    """Return the packed records by date. Raises StoreError when two names share a prefix."""
    records: defaultdict[str, dict[bytes, bytes]] = defaultdict(dict)
    for path, digest in digests.items():
        date, name = split(path)
        prefix = _prefix(name)
        if prefix in records[date]:
            raise StoreError(source, "two names with one prefix", retryable=False)
        records[date][prefix] = digest
    return {
        date: b"".join(prefix + digest for prefix, digest in sorted(known.items()))
        for date, known in records.items()
    }


def find(records: bytes, name: str) -> bytes | None:
    """Return the digest of `name`, by halving."""
    wanted = _prefix(name)
    low, high = 0, len(records) // RECORD_BYTES
    while low < high:
        middle = (low + high) // 2
        at = middle * RECORD_BYTES
        prefix = records[at : at + PREFIX_BYTES]
        if prefix == wanted:
            return records[at + PREFIX_BYTES : at + RECORD_BYTES]
        if prefix < wanted:
            low = middle + 1
        else:
            high = middle
    return None


def best(statements: Iterable[Statement]) -> Statement | None:
    """Return the signed statement that comes first, else the first."""
    known = tuple(statements)
    return next((one for one in known if one.is_signed), known[0] if known else None)


class RecentDates:
    """The packed values of the dates asked for last. Not safe for threads: its owner locks.

    Race: (1) a look-up reads the rows of a date, (2) a manifest of that date is read and `clear`
    is called, (3) the look-up puts what it read. So `put` names the turn in which the rows were
    read, and is ignored when a `clear` came between.
    """

    def __init__(self) -> None:
        self._dates: OrderedDict[str, Sequence[Packed]] = OrderedDict()
        self.turn = 0

    def get(self, date: str) -> Sequence[Packed] | None:
        found = self._dates.get(date)
        if found is not None:
            self._dates.move_to_end(date)
        return found

    def put(self, date: str, known: Sequence[Packed], turn: int) -> None:
        if turn != self.turn:
            return
        self._dates[date] = known
        while len(self._dates) > DATES_MAX:
            self._dates.popitem(last=False)

    def clear(self) -> None:
        self._dates.clear()
        self.turn += 1

    def __repr__(self) -> str:
        return f"<RecentDates {len(self._dates)}>"


def _prefix(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:PREFIX_BYTES]

"""What each worker knows of each client, in memory that all workers share.

    word 0..slots-1   when the worker of each slot last gave a sign, in monotonic ms
    then              per slot: sets of `WAYS` records of `RECORD_WORDS` words

    record: client (keyed hash), window, its requests, those of the window before, requests at
    once, paced transfers, 2 spare

Rules:
1. One writer per word: the worker of the slot. The others read; no lock.
2. A worker's records count while it gives signs, and for `SILENT_MS` after the last: what a killed
   one had under way does not burden its clients for ever. A worker empties its slot first.
3. A client's records are in the same set in every slot, so each worker finds what the others have
   of it without asking. A set is chosen by a hash with a key that no client knows.
4. Torn record: 1. A, changing the client of a record, writes 0 for the client  2. B reads the
   record  3. A writes counts, then the client. B finds nobody, or the one it was; the counts of
   one client are never taken for another's, but for those that B reads between two words of the
   same client, which are right to one request.

Does not: decide; or know names of clients.
Units: milliseconds of the monotonic clock, which all processes of a machine share.
Runs in: worker. Touches nothing but the given memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mirror.serve.request_window import Counted

RECORD_WORDS: Final = 8
WAYS: Final = 4
SILENT_MS: Final = 3_000  # twelve ticks of a worker

_CLIENT, _WINDOW, _NOW, _BEFORE, _AT_ONCE, _PACED = range(6)
_SET_WORDS: Final = RECORD_WORDS * WAYS


@dataclass(frozen=True, slots=True)
class Record:
    """What one worker has of one client."""

    counted: Counted
    at_once: int
    paced: int


def words_for(slots: int, clients: int) -> int:
    """Return how many words a table takes for so many slots and clients."""
    return slots + slots * max(1, clients // WAYS) * _SET_WORDS


class ClientTable:
    """The table as the worker of one slot uses it."""

    __slots__ = ("_at", "_key", "_others", "_sets", "_slot", "_slot_words", "_slots", "_words")

    def __init__(self, words: memoryview[int], slots: int, slot: int, key: bytes) -> None:
        """`words`: as many as `words_for` says. Empties the slot. Released with `close`."""
        self._words = words
        self._key = key
        self._slot = slot
        self._slots = slots
        self._sets = (len(words) - slots) // (slots * _SET_WORDS)
        if not self._sets or not 0 <= slot < slots:
            raise ValueError(f"{len(words)} words for slot {slot} of {slots}")
        self._slot_words = self._sets * _SET_WORDS
        self._at = slots + slot * self._slot_words
        self._others: list[int] = []  # where the records of the other living workers begin
        words[slot] = 0
        empty = memoryview(bytes(self._slot_words * 8)).cast("Q")
        words[self._at : self._at + self._slot_words] = empty

    def __repr__(self) -> str:
        return f"<ClientTable slot {self._slot}, {self._sets} sets, {len(self._others)} others>"

    @property
    def places(self) -> int:
        """How many clients this worker can record."""
        return self._sets * WAYS

    def hash_of(self, client: str) -> int:
        """Return what stands for `client`; never 0, which is an empty record."""
        digest = hashlib.blake2b(client.encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "little") or 1

    def places_of(self, hashed: int) -> range:
        """The places that a client may have; they are this worker's to give."""
        first = hashed % self._sets * WAYS
        return range(first, first + WAYS)

    def beat(self, now_ms: int) -> None:
        """Give a sign, and see who else does."""
        words = self._words
        words[self._slot] = now_ms
        self._others = [
            self._slots + slot * self._slot_words
            for slot, at_ms in enumerate(words[: self._slots].tolist())
            if at_ms and slot != self._slot and -SILENT_MS < now_ms - at_ms < SILENT_MS
        ]

    def write(self, place: int, hashed: int, record: Record) -> None:
        """Begin the record of a client in `place`, over whoever had it."""
        at = self._at + place * RECORD_WORDS
        words, counted = self._words, record.counted
        words[at] = 0
        words[at + _WINDOW] = counted.number
        words[at + _NOW] = counted.now
        words[at + _BEFORE] = counted.before
        words[at + _AT_ONCE] = record.at_once
        words[at + _PACED] = record.paced
        words[at] = hashed

    def count(self, place: int, counted: Counted) -> None:
        at = self._at + place * RECORD_WORDS
        words = self._words
        words[at + _BEFORE] = counted.before
        words[at + _NOW] = counted.now
        words[at + _WINDOW] = counted.number

    def set_at_once(self, place: int, at_once: int) -> None:
        self._words[self._at + place * RECORD_WORDS + _AT_ONCE] = at_once

    def set_paced(self, place: int, paced: int) -> None:
        self._words[self._at + place * RECORD_WORDS + _PACED] = paced

    def others(self, hashed: int) -> Iterator[Record]:
        """Yield what the other workers have of a client."""
        at = hashed % self._sets * _SET_WORDS
        for base in self._others:
            found = self._words[base + at : base + at + _SET_WORDS].tolist()
            for start in range(0, _SET_WORDS, RECORD_WORDS):
                if found[start] == hashed:
                    _, window, now, before, at_once, paced = found[start : start + 6]
                    yield Record(Counted(window, now, before), at_once, paced)
                    break

    def close(self) -> None:
        """End the signs, and let the memory go."""
        self._words[self._slot] = 0
        self._words.release()

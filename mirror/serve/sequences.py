"""Which generation of a channel each client is being given, in memory that all workers share.

A client takes a channel's files one after the other (rustup: `.sha256`, then `.toml`), each perhaps
on a connection and worker of its own. The files of one such sequence are of one generation.

    record of 8 words: 0 place key, 1 generation, 2 begun at (ms) and files given, 3 check, 4 spare

Rules:
1. A sequence begins with the first file given and lasts `SEQUENCE_MS` from then.
2. A file not yet given in it comes from its generation; one given before begins another sequence.
3. Given is what lets a client know the content: 200, 206, 304, and the 404 of a file that its
   generation does not have. A refusal or a failure gives nothing; HEAD sees the generation that GET
   would be answered from (RFC 9110 section 9.3.2) and gives nothing. Whether a client received all
   of what was sent to it is not known here: it counts as given.
4. Bounded: a record has `WAYS` places, chosen by a keyed hash of client address and channel; when
   all are taken the one begun longest ago goes. Its client begins anew, as if 10 s had passed.
5. No lock. A record is believed only when its check is the exclusive-or of its other words.

Exact for a client that asks for one file after the other: what was given is recorded before the
first byte of the answer leaves, so whatever the client asks next is decided after it.

Races, for two requests of one address at the same time (two clients behind one address, or one
client that does not wait), and what they lead to:
    Lost update:   1. worker A reads {G1: .sha256}       3. A writes {G1: .sha256 .toml}
                   2. worker B reads the same            4. B writes {G1: .sha256 .asc}
       A's file counts as not given; when it is asked for again it comes from G1, for 10 s at most.
    Two beginnings: 1. A and B find no record  2. A gives .sha256 of G1, B gives .toml of G2
                   3. the record of whoever writes last stays.  The pair is mixed, as it is when two
       requests reach an upstream without any mirror during its switch; requests that follow agree.
    Torn record:   1. A writes words 0 to 2  2. B reads words 0 to 3  3. A writes word 3
       The check does not agree: no record. B begins a sequence; A's record or B's stays.
    Two writers:   words of both may end up side by side. One word of another record never agrees
       with the check; two agree when they are the other's whole record, or by a chance of 2**-64
       (a generation is a piece of a digest).
    One place, two clients: each writes a whole record; the other's is lost, as by rule 4.

Units: milliseconds of the monotonic clock, which all processes of a machine share; it is read at
the worker's last tick, so an age is wrong by a quarter of a second at most, either way.
Runs in: worker. Touches nothing but the given memory.
"""

from __future__ import annotations

import hashlib
from array import array
from typing import Final

SEQUENCE_MS: Final = 10_000
RECORD_WORDS: Final = 8
WAYS: Final = 4
_PROOFS: Final = (".sha256", ".asc")
_FILE_BITS: Final = 8  # of word 2; three are used
_GIVING: Final = frozenset((200, 206, 304, 404))
_WORD_MASK: Final = (1 << 64) - 1


class Sequences:
    """The table; every process makes its own over the same words and key."""

    __slots__ = ("_key", "_sets", "_words")

    def __init__(self, words: memoryview[int], key: bytes) -> None:
        """`words`: at least `WAYS` records. Released with `close`."""
        self._words = words
        self._key = key
        self._sets = len(words) // (RECORD_WORDS * WAYS)
        if not self._sets:
            raise ValueError(f"{len(words)} words")

    def __repr__(self) -> str:
        return f"<Sequences {self._sets} sets of {WAYS}>"

    def turn(self, client: str, key: str) -> Turn:
        """The place of a request by `client` for the channel file `key`."""
        channel, file = _channel_of(key)
        digest = hashlib.blake2b(f"{client}|{channel}".encode(), digest_size=8, key=self._key)
        # 0 is an empty place.
        return Turn(self, int.from_bytes(digest.digest(), "little") or 1, 1 << file)

    def close(self) -> None:
        self._words.release()

    def find(self, place: int, now_ms: int) -> tuple[int, int, int] | None:
        """The running sequence of `place`: generation, begun at, files; None without one."""
        at = self._at(place)
        for start in range(at, at + RECORD_WORDS * WAYS, RECORD_WORDS):
            found, generation, state, check = self._words[start : start + 4].tolist()
            if found != place or found ^ generation ^ state != check or not generation:
                continue
            begun_at = state >> _FILE_BITS
            # Another worker's last tick may be later than this one's: a little negative is young.
            if -SEQUENCE_MS < now_ms - begun_at < SEQUENCE_MS:
                return generation, begun_at, state & ((1 << _FILE_BITS) - 1)
        return None

    def write(self, place: int, generation: int, begun_at: int, files: int) -> None:
        """Record a sequence over the one of the same place, an empty record, or the eldest."""
        state = (begun_at << _FILE_BITS | files) & _WORD_MASK
        start = self._victim(place)
        record = array("Q", (place, generation, state, place ^ generation ^ state))
        self._words[start : start + 4] = memoryview(record)

    def _victim(self, place: int) -> int:
        at = self._at(place)
        starts = range(at, at + RECORD_WORDS * WAYS, RECORD_WORDS)
        words = self._words
        for start in starts:
            if words[start] == place:
                return start
        # An empty record has begun at 0.
        return min(starts, key=lambda start: words[start + 2])

    def _at(self, place: int) -> int:
        return place % self._sets * RECORD_WORDS * WAYS


class Turn:
    """One request of one client for one file of a channel."""

    __slots__ = ("_file", "_place", "_sequences")

    def __init__(self, sequences: Sequences, place: int, file: int) -> None:
        self._sequences = sequences
        self._place = place
        self._file = file

    def wanted(self, now_ms: int) -> int:
        """The generation that the file must be of; 0: any, because a sequence begins with it."""
        found = self._sequences.find(self._place, now_ms)
        if found is None or found[2] & self._file:
            return 0
        return found[0]

    def give(self, status: int, generation: int, now_ms: int) -> None:
        """Note what the file's answer is; before its first byte leaves.

        `generation` 0: nobody knows of which one it is, so whatever ran is over.
        """
        if status not in _GIVING:
            return
        found = self._sequences.find(self._place, now_ms)
        if found is not None and found[0] == generation and not found[2] & self._file:
            self._sequences.write(self._place, generation, found[1], found[2] | self._file)
        elif found is not None or generation:
            self._sequences.write(self._place, generation, now_ms, self._file)


def _channel_of(key: str) -> tuple[str, int]:
    """The key of the channel's manifest, and which of its files `key` is."""
    for number, suffix in enumerate(_PROOFS, 1):
        if key.endswith(suffix):
            return key.removesuffix(suffix), number
    return key, 0

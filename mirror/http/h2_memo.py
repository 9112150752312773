"""Context-free field blocks that were read before, so that the same bytes need no reading again.

A block is cut at the literal of its `:path`: the bytes before it, the literal, and the rest. The
first and the last name a table of paths, and the literal in it names what is answered.

Rules:
1. Learned is only a block of a client without a dynamic table (`h2_context_free`) whose fields were
   found valid and select nothing but the path, the authority, one If-None-Match and a coding.
2. All three parts are compared as exact bytes. A block without a table is read from its first byte
   to its last, each literal by itself, and a valid path is valid whatever stands beside it: a known
   literal between two known parts is a block that would be read so again.
3. A rest with one If-None-Match is learned in two parts, without the literal between them, and
   recalled with any: who answers compares it with the literals of the entity tag itself.
4. What depends on the rest alone (site, coding, how it is counted) chooses the table of paths.
5. Whole blocks are kept beside that: a client asks for the same again and again.
6. Bounded: a full table is emptied, in place, because connections refer to it.

Measured: 0.1 us for a whole block, 0.8 in three parts, where `hpack` and the validation take 37.

Does not: know what is answered, or whether it still holds.
Runs in: worker. Pure.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, NamedTuple

from mirror.http.h2_context_free import BlockReader, ReadBlock
from mirror.http.h2_fields import RequestFields

MAX_RESTS: Final = 2048
MAX_REST_BYTES: Final = 1024  # with the bytes before the path; cargo's and curl's have about 150
MAX_PATHS: Final = 32_768  # of all tables: 10 MiB with cargo's, 18 at most
MAX_WHOLE: Final = 16_384  # of at most `MAX_WHOLE_BYTES`: about 6 MiB with cargo's
MAX_WHOLE_BYTES: Final = 256
# Of one beginning: what may stand between path and tag. Each is tried, and a client writes one.
MAX_LEADS: Final = 8
_LONG: Final = 0x7F  # a length that takes more than one byte; such literals are not learned


class Known(NamedTuple):
    """What a path leads to: the name of an entry, and the request line, for who writes a log."""

    name: str
    line: bytes


Paths = dict[bytes, Known]


class Rest(NamedTuple):
    """What the rest of a block leads to. `tail`: its fields as HTTP/1.1 would write them behind a
    request line."""

    paths: Paths
    tail: bytes


class Recalled(NamedTuple):
    """A request that needs no reading. `tag`: the literal of its If-None-Match, or empty."""

    known: Known
    tail: bytes
    tag: bytes
    block: bytes


class Rests:
    """What may stand behind the path, of the blocks that begin alike.

    `tagged`: see rule 3; by what stands before the tag, then by what stands behind it.
    """

    __slots__ = ("plain", "tagged")

    def __init__(self) -> None:
        self.plain: dict[bytes, Rest] = {}
        self.tagged: dict[bytes, dict[bytes, Rest]] = {}

    def clear(self) -> None:
        """Forget all, also for the connections that refer to it."""
        self.plain.clear()
        self.tagged.clear()

    def recall_tagged(self, rest: bytes) -> tuple[Rest, bytes] | None:
        """Return what `rest` is known as, and the tag in it."""
        for lead, behind in self.tagged.items():
            at = len(lead)
            if len(rest) > at and rest.startswith(lead):
                end = at + 1 + (rest[at] & _LONG)
                found = behind.get(rest[end:])
                if found is not None:
                    return found, rest[at:end]
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class CutBlock:
    """A block that may be learned if its fields select nothing. `tag_at`: of the only
    If-None-Match literal in `rest`; below 0: elsewhere, or there is none."""

    begins: bytes
    path: bytes
    rest: bytes
    tag_at: int
    line: bytes
    tail: bytes


class BlockMemo:
    """What a worker knows of blocks; `reader` reads those that are not known; `whole` are blocks
    that were recalled before."""

    __slots__ = ("_begins", "_paths", "_rests", "reader", "whole")

    def __init__(self) -> None:
        self.whole: dict[bytes, Recalled] = {}
        self._begins: dict[bytes, Rests] = {}
        self._paths: dict[Hashable, Paths] = {}
        self._rests = 0
        self.reader = BlockReader()

    def __repr__(self) -> str:
        paths = sum(map(len, self._paths.values()))
        return f"<BlockMemo {self._rests} rests, {paths} paths>"

    def rests(self, begins: bytes) -> Rests | None:
        """Return what is known of blocks that begin so, up to their path."""
        return self._begins.get(begins)

    def keep(self, recalled: Recalled) -> None:
        """Have a block at hand as a whole."""
        if len(recalled.block) <= MAX_WHOLE_BYTES:
            if len(self.whole) >= MAX_WHOLE:
                self.whole.clear()
            self.whole[recalled.block] = recalled

    def learn(self, cut: CutBlock, *, name: str, table: Hashable, has_tag: bool) -> None:
        """Note that `cut` gets the entry `name`. `table`: rule 4; there are few of them.

        `has_tag`: the request has a precondition, which is If-None-Match.
        """
        rest, at = cut.rest, cut.tag_at
        if len(cut.begins) + len(rest) > MAX_REST_BYTES:
            return
        if has_tag and (at < 0 or rest[at] & _LONG == _LONG):
            return
        self._make_room()
        paths = self._paths.setdefault(table, {})
        paths[cut.path] = Known(name, cut.line)
        rests = self._begins.setdefault(cut.begins, Rests())
        known = rests.plain
        if has_tag:
            lead = rest[:at]
            rest = rest[at + 1 + (rest[at] & _LONG) :]
            if len(rests.tagged) >= MAX_LEADS and lead not in rests.tagged:
                return
            known = rests.tagged.setdefault(lead, {})
        if rest not in known:
            known[rest] = Rest(paths, cut.tail)
            self._rests += 1

    def _make_room(self) -> None:
        if sum(map(len, self._paths.values())) >= MAX_PATHS:
            for paths in self._paths.values():
                paths.clear()
        if self._rests >= MAX_RESTS:
            for each in self._begins.values():
                each.clear()
            self._begins.clear()
            self._rests = 0


class Recollection:
    """What one connection recalls: its blocks begin alike, so that the path is found at once."""

    __slots__ = ("_begins", "_begins_bytes", "_memo", "_rests", "_whole")

    def __init__(self, memo: BlockMemo) -> None:
        self._whole = memo.whole
        self._memo = memo
        self._begins = b""
        self._begins_bytes = 0
        self._rests: Rests | None = None

    def __repr__(self) -> str:
        return f"<Recollection of {self._begins_bytes} bytes before the path>"

    def recall(self, block: bytes) -> Recalled | None:
        """Return what `block` is, when that is known."""
        return self._whole.get(block) or self._recall(block)

    def _recall(self, block: bytes) -> Recalled | None:
        rests = self._rests = self._rests or self._memo.rests(self._begins)
        at = self._begins_bytes
        if rests is None or len(block) <= at or not block.startswith(self._begins):
            return None
        end = at + 1 + (block[at] & _LONG)
        rest = block[end:]
        tag = b""
        found = rests.plain.get(rest)
        if found is None:
            tagged = rests.recall_tagged(rest)
            if tagged is None:
                return None
            found, tag = tagged
        known = found.paths.get(block[at:end])
        if known is None:
            return None
        recalled = Recalled(known, found.tail, tag, block)
        self._memo.keep(recalled)
        return recalled

    def cut(self, read: ReadBlock, fields: RequestFields) -> CutBlock | None:
        """Cut a block that was read; the next ones are expected to begin like it.

        None when it cannot be learned.
        """
        block, at, end = read.block, read.path_at, read.path_end
        if at < 0 or block[at] & _LONG == _LONG or at > MAX_REST_BYTES:
            return None
        # Looked up each time: what was known of them may have been emptied and learned anew.
        self._begins, self._begins_bytes, self._rests = block[:at], at, None
        return CutBlock(
            begins=self._begins,
            path=block[at:end],
            rest=block[end:],
            tag_at=read.tag_at - end,
            line=b"GET %b HTTP/1.1" % fields.path,
            tail=_tail(fields),
        )


def _tail(fields: RequestFields) -> bytes:
    lines = [b"\r\nhost: %b" % (fields.authority or b"")]
    lines += [b"%b: %b" % line for line in fields.fields.items() if line[0] != b"host"]
    return b"%b\r\n\r\n" % b"\r\n".join(lines)

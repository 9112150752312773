"""Packets, subpackets and numbers of OpenPGP (RFC 4880, sections 3.2, 4.2 and 5.2.3.1).

Rules:
1. Packet lengths are definite. Partial and indeterminate ones are for data that is written while it
   grows; for keys and signatures RFC 4880, section 4.2.2.4, forbids partial ones.
2. Everything is read to its end: a byte too few or too many is an error.
3. A number (MPI) states its exact length in bits and is not zero.

Units: bytes, except where the name says bits. Does not: say what a packet means.
Runs in: keeper. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mirror.errors import VerificationError
from mirror.verify.digests import shown

TAG_SIGNATURE, TAG_PUBLIC_KEY = 2, 6
TAG_USER_ID, TAG_PUBLIC_SUBKEY, TAG_USER_ATTRIBUTE = 13, 14, 17

# RFC 4880, section 4.2.2: first octets of a length, and what they begin.
_TWO_OCTETS, _PARTIAL, _FIVE_OCTETS = 192, 224, 255
_CRITICAL = 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    tag: int
    body: bytes

    def __repr__(self) -> str:
        return f"<Packet {self.tag} {len(self.body)} bytes>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subpacket:
    """`is_critical`: who does not know `kind` must refuse the signature."""

    kind: int
    is_critical: bool
    body: bytes


class Octets:
    """A cursor over bytes: every reading past the end is a VerificationError."""

    def __init__(self, content: bytes, source: str) -> None:
        self._content = content
        self._at = 0
        self.source = source

    @property
    def left_bytes(self) -> int:
        return len(self._content) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left_bytes:
            raise VerificationError(
                self.source, expected=f"{count} more bytes", got=f"{self.left_bytes}"
            )
        start, self._at = self._at, self._at + count
        return self._content[start : self._at]

    def number(self, count: int) -> int:
        """Return the big-endian number of `count` bytes."""
        return int.from_bytes(self.take(count), "big")

    def mpi(self) -> int:
        """Return the multiprecision integer (rule 3)."""
        bits = self.number(2)
        value = int.from_bytes(self.take((bits + 7) // 8), "big")
        if value.bit_length() != bits or not value:
            raise VerificationError(
                self.source, expected=f"a number of {bits} bits", got=f"{value.bit_length()} bits"
            )
        return value

    def check_end(self) -> None:
        """Raises: VerificationError when something is left (rule 2)."""
        if self.left_bytes:
            rest = self.take(self.left_bytes)
            raise VerificationError(self.source, expected="the end of the packet", got=shown(rest))


def read_packets(content: bytes, source: str) -> Iterator[Packet]:
    """Yield the packets of `content`. Raises: VerificationError at the first malformed one."""
    octets = Octets(content, source)
    while octets.left_bytes:
        first = octets.number(1)
        if not first & 0x80:
            raise VerificationError(source, expected="a packet", got=f"octet {first:#04x}")
        is_of_later_format = bool(first & 0x40)
        tag = first & 0x3F if is_of_later_format else first >> 2 & 0x0F
        length = _length(octets) if is_of_later_format else _old_length(octets, first & 3)
        yield Packet(tag=tag, body=octets.take(length))


def read_subpackets(area: bytes, source: str) -> Iterator[Subpacket]:
    """Yield the subpackets of one area. Raises: VerificationError for a malformed one."""
    octets = Octets(area, source)
    while octets.left_bytes:
        length = _length(octets, has_partial=False)
        if not length:
            raise VerificationError(source, expected="a subpacket with a type", got="none")
        body = octets.take(length)
        yield Subpacket(
            kind=body[0] & ~_CRITICAL, is_critical=bool(body[0] & _CRITICAL), body=body[1:]
        )


def _length(octets: Octets, *, has_partial: bool = True) -> int:
    """Read a length of the later format; subpackets write theirs alike, without partial ones."""
    first = octets.number(1)
    if first < _TWO_OCTETS:
        return first
    if first == _FIVE_OCTETS:
        return octets.number(4)
    if has_partial and first >= _PARTIAL:
        raise VerificationError(octets.source, expected="a definite length", got="a partial one")
    return ((first - _TWO_OCTETS) << 8) + octets.number(1) + _TWO_OCTETS


def _old_length(octets: Octets, kind: int) -> int:
    if kind == 3:
        raise VerificationError(
            octets.source, expected="a definite length", got="an indeterminate one"
        )
    return octets.number(1 << kind)

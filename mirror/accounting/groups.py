"""Client groups: to which configured group a client belongs, by address, header or certificate.

Rules:
1. A group's index is its place in the file; what no group names has the last index, `other`. So the
   first match wins, and of several answers about one client the smallest counts (`min`).
2. Networks may overlap: the intervals are merged when the table is built, and a lookup is one
   bisection (measured: 0.8 µs among 50,000 networks).
3. A header's value says something only where a trusted proxy set it; the caller knows that.

Does not: read files (`group_files`).
Runs in: supervisor (built), worker and keeper (used: inherited by the fork).
"""

from __future__ import annotations

import heapq
import re
import socket
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from mirror.accounting.layout import OTHER

Network = IPv4Network | IPv6Network
_MAPPED: Final = bytes(10) + b"\xff\xff"  # begins an IPv4 client of an IPv6 socket
# RFC 4514 and what Python calls the others; an attribute that is none of these is a typing error.
ATTRIBUTES: Final = frozenset(
    ("CN", "O", "OU", "C", "ST", "L", "STREET", "DC", "UID", "EMAILADDRESS", "SERIALNUMBER")
)
_PART: Final = re.compile(r"(?:\\.|[^,\\])+", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectPattern:
    """All `wanted` attributes must be in the subject; `*` in a value stands for any text."""

    wanted: tuple[tuple[str, re.Pattern[str]], ...]

    def matches(self, attributes: Sequence[tuple[str, str]]) -> bool:
        return all(
            any(name == given and pattern.fullmatch(value) for given, value in attributes)
            for name, pattern in self.wanted
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group of the file. `header_values` are of the file's one header."""

    name: str
    networks: tuple[Network, ...] = ()
    header_values: tuple[str, ...] = ()
    subjects: tuple[SubjectPattern, ...] = ()


class GroupTable:
    """Which group a client is of. `header` is the field's name in lower case; b"": none is used."""

    __slots__ = ("_by_value", "_subjects", "_v4", "_v6", "header", "names", "other")

    def __init__(self, groups: Sequence[Group] = (), *, header: str = "") -> None:
        self.names = tuple(group.name for group in groups)
        self.other = len(groups)
        self.header = header.lower().encode("ascii")
        numbered = list(enumerate(groups))
        self._v4 = _Intervals(_bounds(numbered, 4), self.other)
        self._v6 = _Intervals(_bounds(numbered, 6), self.other)
        self._by_value: dict[bytes, int] = {}
        for index, group in numbered:
            for value in group.header_values:
                self._by_value.setdefault(value.encode(), index)
        self._subjects = [(index, each) for index, group in numbered for each in group.subjects]

    def __repr__(self) -> str:
        return f"<GroupTable {len(self.names)} groups, {len(self._v4)}+{len(self._v6)} intervals>"

    def name_of(self, index: int) -> str:
        return OTHER if index == self.other else self.names[index]

    def of_address(self, text: str) -> int:
        """Return the group of an address; of what is none: `other`."""
        try:
            if ":" not in text:
                number = int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
                return self._v4.owner_of(number)
            address = text.partition("%")[0]  # a link-local one names its interface
            packed = socket.inet_pton(socket.AF_INET6, address)
            if packed.startswith(_MAPPED):
                return self._v4.owner_of(int.from_bytes(packed[len(_MAPPED) :], "big"))
            return self._v6.owner_of(int.from_bytes(packed, "big"))
        except (OSError, ValueError):
            return self.other

    def of_header(self, value: bytes) -> int:
        """Return the group of a value of the field `header`, that a trusted proxy set."""
        return self._by_value.get(value.strip(b" \t"), self.other)

    def of_subject(self, subject: str) -> int:
        """Return the group of a verified client certificate by its subject, "CN=…,O=…"."""
        if not self._subjects:
            return self.other
        attributes = list(attributes_of(subject))
        for index, pattern in self._subjects:
            if pattern.matches(attributes):
                return index
        return self.other


def attributes_of(subject: str) -> Iterator[tuple[str, str]]:
    """Yield name (upper case) and value of each attribute; a backslash escapes a comma in one."""
    for part in _PART.findall(subject):
        name, _, value = part.strip().partition("=")
        yield name.upper(), _ESCAPED.sub(r"\1", value)


class _Intervals:
    """Disjoint intervals that cover all addresses of a family, each with its owner."""

    __slots__ = ("_owners", "_starts")

    def __init__(self, bounds: Iterable[tuple[int, int, int]], nobody: int) -> None:
        """`bounds` are (start, end, owner), half-open and overlapping; the smallest owner wins."""
        self._starts = [0]
        self._owners = [nobody]
        pending = sorted(bounds, reverse=True)  # taken from the end
        points = sorted({point for start, end, _ in pending for point in (start, end)})
        active: list[tuple[int, int]] = []  # (owner, end)
        for point in points:
            while pending and pending[-1][0] == point:
                _, end, owner = pending.pop()
                heapq.heappush(active, (owner, end))
            while active and active[0][1] <= point:
                heapq.heappop(active)
            self._begin(point, active[0][0] if active else nobody)

    def _begin(self, start: int, owner: int) -> None:
        if start == self._starts[-1]:
            self._owners[-1] = owner
        elif owner != self._owners[-1]:
            self._starts.append(start)
            self._owners.append(owner)

    def __len__(self) -> int:
        return len(self._starts)

    def owner_of(self, number: int) -> int:
        return self._owners[bisect_right(self._starts, number) - 1]


def _bounds(numbered: Iterable[tuple[int, Group]], version: int) -> Iterable[tuple[int, int, int]]:
    for index, group in numbered:
        for network in group.networks:
            start, family = int(network.network_address), network.version
            if family == 6 and start >> 32 == 0xFFFF:  # mapped: it means IPv4 clients
                start, family = start & 0xFFFF_FFFF, 4
            if family == version:
                yield start, start + network.num_addresses, index

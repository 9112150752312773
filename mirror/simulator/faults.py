"""Faults: what goes wrong, for which paths, how often, and whether it happened.

A rule is an object such as
`{"kind": "cut", "path": "/dist/*/rustc-*", "at": 100000, "count": 1, "how": "rst"}`.

| kind | members | effect |
|---|---|---|
| status | status, retry_after, fields | answer with this status and a short HTML text |
| drop | how | close without an answer |
| delay | ms | wait before the head |
| stall | at, ms (0: until the client goes) | wait at offset `at` of the representation |
| cut | at, how ("fin", "rst") | close at offset `at` |
| corrupt | at | flip every bit of the byte at offset `at` |
| length | delta | Content-Length is wrong by `delta`; the connection closes after the content |
| no_ranges | | a Range request is answered 200, whole |
| content_range | delta | Content-Range is wrong by `delta` |
| former | | the former generation of the object (of a `.sha256` without one: a wrong digest) |
| chunked | | chunked, without a length |
| endless | | chunked, the content over and over, until the client goes |
| html | | 200 with an HTML error page |
| rate | bytes_per_s | the content at this rate |
| fields | fields (null removes) | change fields of the head |

Rules:
1. Every rule has `path` (fnmatch pattern, default "*"), `site` ("releases", "crates", "index", ""
   for any), `method`, `count` (0: always), `skip` (matching requests let through first), `name`.
2. A rule fires, and its count goes down, only when it changes what this request gets: a cut at
   byte k does not fire for a range that does not hold byte k, nor `no_ranges` without a Range.
3. The first matching rule of each kind applies; rules of different kinds combine.

Runs in: simulator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType

from mirror.simulator.requests import SimulatedRequest


class FaultKind(StrEnum):
    STATUS = "status"
    DROP = "drop"
    DELAY = "delay"
    STALL = "stall"
    CUT = "cut"
    CORRUPT = "corrupt"
    LENGTH = "length"
    NO_RANGES = "no_ranges"
    CONTENT_RANGE = "content_range"
    FORMER = "former"
    CHUNKED = "chunked"
    ENDLESS = "endless"
    HTML = "html"
    RATE = "rate"
    FIELDS = "fields"


_NO_FIELDS: Mapping[str, str | None] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """One scripted fault; see the module's table."""

    kind: FaultKind
    path: str = "*"
    site: str = ""
    method: str = ""
    count: int = 0
    skip: int = 0
    name: str = ""
    at: int = 0
    ms: int = 0
    status: int = 503
    retry_after: str = ""
    how: str = "fin"
    delta: int = 1
    bytes_per_s: int = 0
    fields: Mapping[str, str | None] = field(default_factory=lambda: _NO_FIELDS)

    def __post_init__(self) -> None:
        if self.how not in ("fin", "rst"):
            raise ValueError(f"how = {self.how!r}: fin or rst")
        if min(self.count, self.skip, self.at, self.ms, self.bytes_per_s) < 0:
            raise ValueError("count, skip, at, ms and bytes_per_s are not negative")
        if self.kind is FaultKind.RATE and not self.bytes_per_s:
            raise ValueError("a rate fault needs bytes_per_s")

    def matches(self, request: SimulatedRequest) -> bool:
        return (
            self.site in ("", request.site)
            and self.method in ("", request.method)
            and fnmatchcase(request.path, self.path)
        )


def parse_rules(script: Sequence[Mapping[str, object]]) -> list[FaultRule]:
    """Turn a script into rules.

    Raises: ValueError for an unknown kind or member, or a value out of range.
    """
    rules = []
    for entry in script:
        members = dict(entry)
        try:
            kind = FaultKind(str(members.pop("kind", "")))
            rules.append(FaultRule(kind=kind, **members))  # type: ignore[arg-type]  # from JSON
        except TypeError as exc:
            raise ValueError(f"fault {entry!r}: {exc}") from exc
    return rules


@dataclass(slots=True)
class _Entry:
    rule: FaultRule
    fault_id: str
    matched_total: int = 0
    fired_total: int = 0

    @property
    def is_spent(self) -> bool:
        return bool(self.rule.count) and self.fired_total >= self.rule.count


class FaultBook:
    """The rules in force, with their counts; belongs to one loop."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._added_total = 0
        self.fired: dict[str, int] = {}

    def add(self, rules: Sequence[FaultRule]) -> list[str]:
        """Add rules and return their ids (their names, or "kind-1", "kind-2" …)."""
        added = []
        for rule in rules:
            self._added_total += 1
            fault_id = rule.name or f"{rule.kind}-{self._added_total}"
            self._entries.append(_Entry(rule, fault_id))
            self.fired.setdefault(fault_id, 0)
            added.append(fault_id)
        return added

    def clear(self) -> None:
        """Remove every rule; what has fired stays counted until `reset`."""
        self._entries.clear()

    def reset(self) -> None:
        """Forget what fired, also for the rules' own counts of matches."""
        self.fired = {entry.fault_id: 0 for entry in self._entries}

    def claims_for(self, request: SimulatedRequest) -> Claims:
        """Return what this request may claim; counts its matches for `skip`."""
        chosen: dict[FaultKind, _Entry] = {}
        for entry in self._entries:
            if entry.is_spent or not entry.rule.matches(request):
                continue
            entry.matched_total += 1
            if entry.matched_total > entry.rule.skip:
                chosen.setdefault(entry.rule.kind, entry)
        return Claims(self, chosen)

    def note(self, entry: _Entry) -> None:
        entry.fired_total += 1
        self.fired[entry.fault_id] = self.fired.get(entry.fault_id, 0) + 1


class Claims:
    """The rules that apply to one request; taking one makes it fire."""

    def __init__(self, book: FaultBook, chosen: dict[FaultKind, _Entry]) -> None:
        self._book = book
        self._chosen = chosen
        self.taken: list[str] = []

    def take(self, kind: FaultKind) -> FaultRule | None:
        """Return the rule of this kind and count it as fired."""
        entry = self._chosen.pop(kind, None)
        if entry is None or entry.is_spent:
            return None
        self._book.note(entry)
        self.taken.append(entry.fault_id)
        return entry.rule

    def take_within(self, kind: FaultKind, start: int, end: int) -> FaultRule | None:
        """Like `take`, but only when the rule's offset lies in `[start, end)`."""
        entry = self._chosen.get(kind)
        if entry is None or not start <= entry.rule.at < end:
            return None
        return self.take(kind)

"""The tally: what clients asked for and what they were sent.

Rules:
1. Bytes are content bytes handed to connections, so a cut transfer counts what went out before
   the cut; heads and chunk framing do not count.
2. The log is bounded; every record has a sequence number, so a reader can ask for what is new.

Units: bytes, Unix seconds. Runs in: simulator.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from mirror.simulator.answers import Answer
from mirror.simulator.published import Site, content_class
from mirror.simulator.requests import SimulatedRequest

LOG_RECORDS = 50_000


@dataclass(slots=True)
class Count:
    """What one object, one class or everything has cost."""

    requests: int = 0
    bytes: int = 0
    not_modified: int = 0
    ranged: int = 0
    errors: int = 0  # status 4xx or 5xx

    def add(self, answer: Answer) -> None:
        self.requests += 1
        self.not_modified += answer.status == 304
        self.ranged += answer.status == 206
        self.errors += answer.status >= 400


@dataclass(slots=True, kw_only=True)
class LogRecord:
    """One request and what became of it."""

    seq: int
    at: float
    site: str
    method: str
    path: str
    fields: dict[str, str]
    status: int
    content_bytes: int = 0
    faults: list[str] = field(default_factory=list)
    is_complete: bool = False


class Tally:
    """Counts per object, per class and in total, and the request log."""

    def __init__(self) -> None:
        self._log: deque[LogRecord] = deque(maxlen=LOG_RECORDS)
        self._seq = 0
        self.reset()

    def reset(self) -> None:
        """Set every count to zero; the log stays."""
        self.total = Count()
        self.classes: dict[str, Count] = {}
        self.objects: dict[str, Count] = {}
        self.connections: dict[str, int] = {site.value: 0 for site in Site}

    def connected(self, site: Site) -> None:
        self.connections[site.value] += 1

    def begin(self, request: SimulatedRequest, answer: Answer, at: float) -> Transfer:
        """Count a request at its head; the result counts its content."""
        self._seq += 1
        record = LogRecord(
            seq=self._seq,
            at=at,
            site=request.site.value,
            method=request.method,
            path=request.path,
            fields=dict(request.fields),
            status=answer.status,
            faults=list(answer.faults),
        )
        self._log.append(record)
        key = f"{request.site}:{request.path}"
        counts = (
            self.total,
            self.classes.setdefault(content_class(request.site, request.path), Count()),
            self.objects.setdefault(key, Count()),
        )
        for count in counts:
            count.add(answer)
        return Transfer(record, counts)

    def log(self, since: int = 0) -> list[dict[str, object]]:
        """Return the records with a sequence number above `since`."""
        return [asdict(record) for record in self._log if record.seq > since]

    def as_json(self) -> dict[str, object]:
        return {
            "total": asdict(self.total),
            "classes": {name: asdict(count) for name, count in sorted(self.classes.items())},
            "objects": {name: asdict(count) for name, count in sorted(self.objects.items())},
            "connections": dict(self.connections),
        }


class Transfer:
    """Counts the content of one response."""

    def __init__(self, record: LogRecord, counts: Sequence[Count]) -> None:
        self._record = record
        self._counts = counts

    def sent(self, content_bytes: int) -> None:
        self._record.content_bytes += content_bytes
        for count in self._counts:
            count.bytes += content_bytes

    def complete(self) -> None:
        self._record.is_complete = True

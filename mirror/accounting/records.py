"""What happened, once: a request that was answered, a request that was sent upstream.

The ledger counts what these say; the access log tells them one by one. So both agree.

Most records are of hits that differ from many others in five values only. Those share a `HitKind`:
what is made for a hit is a short tuple (`log_lines` says what is gained).

Units: bytes as counted by the ledger; times in Unix seconds, durations in seconds.
Runs in: worker and keeper. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One response to a client; `is_complete` False: it was cut.

    `cache_status` is the words of the field without the cache's name; "" where there was none.
    `upstream` names the pool ("releases", "crates", "index"); "" of what has no content class.
    """

    began_at: float
    duration_s: float
    client: str
    group: str
    scheme: str
    protocol: str  # "HTTP/1.0", "HTTP/1.1", "HTTP/2"
    method: str
    host: str
    target: str
    status: int
    content_class: str
    outcome: str
    cache_status: str
    upstream: str
    content_bytes: int
    head_bytes: int
    is_complete: bool
    range: str
    user_agent: str


class HitKind:
    """`like`: what hits have in common, with any values in the fields of a `HitRecord`. `frame`:
    what the access log keeps of it."""

    __slots__ = ("frame", "like")

    def __init__(self, like: RequestRecord) -> None:
        self.like = like
        self.frame: tuple[str, ...] = ()


class HitRecord(NamedTuple):
    """One hit, complete; see `RequestRecord` for the fields."""

    kind: HitKind
    began_at: float
    duration_s: float
    target: str
    content_bytes: int
    head_bytes: int

    def whole(self) -> RequestRecord:
        """Return it written out."""
        return replace(
            self.kind.like,
            began_at=self.began_at,
            duration_s=self.duration_s,
            target=self.target,
            content_bytes=self.content_bytes,
            head_bytes=self.head_bytes,
        )


AnyRecord = RequestRecord | HitRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRecord:
    """One request to an upstream; `url` is the configured one, `path` what was asked of it.

    `attempt` counts from 1; `status` 0: there was no answer, and `error` says why.
    """

    began_at: float
    duration_s: float
    pool: str
    url: str
    path: str
    method: str
    status: int
    content_class: str
    content_bytes: int
    head_bytes: int
    is_complete: bool
    is_ranged: bool
    attempt: int
    error: str

"""What happened, once: a request that was answered, a request that was sent upstream.

The ledger counts what these say, or what was noted beside them; the access log tells them one by
one. So both agree.

Most are hits that differ from many others only in when they were and how long they took. Those
share a `HitKind`, so that a hit is three values here (`log_lines` says what is gained).

Units: bytes as counted by the ledger; times in Unix seconds, durations in seconds.
Runs in: worker and keeper. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


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


class HitForm:
    """What hits have in common that were asked for alike, whatever the object.

    `like`: one of them, with any values in what `HitKind` knows. `frame`: what the access log keeps
    of it.
    """

    __slots__ = ("frame", "like")

    def __init__(self, like: RequestRecord) -> None:
        self.like = like
        self.frame: tuple[str, ...] = ()


class HitKind:
    """Hits of one form that were answered by the same bytes; see `RequestRecord` for the fields.

    `rest`: what the access log keeps of their lines.
    """

    __slots__ = ("cache_status", "content_bytes", "form", "head_bytes", "rest", "target")

    def __init__(
        self, form: HitForm, target: str, content_bytes: int, head_bytes: int, cache_status: str
    ) -> None:
        self.form = form
        self.target = target
        self.content_bytes = content_bytes
        self.head_bytes = head_bytes
        self.cache_status = cache_status
        self.rest = b""

    def record(self, began_at: float, duration_s: float) -> RequestRecord:
        """Return the record of one of them."""
        return replace(
            self.form.like,
            began_at=began_at,
            duration_s=duration_s,
            target=self.target,
            content_bytes=self.content_bytes,
            head_bytes=self.head_bytes,
            cache_status=self.cache_status,
        )


Hit = tuple[HitKind, float, float]  # one, complete: `began_at` and `duration_s`


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

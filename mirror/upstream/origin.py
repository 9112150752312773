"""One URL of a pool, and how it has behaved lately.

Rules:
1. An origin that failed is asked last for `DEMOTED_S`; it is never left out, since it may be all
   there is.
2. An origin that gave no answer at all gets one attempt instead of several for that time, so that
   clients behind a dead upstream are answered (stale or 503) soon.
3. An origin that answered 429 with a Retry-After beyond the cap is left alone until then.

Units: seconds of the monotonic clock.
Runs in: keeper.
"""

from __future__ import annotations

from yarl import URL

from mirror.errors import ConfigError

DEMOTED_S = 10.0
_SCHEMES = ("http", "https")


class Origin:
    """`base` has no trailing slash; a path is appended to it byte for byte."""

    __slots__ = ("_closed_until", "_demoted_until", "_was_silent", "base", "host")

    def __init__(self, base: str) -> None:
        self.base = base
        self.host = URL(base, encoded=True).host or ""
        self._demoted_until = 0.0
        self._was_silent = False
        self._closed_until = 0.0

    def url(self, path: str) -> URL:
        return URL(self.base + path, encoded=True)

    def is_demoted(self, now: float) -> bool:
        return now < self._demoted_until

    def is_silent(self, now: float) -> bool:
        return self._was_silent and self.is_demoted(now)

    def closed_for_s(self, now: float) -> float:
        return max(0.0, self._closed_until - now)

    def demote(self, now: float, *, silent: bool = False) -> None:
        self._demoted_until = now + DEMOTED_S
        self._was_silent = silent

    def close_for(self, now: float, seconds: float) -> None:
        self._closed_until = now + seconds

    def restore(self) -> None:
        self._demoted_until = 0.0
        self._was_silent = False

    def __repr__(self) -> str:
        return f"<Origin {self.base}>"


def parse_origin(url: str, key: str) -> Origin:
    """Return the origin. Raises: ConfigError for what is not an http(s) URL of a host."""
    parsed = URL(url, encoded=True)
    if parsed.scheme not in _SCHEMES or not parsed.host or parsed.user or parsed.password:
        raise ConfigError(key, url, "must be an http:// or https:// URL without credentials")
    if parsed.raw_query_string or parsed.raw_fragment:
        raise ConfigError(key, url, "must have no query and no fragment")
    return Origin(url.rstrip("/"))

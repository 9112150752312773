"""One URL of a pool, and how it has behaved lately.

Rules:
1. An origin that failed is asked last for `DEMOTED_S`; it is never left out, since it may be all
   there is.
2. An origin that gave no answer at all gets one attempt instead of several for that time, so that
   clients behind a dead upstream are answered (stale or 503) soon.
3. An origin that answered 429 with a Retry-After beyond the cap is left alone until then.
4. The words of the last failure are kept for operators until the next one, also after a success.

Units: seconds of the monotonic clock; `_at` Unix seconds.
Runs in: keeper.
"""

from __future__ import annotations

from dataclasses import dataclass

from yarl import URL

from mirror.errors import ConfigError

DEMOTED_S = 10.0
_SCHEMES = ("http", "https", "s3")


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginHealth:
    """What operators see of one URL. `is_failing`: the last thing it did was to fail.

    `rests_for_s` is how long it is asked last, or not at all when `is_left_alone` (it asked for
    that). `last_error` "" and `last_error_at` None: it has not failed since the keeper started.
    """

    url: str
    is_failing: bool
    is_left_alone: bool
    rests_for_s: float
    last_error: str
    last_error_at: float | None


class Origin:
    """`base` has no trailing slash."""

    __slots__ = (
        "_closed_until",
        "_demoted_until",
        "_is_failing",
        "_last_error",
        "_last_error_at",
        "_was_silent",
        "base",
        "host",
    )

    def __init__(self, base: str) -> None:
        self.base = base
        self.host = URL(base, encoded=True).host or ""
        self._demoted_until = 0.0
        self._was_silent = False
        self._closed_until = 0.0
        self._is_failing = False
        self._last_error = ""
        self._last_error_at: float | None = None

    @property
    def is_s3(self) -> bool:
        return self.base.startswith("s3://")

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

    def note_error(self, words: str, at: float) -> None:
        """Keep the words of a failure; `at` in Unix seconds."""
        self._is_failing = True
        self._last_error = words
        self._last_error_at = at

    def restore(self) -> None:
        self._demoted_until = 0.0
        self._was_silent = False
        self._is_failing = False

    def health(self, now: float) -> OriginHealth:
        closed_for_s = self.closed_for_s(now)
        return OriginHealth(
            url=self.base,
            is_failing=self._is_failing,
            is_left_alone=closed_for_s > 0,
            rests_for_s=round(max(closed_for_s, self._demoted_until - now, 0.0), 1),
            last_error=self._last_error,
            last_error_at=self._last_error_at,
        )

    def __repr__(self) -> str:
        return f"<Origin {self.base}>"


def parse_origin(url: str, key: str) -> Origin:
    """Return the origin. Raises: ConfigError for what is no URL of a host or bucket."""
    parsed = URL(url, encoded=True)
    if parsed.scheme not in _SCHEMES or not parsed.host or parsed.user or parsed.password:
        raise ConfigError(key, url, "must be an http://, https:// or s3:// URL without credentials")
    if parsed.raw_query_string or parsed.raw_fragment:
        raise ConfigError(key, url, "must have no query and no fragment")
    return Origin(url.rstrip("/"))

"""One URL of a pool, and how it has behaved lately.

Rules:
1. Whether it may be asked at all is its circuit's to say (`breaker`), and its own wish: after a 429
   with a Retry-After beyond the cap it is left alone until then. Where it stands in the order is
   its preference's (`preference`): a failure that ended the attempts at it, and a body that broke.
2. An origin that gave no answer at all gets one attempt instead of several until it answers, so
   that clients behind a dead upstream are answered (stale or 503) soon. So does a probe.
3. The words of the last failure are kept for operators until the next one, also after a success.

Units: seconds of the monotonic clock; `_at` Unix seconds.
Runs in: keeper.
"""

from __future__ import annotations

from dataclasses import dataclass

from yarl import URL

from mirror.errors import ConfigError, ErrorType, UpstreamError
from mirror.upstream.breaker import Breaker, BreakerLimits, Circuit, Failure
from mirror.upstream.preference import Preference

_SCHEMES = ("http", "https", "s3")
# Said of the host, whatever was asked of it; everything else may be about the one object.
_OF_THE_HOST = frozenset(
    (
        *(ErrorType.DNS_TIMEOUT, ErrorType.DNS_ERROR, ErrorType.DESTINATION_IP_UNROUTABLE),
        *(ErrorType.CONNECTION_REFUSED, ErrorType.CONNECTION_TIMEOUT),
        *(ErrorType.TLS_PROTOCOL_ERROR, ErrorType.TLS_CERTIFICATE_ERROR),
        ErrorType.TLS_ALERT_RECEIVED,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginLimits:
    """`hold_s` is `[upstream] failover_hold`."""

    breaker: BreakerLimits
    hold_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginHealth:
    """What operators see of one URL. `is_failing`: the last thing it did was to fail.

    `circuit` is a word of `breaker.Circuit`; `is_preferred` false: it is asked last, or on trial.
    `rests_for_s` is how long it is asked last, or not at all when its circuit is open or
    `is_left_alone` (it asked for that). `last_error` "" and `last_error_at` None: it has not failed
    since the keeper started.
    """

    url: str
    is_failing: bool
    is_left_alone: bool
    rests_for_s: float
    last_error: str
    last_error_at: float | None
    circuit: str
    is_preferred: bool


class Turn:
    """One request to a URL, from its admission to its verdict. End it with `left`, whatever comes.

    `succeeded` and `failed` say whether that changed the circuit.
    """

    __slots__ = ("_is_probe", "_is_trial", "_origin")

    def __init__(self, origin: Origin, *, is_probe: bool, is_trial: bool) -> None:
        self._origin = origin
        self._is_probe = is_probe
        self._is_trial = is_trial

    def succeeded(self, now: float) -> bool:
        return self._origin.answered(now)

    def failed(self, now: float, error: UpstreamError, path: str, *, jitter: float) -> bool:
        """`jitter` in [0, 1)."""
        if not error.retryable:
            return False  # of what was asked, or of our configuration: it answers
        failure = Failure(
            subject="" if error.error_type in _OF_THE_HOST else path,
            retry_after_s=error.retry_after_s,
        )
        return self._origin.breaker.failed(now, failure, is_probe=self._is_probe, jitter=jitter)

    def left(self) -> None:
        if self._is_probe:
            self._origin.breaker.left()
        if self._is_trial:
            self._origin.preference.left()


class Origin:
    """`base` has no trailing slash."""

    __slots__ = (
        "_closed_until",
        "_is_failing",
        "_last_error",
        "_last_error_at",
        "_was_silent",
        "base",
        "breaker",
        "host",
        "preference",
    )

    def __init__(self, base: str, limits: OriginLimits) -> None:
        self.base = base
        self.host = URL(base, encoded=True).host or ""
        self.breaker = Breaker(limits.breaker)
        self.preference = Preference(rest_s=limits.breaker.rest_s, hold_s=limits.hold_s)
        self._was_silent = False
        self._closed_until = 0.0
        self._is_failing = False
        self._last_error = ""
        self._last_error_at: float | None = None

    @property
    def is_s3(self) -> bool:
        return self.base.startswith("s3://")

    def admits(self, now: float) -> bool:
        """Whether it may be asked."""
        return now >= self._closed_until and self.breaker.admits(now)

    def closed_for_s(self, now: float) -> float:
        """How long nobody may ask it."""
        return max(0.0, self._closed_until - now, self.breaker.closed_for_s(now))

    def is_left_alone(self, now: float) -> bool:
        """Whether it asked for quiet."""
        return now < self._closed_until

    def is_asked_once(self, now: float) -> bool:
        return self._was_silent or self.breaker.circuit(now) is not Circuit.CLOSED

    def enter(self, now: float) -> Turn:
        """Let a request pass; misuse unless `admits`."""
        return Turn(self, is_probe=self.breaker.enter(now), is_trial=self.preference.enter(now))

    def answered(self, now: float) -> bool:
        """True: that closed its circuit."""
        self._was_silent = self._is_failing = False
        self.preference.succeeded(now)
        return self.breaker.succeeded()

    def demote(self, now: float, *, silent: bool = False) -> None:
        self.preference.failed(now)
        self._was_silent = silent

    def close_for(self, now: float, seconds: float) -> None:
        self._closed_until = now + seconds

    def note_error(self, words: str, at: float) -> None:
        """Keep the words of a failure; `at` in Unix seconds."""
        self._is_failing = True
        self._last_error = words
        self._last_error_at = at

    def health(self, now: float) -> OriginHealth:
        return OriginHealth(
            url=self.base,
            is_failing=self._is_failing,
            is_left_alone=self.is_left_alone(now),
            rests_for_s=round(max(self.closed_for_s(now), self.preference.rests_for_s(now)), 1),
            last_error=self._last_error,
            last_error_at=self._last_error_at,
            circuit=self.breaker.circuit(now).value,
            is_preferred=self.preference.is_preferred,
        )

    def __repr__(self) -> str:
        return f"<Origin {self.base}>"


def parse_origin(url: str, key: str, limits: OriginLimits) -> Origin:
    """Return the origin. Raises: ConfigError for what is no URL of a host or bucket."""
    parsed = URL(url, encoded=True)
    if parsed.scheme not in _SCHEMES or not parsed.host or parsed.user or parsed.password:
        raise ConfigError(key, url, "must be an http://, https:// or s3:// URL without credentials")
    if parsed.raw_query_string or parsed.raw_fragment:
        raise ConfigError(key, url, "must have no query and no fragment")
    return Origin(url.rstrip("/"), limits)

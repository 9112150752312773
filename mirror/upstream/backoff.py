"""When to ask an upstream again: jittered back-off, Retry-After within a cap, and giving up.

Rules:
1. Back-off doubles from `BACKOFF_FIRST_S` and is jittered down to half, so that many mirrors which
   lost the same upstream do not come back in step.
2. Retry-After is honoured up to `RETRY_AFTER_CAP_S`; a longer one ends the attempts at this URL at
   once and is handed to the caller, for clients wait behind this request.

Runs in: keeper. Pure: the random number is given.
"""

from __future__ import annotations

from dataclasses import dataclass

BACKOFF_FIRST_S = 0.1
BACKOFF_LONGEST_S = 2.0
RETRY_AFTER_CAP_S = 5.0  # cargo gives up after 30 s of silence, rustup after 180 s
RETRY_AFTER_LONGEST_S = 60.0  # what a mistaken or hostile value is cut to

# Temporary by RFC 9110 section 15.6, and what CDNs send while their origin restarts.
RETRY_STATUSES = frozenset((429, 500, 502, 503, 504))


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryIn:
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    retry_after_s: float


def next_step(
    *,
    failures: int,
    attempts: int,
    retry_after_s: float,
    jitter: float,
    first_s: float = BACKOFF_FIRST_S,
) -> RetryIn | GiveUp:
    """Return what follows the `failures`-th failure (1 is the first) of at most `attempts`.

    `retry_after_s` 0: upstream did not say; `jitter` is in [0, 1).
    """
    if failures >= attempts or retry_after_s > RETRY_AFTER_CAP_S:
        return GiveUp(retry_after_s=retry_after_s)
    backoff_s = min(BACKOFF_LONGEST_S, first_s * 2 ** (failures - 1))
    return RetryIn(seconds=max(retry_after_s, backoff_s * (1 - jitter / 2)))

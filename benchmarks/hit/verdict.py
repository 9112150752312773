"""The rows that must be reached, and whether a run reached them.

Rules:
1. A row compares two servers of the same attempt by the medians of their rounds.
2. Each counts whose rounds, the mirror's and the rival's, scatter by 15 % at most; the first such
   attempt decides, whatever it says. After the last attempt the row is "not measured".
3. A rival that is not installed makes a row "absent", never met.

Units: ratios to the rival. Runs in: benchmark. Pure.
"""

from __future__ import annotations

import enum
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from benchmarks.hit import cases
from benchmarks.hit.cases import Case
from benchmarks.hit.round import Round, scatter
from benchmarks.hit.servers import MIRROR, NGINX, VARNISH

SCATTER_LIMIT: Final = 0.15
ATTEMPTS: Final = 3


class Figure(enum.StrEnum):
    REQUESTS = "requests/s"
    BYTES = "MB/s"
    CPU_PER_MB = "CPU µs per MB"
    CPU_PER_CONNECTION = "CPU µs per connection"


class Outcome(enum.StrEnum):
    MET = "met"
    MISSED = "MISSED"
    SCATTERED = "not measured: rounds scatter"
    ABSENT = "not measured: absent"


_READ: Final[dict[Figure, Callable[[Round], float]]] = {
    Figure.REQUESTS: lambda item: item.requests_per_s,
    Figure.BYTES: lambda item: item.mb_per_s,
    Figure.CPU_PER_MB: lambda item: item.cpu_us_per_mb,
    Figure.CPU_PER_CONNECTION: lambda item: item.cpu_us_per_request,
}
_LOWER_IS_BETTER: Final = {Figure.CPU_PER_MB, Figure.CPU_PER_CONNECTION}


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A ratio to a rival that a case must reach; `aim` is what it hopes for (0: nothing more)."""

    label: str
    case: Case
    rival: str
    figure: Figure
    required: float
    aim: float = 0.0

    @property
    def is_upper_limit(self) -> bool:
        return self.figure in _LOWER_IS_BETTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table, ready to be written down.

    `client`: the busiest client of the mirror's rounds, of one core; near 100 % it was the limit.
    """

    label: str
    rival: str
    figure: str
    required: str
    measured: str
    mirror: str
    other: str
    spread: str
    client: str
    outcome: str
    attempts: int

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def _two(
    label: str, case: Case, figure: Figure, nginx: tuple[float, float],
    varnish: tuple[float, float] | None = None,
) -> list[Requirement]:  # fmt: skip
    pairs = [(NGINX, nginx), *([(VARNISH, varnish)] if varnish else [])]
    return [
        Requirement(
            label=label, case=case, rival=rival, figure=figure, required=pair[0], aim=pair[1]
        )
        for rival, pair in pairs
    ]


REQUIREMENTS: Final[tuple[Requirement, ...]] = (
    *_two("2 KB h1 keep-alive, 10,000 URIs", cases.SMALL_H1, Figure.REQUESTS, (1.3, 1.7), (2.2, 0)),
    *_two("40 KB h1", cases.MIDDLE_H1, Figure.REQUESTS, (1.1, 1.25), (1.6, 0)),
    *_two("304", cases.NOT_MODIFIED, Figure.REQUESTS, (1.1, 1.3), (1.5, 0)),
    *_two("1 MB h1", cases.MB_H1, Figure.BYTES, (1.0, 1.1), (0.85, 1.0)),
    *_two("100 MB h1", cases.LARGE_H1, Figure.BYTES, (1.0, 1.35), (0.9, 1.15)),
    *_two("h2c 2 KB, 10,000 URIs", cases.SMALL_H2C, Figure.REQUESTS, (2.5, 4)),
    *_two("h2c 40 KB", cases.MIDDLE_H2C, Figure.REQUESTS, (1.5, 2.5)),
    *_two("h2c 1 MB", cases.MB_H2C, Figure.BYTES, (1.1, 1.4)),
    *_two("TLS h2 2 KB, 10,000 URIs", cases.SMALL_TLS_H2, Figure.REQUESTS, (2, 0)),
    *_two("TLS h2 40 KB", cases.MIDDLE_TLS_H2, Figure.REQUESTS, (1.2, 0)),
    *_two("TLS h1 2 KB", cases.SMALL_TLS_H1, Figure.REQUESTS, (1.05, 0)),
    *_two("TLS h1 1 MB", cases.MB_TLS_H1, Figure.BYTES, (1.3, 0)),
    *_two("new TCP connection per request", cases.NEW_CONNECTION, Figure.REQUESTS,
          (0.85, 1.0), (1.0, 0)),
    *_two("TLS 1.3 handshake, P-256, full", cases.FULL_HANDSHAKE, Figure.CPU_PER_CONNECTION,
          (1.33, 1.1)),
    *_two("TLS 1.3 handshake, P-256, resumed", cases.RESUMED_HANDSHAKE, Figure.CPU_PER_CONNECTION,
          (1.33, 1.1)),
    *_two("CPU per MB, 100 MB h1", cases.LARGE_H1, Figure.CPU_PER_MB, (1.5, 0), (0.8, 0)),
    *_two("CPU per MB, 1 MB h1", cases.MB_H1, Figure.CPU_PER_MB, (2.2, 0), (1.1, 0)),
)  # fmt: skip

Rounds = Mapping[str, Sequence[Round]]


def needs_another(case: Case, attempts: Sequence[Rounds]) -> bool:
    """Say whether a row of this case is still undecided and may be repeated."""
    if len(attempts) >= ATTEMPTS:
        return False
    return any(
        _deciding(requirement, attempts) is None
        for requirement in REQUIREMENTS
        if requirement.case == case and _has_both(requirement, attempts[-1])
    )


def row_of(requirement: Requirement, attempts: Sequence[Rounds]) -> Row:
    """Judge one requirement by what was measured; attempts may be none."""
    measured = [item for item in attempts if _has_both(requirement, item)]
    if not measured:
        return _row(requirement, outcome=Outcome.ABSENT, attempts=0)
    deciding = _deciding(requirement, measured)
    if deciding is None:
        best = min(measured, key=lambda item: _scatter(requirement, item))
        return _row(requirement, best, outcome=Outcome.SCATTERED, attempts=len(measured))
    ratio = _ratio(requirement, deciding)
    limit = requirement.required
    is_met = ratio <= limit if requirement.is_upper_limit else ratio >= limit
    outcome = Outcome.MET if is_met else Outcome.MISSED
    return _row(requirement, deciding, outcome=outcome, attempts=measured.index(deciding) + 1)


def _row(
    requirement: Requirement, deciding: Rounds | None = None, *, outcome: Outcome, attempts: int
) -> Row:
    mirror = other = ratio = spread = client = "-"
    if deciding is not None:
        ours, theirs = _figures(requirement, deciding)
        mirror, other = f"{ours:,.0f}", f"{theirs:,.0f}"
        ratio, spread = f"{ours / theirs:.2f}", f"{_scatter(requirement, deciding):.0%}"
        client = f"{max(item.client_busy_ratio for item in deciding[MIRROR]):.0%}"
    return Row(
        label=requirement.label,
        rival=requirement.rival,
        figure=requirement.figure.value,
        required=_required(requirement),
        measured=ratio,
        mirror=mirror,
        other=other,
        spread=spread,
        client=client,
        outcome=outcome.value,
        attempts=attempts,
    )


def _required(requirement: Requirement) -> str:
    sign = "≤" if requirement.is_upper_limit else "≥"
    aim = f", aim {requirement.aim:g}" if requirement.aim else ""
    return f"{sign} {requirement.required:g}{aim}"


def _deciding(requirement: Requirement, attempts: Sequence[Rounds]) -> Rounds | None:
    return next((item for item in attempts if _scatter(requirement, item) <= SCATTER_LIMIT), None)


def _has_both(requirement: Requirement, rounds: Rounds) -> bool:
    return bool(rounds.get(MIRROR)) and bool(rounds.get(requirement.rival))


def _ratio(requirement: Requirement, rounds: Rounds) -> float:
    ours, theirs = _figures(requirement, rounds)
    return ours / theirs


def _figures(requirement: Requirement, rounds: Rounds) -> tuple[float, float]:
    read = _READ[requirement.figure]
    ours, theirs = (
        statistics.median(read(item) for item in rounds[name])
        for name in (MIRROR, requirement.rival)
    )
    return ours, theirs


def _scatter(requirement: Requirement, rounds: Rounds) -> float:
    read = _READ[requirement.figure]
    return max(
        scatter([read(item) for item in rounds[name]]) for name in (MIRROR, requirement.rival)
    )

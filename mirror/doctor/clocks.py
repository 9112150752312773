"""Whether the machine's clock can be believed.

Rules:
1. Certificates, freshness and the alarms about frozen channels need the right day; validators and
   ages of responses the right seconds.
2. An upstream's Date is compared with the age of the response added (RFC 9111 section 4.2.3): a
   cache on the way keeps the date of the origin server. Dates have whole seconds.

Units: seconds; an offset above 0: this clock is ahead.
Runs in: commands. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from statistics import median

from mirror.doctor.findings import Finding
from mirror.doctor.said import good, note, risk, span, wrong

FIRST_PLAUSIBLE_AT = 1577836800.0  # 2020-01-01: a machine whose battery is empty begins in 1970
OFFSET_S = 5.0
BROKEN_S = 300.0  # beyond it tokens and signed requests (S3) are refused
_REMEDY = "run chrony or systemd-timesyncd, and look: timedatectl"
_SUBJECT = "clock"


def offset_s(date: str, age: str, asked_at: float, answered_at: float) -> float | None:
    """Return how far this clock is ahead of the server's; None: its answer does not say."""
    try:
        stated_at = parsedate_to_datetime(date).timestamp()
        older_s = float(int(age)) if age else 0.0
    except (ValueError, TypeError, OverflowError):
        return None
    # The date is the beginning of its second, which may have passed up to the answer's arrival.
    earliest, latest = stated_at + older_s, stated_at + older_s + 1.0
    if asked_at > latest:
        return asked_at - latest
    return answered_at - earliest if answered_at < earliest else 0.0


def judge_clock(
    now: float, is_synchronised: bool | None, offsets: Mapping[str, float]
) -> Iterator[Finding]:
    """`offsets` by the URL that was asked; `is_synchronised` None: the kernel was not asked."""
    if now < FIRST_PLAUSIBLE_AT:
        yield wrong(_SUBJECT, "is before the year 2020: no certificate is valid then", _REMEDY)
    elif offsets:
        yield _compared(offsets)
    if is_synchronised is False:
        sentence = "is not synchronised, as the kernel knows"
        if offsets and abs(median(offsets.values())) <= OFFSET_S:
            yield note(_SUBJECT, f"{sentence}; it is right at the moment", _REMEDY, "adjtimex")
        elif not offsets:
            yield risk(_SUBJECT, f"{sentence}, and no upstream was compared", _REMEDY, "adjtimex")
    elif is_synchronised is None and not offsets:
        yield note(_SUBJECT, "could not be compared with anything", _REMEDY)
    elif is_synchronised and not offsets:
        yield good(_SUBJECT, "is synchronised", "adjtimex")


def _compared(offsets: Mapping[str, float]) -> Finding:
    ahead = median(offsets.values())  # one wrong server must not accuse this clock
    seen = f"Date of {', '.join(sorted(offsets))}"
    if abs(ahead) <= OFFSET_S:
        return good(_SUBJECT, f"agrees with upstream to {OFFSET_S:.0f} s", seen)
    sentence = f"is {span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} upstream"
    say = wrong if abs(ahead) > BROKEN_S else risk
    return say(_SUBJECT, sentence, _REMEDY, seen)

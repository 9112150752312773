"""Whether the upstreams can be reached from here, each URL by itself.

Rules:
1. A pool works while one of its URLs does: the others are a risk then, not a failure.
2. A status that says something about the object (404, a bucket's 403) is an answer: ours to
   judge is the way there.

Units: seconds.
Runs in: commands. Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mirror.doctor.findings import Finding, shown
from mirror.doctor.said import good, note, risk, span, wrong

_SLOW_S = 2.0


class Stage(enum.Enum):
    """How far asking came."""

    NAME = "its name does not resolve"
    ASKING = "no usable answer"
    ANSWERED = "answers"


_REMEDIES = {
    Stage.NAME: "see this machine's DNS (resolvectl, /etc/resolv.conf), or set connect_to",
    Stage.ASKING: "try `curl -I` from this machine; mind [upstream] proxy, ca_file and firewalls",
}
_CERTIFICATE_REMEDY = (
    "a proxy that opens TLS? Name its CA in [upstream] ca_file; else install ca-certificates, and "
    "see the clock"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """`way`: through what, if not directly; `path` what was asked for; `status` 0: no answer."""

    pool: str
    url: str
    path: str
    stage: Stage
    seconds: float
    status: int = 0
    trouble: str = ""
    way: str = ""


def judge_upstreams(asked: Sequence[Asked], loops: Mapping[str, str]) -> Iterator[Finding]:
    """`loops`: URLs that lead back to this machine, with the sentence about each."""
    works = {each.pool for each in asked if each.stage is Stage.ANSWERED}
    for each in asked:
        if each.url in loops:
            remedy = f'set upstream.{each.pool}.connect_to = "host:port" of the real one'
            sentence = "leads back to this machine: the mirror would ask itself"
            yield wrong(_subject(each), sentence, remedy, shown(each.url))
        elif each.stage is Stage.ANSWERED:
            yield _answered(each)
        else:
            yield _failed(each, is_alone=each.pool not in works)


def judge_contact(contact: str) -> Iterator[Finding]:
    if not contact:
        sentence = "nobody is named whom an upstream could write to"
        remedy = '[upstream] contact = "a mail address or URL"'
        yield note("upstream contact", sentence, remedy)


def _answered(each: Asked) -> Finding:
    seen = shown(each.url) + (f" through {shown(each.way)}" if each.way else "")
    took = f"answers in {span(each.seconds)}"
    if each.status in (403, 404, 410):
        sentence = f"{took}, and gives no {each.path} ({each.status})"
        remedy = "is the URL's path right, and may this machine read there?"
        return note(_subject(each), sentence, remedy, seen)
    if each.seconds > _SLOW_S:
        remedy = "see the way there (mtr, the proxy): every miss waits so long"
        return note(_subject(each), took, remedy, seen)
    return good(_subject(each), took, seen)


def _failed(each: Asked, *, is_alone: bool) -> Finding:
    seen = shown(each.url) + (f" through {shown(each.way)}" if each.way else "")
    cause = each.trouble or each.stage.value
    is_refused = each.stage is Stage.ASKING and "certificate" in cause.lower()
    remedy = _CERTIFICATE_REMEDY if is_refused else _REMEDIES[each.stage]
    if is_alone:
        sentence = f"{cause}: what is not stored cannot be had"
        return wrong(_subject(each), sentence, remedy, seen)
    return risk(_subject(each), f"{cause}; another URL stands in for it", remedy, seen)


def _subject(each: Asked) -> str:
    return f"upstream {each.pool}"

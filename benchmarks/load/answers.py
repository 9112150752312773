"""What was asked, what came, and whether that is right.

Rules:
1. Failed: the connection broke, or the status is not the one that was asked for.
2. Wrong: a body that came whole and is not what its publisher states, or is not what its own strong
   entity tag states; and "not modified" for a tag that the object does not have.
3. A changed body of what may change, for which no such tag vouches, is failed: a run that cannot
   judge has not seen that all is well.
4. No client here accepts a content coding, so a body and its digest are of the same bytes.

Units: seconds, bytes; digests in lower-case hex. Runs in: benchmark, both environments. Pure.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.load.catalogue import Item

START_BYTES = 64  # the digest in a .sha256
OUTDATED_TAG = '"' + "0" * 64 + '"'
_DIGEST_TAG = re.compile(r'"([0-9a-f]{64})"')
RUSTUP_AGENT = "rustup/1.29.0 (reqwest; rustls)"
CARGO_AGENT = "cargo/1.95.0 (f2d3ce0bd 2026-03-21)"


class Verdict(enum.Enum):
    RIGHT = "right"
    FAILED = "failed"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One GET. `entity_tag` "": unconditional. `bytes_per_s` 0: read as fast as it comes.

    `is_planted`: the client turns one byte of what arrives, so that the judge has a wrong body.
    """

    item: Item
    agent: str
    entity_tag: str = ""
    bytes_per_s: int = 0
    is_planted: bool = False

    def fields(self) -> dict[str, str]:
        found = {"User-Agent": self.agent, "Accept": "*/*"}
        if self.entity_tag:
            found["If-None-Match"] = self.entity_tag
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came. `failure` says what broke it off; the rest is then what had come until then."""

    question: Question
    took_s: float
    status: int = 0
    fields: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    length_bytes: int = 0
    sha256: str = ""
    start: bytes = b""  # of the content, at most `START_BYTES`
    failure: str = ""


def judge(answer: Answer) -> tuple[Verdict, str]:
    """Return the verdict and, unless it is right, the reason."""
    if answer.failure:
        return Verdict.FAILED, answer.failure
    if answer.status == 304 and answer.question.entity_tag:
        return _judge_unmodified(answer.question)
    if answer.status != 200:
        return Verdict.FAILED, f"status {answer.status}"
    return _judge_body(answer)


def _judge_unmodified(question: Question) -> tuple[Verdict, str]:
    tag = _DIGEST_TAG.fullmatch(question.entity_tag)
    if question.entity_tag == OUTDATED_TAG:
        return Verdict.WRONG, "304 for an entity tag that it never had"
    if tag and not question.item.may_change and tag[1] != question.item.sha256:
        return Verdict.WRONG, "304 for an entity tag that it does not have"
    return Verdict.RIGHT, ""


def _judge_body(answer: Answer) -> tuple[Verdict, str]:
    item = answer.question.item
    if answer.sha256 in item.former:
        return Verdict.WRONG, f"sha256 {answer.sha256}, which it was before"
    is_as_stated = answer.sha256 == item.sha256
    if not is_as_stated and not item.may_change:
        return Verdict.WRONG, f"sha256 {answer.sha256}, must be {item.sha256}"
    tag = _DIGEST_TAG.fullmatch(answer.fields.get("etag", ""))
    if tag and tag[1] != answer.sha256:
        return Verdict.WRONG, f"sha256 {answer.sha256}, its entity tag says {tag[1]}"
    if not is_as_stated and not tag:
        return Verdict.FAILED, "it has changed, and no digest vouches for it"
    return Verdict.RIGHT, ""

"""`mirror.fill.messages`: every form comes back as it was sent; other bytes are refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mirror.accounting.uses import LeftOut, Use
from mirror.fill.frames import MAX_PAYLOAD_BYTES
from mirror.fill.messages import (
    Answer,
    Ask,
    Check,
    Failed,
    FlightState,
    GrowingAnswer,
    Hello,
    InlineAnswer,
    PassThroughAnswer,
    Progress,
    Purpose,
    StoredAnswer,
    Uses,
    decode,
    decode_answer,
    encode,
)
from mirror.store.entry import Attestation, Stored
from tests.unit.fill.fake_keeper import entry

STORED = Stored(entry=entry(), attestation=Attestation(inode=2**63, size=5, ctime_ns=2**60))
ABSENT = Stored(entry=entry(status=404), attestation=None)
FAILED = Failed(status=503, reason="upstream is away", retry_after_s=2)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(StoredAnswer(stored=STORED, outcome="hit"), id="stored"),
        pytest.param(StoredAnswer(stored=ABSENT, outcome="hit", is_stale=True), id="absent"),
        pytest.param(
            GrowingAnswer(
                flight=1,
                path="/x",
                entry=entry(),
                sendable=1,
                landed=2,
                length=-1,
                collapsed=True,
            ),
            id="growing",
        ),
        pytest.param(InlineAnswer(entry=entry(), outcome="fwd=uri-miss"), id="inline"),
        pytest.param(PassThroughAnswer(entry=entry(), length=-1), id="pass-through"),
        pytest.param(FAILED, id="failed"),
    ],
)
def test_each_answer_comes_back_as_it_was_sent(answer: Answer) -> None:
    assert decode_answer(encode(answer)) == answer
    assert len(encode(answer)) < 2048  # one small frame


def test_each_other_form_comes_back_as_it_was_sent() -> None:
    ask = Ask(purpose=Purpose.ATTEST, key="crates:/x", claim=bytes(32), range_start=1, range_end=9)
    done = Progress(
        flight=3, sendable=1, landed=2, length=2, state=FlightState.VERIFIED, stored=STORED
    )
    failed = Progress(
        flight=3, sendable=0, landed=2, length=2, state=FlightState.FAILED, failure=FAILED
    )
    assert decode(Ask, encode(ask)) == ask
    assert decode(Progress, encode(done)) == done
    assert decode(Progress, encode(failed)) == failed
    assert decode(Hello, encode(Hello(slot=-1, pid=7))) == Hello(slot=-1, pid=7, fillers=1)
    uses = Uses(uses=(Use("a", 1, 2, 0, 4), Use("b", 1, 2, 1, 4)), left_out=LeftOut(3, 9))
    assert decode(Uses, encode(uses)) == uses
    assert decode(Check, encode(Check(keys=("a",)))) == Check(keys=("a",))
    assert decode(Failed, encode(FAILED)) == FAILED


@example(raw=b"\x91\xa5\0\0\0\0\x80")  # a tag that is no text
@given(raw=st.binary(max_size=100))
def test_other_bytes_are_refused_with_one_error(raw: bytes) -> None:
    for parse in (decode_answer, lambda payload: decode(Ask, payload)):
        try:
            parse(raw)
        except msgspec.MsgspecError:
            continue


def test_one_form_is_not_taken_for_another() -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(Hello, encode(FAILED))
    with pytest.raises(msgspec.MsgspecError):
        decode_answer(encode(Hello(slot=1, pid=1)))


def test_a_message_fits_into_a_frame_with_the_longest_key() -> None:
    ask = Ask(purpose=Purpose.FETCH, key="k" * 2048, claim=bytes(32))
    assert len(encode(ask)) < MAX_PAYLOAD_BYTES

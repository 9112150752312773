"""`mirror.fill.pending_keys`: each key seldom, bounded, in frames that fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mirror.fill.frames import MAX_PAYLOAD_BYTES
from mirror.fill.messages import Check, encode
from mirror.fill.pending_keys import (
    AGAIN_S,
    PENDING_MAX,
    SENT_MAX,
    STALE_AGAIN_S,
    PendingKeys,
)


def sent(checks: PendingKeys, now: float) -> list[str]:
    return sorted(key for batch in checks.batches(now) for key in batch)


def test_a_key_goes_out_once_in_a_while_however_often_it_is_served() -> None:
    checks = PendingKeys()
    assert checks.note("a", 0.0)
    assert not checks.note("a", 0.0)
    assert sent(checks, 0.1) == ["a"]
    assert not checks.note("a", 0.1 + AGAIN_S - 0.01)
    assert checks.note("a", 0.1 + AGAIN_S)
    assert sent(checks, 0.1 + AGAIN_S) == ["a"]


def test_what_was_dropped_is_noted_again_at_once() -> None:
    checks = PendingKeys()
    checks.note("a", 0.0)
    checks.clear()
    assert sent(checks, 0.0) == []
    assert checks.note("a", 0.0)
    sent(checks, 0.0)
    checks.clear()
    assert checks.note("a", 0.1)


def test_one_message_names_a_bounded_number_of_keys() -> None:
    checks = PendingKeys()
    noted = [checks.note(f"{number:04}" + "k" * 400, 0.0) for number in range(PENDING_MAX + 9)]
    assert noted == [True] * PENDING_MAX + [False] * 9
    batches = checks.batches(0.0)
    assert sum(map(len, batches)) == PENDING_MAX
    assert len(batches) > 1
    assert all(len(encode(Check(keys=batch))) <= MAX_PAYLOAD_BYTES for batch in batches)


def test_the_memory_of_what_was_sent_is_bounded() -> None:
    checks = PendingKeys()
    for number in range(2 * SENT_MAX):
        checks.note(str(number), 0.0)
        if number % PENDING_MAX == PENDING_MAX - 1:
            checks.batches(0.0)
        assert len(checks._sent_at) <= SENT_MAX


def test_a_stale_key_goes_out_again_sooner() -> None:
    checks = PendingKeys()
    assert checks.note("a", 0.0, STALE_AGAIN_S)
    assert sent(checks, 0.0) == ["a"]
    assert not checks.note("a", STALE_AGAIN_S - 0.01, STALE_AGAIN_S)
    assert not checks.note("a", STALE_AGAIN_S)
    assert checks.note("a", STALE_AGAIN_S, STALE_AGAIN_S)


@given(
    hits=st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(min_value=0, max_value=4)), max_size=50
    )
)
def test_no_key_goes_out_twice_within_the_pause(hits: list[tuple[str, float]]) -> None:
    checks, now = PendingKeys(), 0.0
    last: dict[str, float] = {}
    for key, pause_s in hits:
        now += pause_s
        checks.note(key, now)
        for gone in sent(checks, now):
            assert now - last.get(gone, -AGAIN_S) >= AGAIN_S
            last[gone] = now
        assert now - last[key] <= AGAIN_S

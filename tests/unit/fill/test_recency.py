"""`mirror.fill.recency`: bounded, without doubles, in frames that fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mirror.fill.frames import MAX_PAYLOAD_BYTES
from mirror.fill.messages import encode
from mirror.fill.recency import USED_MAX, Recency


@given(st.sets(st.text(st.characters(codec="ascii"), min_size=1, max_size=2048), max_size=60))
def test_every_key_arrives_once_in_frames_that_fit(keys: set[str]) -> None:
    recency = Recency()
    for key in (*keys, *keys):
        recency.note(key)
    batches = recency.batches()
    assert sorted(key for batch in batches for key in batch.keys) == sorted(keys)
    assert all(len(encode(batch)) <= MAX_PAYLOAD_BYTES for batch in batches)
    assert recency.batches() == []


def test_the_longest_keys_are_split_over_frames() -> None:
    recency = Recency()
    for number in range(USED_MAX + 100):
        recency.note(f"{number:04}" + "k" * 2000)
    assert len(recency) == USED_MAX
    batches = recency.batches()
    assert sum(len(batch.keys) for batch in batches) == USED_MAX
    assert len(batches) > 1
    assert all(len(encode(batch)) <= MAX_PAYLOAD_BYTES for batch in batches)


def test_cleared_keys_are_gone() -> None:
    recency = Recency()
    recency.note("a")
    recency.clear()
    assert recency.batches() == []

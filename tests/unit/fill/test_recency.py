"""`mirror.fill.recency`: summed, bounded, nothing lost unnoticed, in frames that fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mirror.accounting.sampling import SURE_BYTES
from mirror.accounting.uses import LeftOut, Use
from mirror.fill.frames import MAX_PAYLOAD_BYTES
from mirror.fill.messages import encode
from mirror.fill.recency import BATCH_MAX, KEPT_MAX, USED_MAX, Recency

_KEYS = st.text(st.characters(codec="ascii"), min_size=1, max_size=2048)
_COUNTS = st.integers(0, 1 << 62)


@given(st.dictionaries(_KEYS, st.tuples(_COUNTS, _COUNTS, _COUNTS, _COUNTS), max_size=60))
def test_every_use_arrives_once_in_frames_that_fit(
    uses: dict[str, tuple[int, int, int, int]],
) -> None:
    recency = Recency()
    for key, use in uses.items():
        recency.note(key, *use)
    batches = recency.batches()
    told = [use for batch in batches for use in batch.uses]
    assert sorted(told) == sorted(Use(key, *use) for key, use in uses.items())
    assert all(len(encode(batch)) <= MAX_PAYLOAD_BYTES for batch in batches)
    assert recency.batches() == []


def test_uses_of_one_object_are_summed() -> None:
    recency = Recency()
    recency.note("a", 1, 0, 0, 70)
    recency.note("a", 3, 210, 2, 70)
    assert [batch.uses for batch in recency.batches()] == [(Use("a", 4, 210, 2, 70),)]


def test_what_has_no_room_is_counted_as_left_out() -> None:
    recency = Recency()
    for number in range(USED_MAX + 4096):
        recency.note(f"{number:05}", 2, 10, 0, 100)
    kept = len(recency)
    assert USED_MAX < kept < USED_MAX + 4096  # those that are sampled go on
    batches = recency.batches()
    assert sum(len(batch.uses) for batch in batches) == kept
    left_out = USED_MAX + 4096 - kept
    assert batches[-1].left_out == LeftOut(2 * left_out, 10 * left_out)
    assert all(not any(batch.left_out) for batch in batches[:-1])


def test_downloads_and_large_objects_are_noted_beyond_the_bound_up_to_another() -> None:
    recency = Recency()
    for number in range(2 * KEPT_MAX):
        recency.note(f"{number:05}", 1, 10, number % 2, SURE_BYTES if number % 2 == 0 else 10)
    assert len(recency) == KEPT_MAX
    batches = recency.batches()
    assert batches[-1].left_out == LeftOut(KEPT_MAX, 10 * KEPT_MAX)
    assert max(len(batch.uses) for batch in batches) == BATCH_MAX


def test_the_longest_keys_are_split_over_frames() -> None:
    recency = Recency()
    for number in range(USED_MAX):
        recency.note(f"{number:04}" + "k" * 2000, 1 << 62, 1 << 62, 1 << 62, 1 << 62)
    batches = recency.batches()
    assert sum(len(batch.uses) for batch in batches) == USED_MAX
    assert len(batches) > USED_MAX // BATCH_MAX
    assert all(len(encode(batch)) <= MAX_PAYLOAD_BYTES for batch in batches)


def test_cleared_uses_are_gone() -> None:
    recency = Recency()
    recency.note("a", 1, 2, 3, 4)
    recency.clear()
    assert recency.batches() == []

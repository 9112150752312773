"""Spatial sampling: the same objects at every scale, and as many as their weights say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.accounting.sampling import (
    CROWDED_SCALE_BYTES,
    EVEN_BYTES,
    SURE_BYTES,
    digest_of,
    is_sampled,
    limit_bytes,
    weight,
)

keys = st.text(alphabet="abcdef0123456789/:-._", min_size=1, max_size=40)
lengths = st.integers(0, 1 << 34)


@given(keys, lengths)
def test_a_worker_and_the_keeper_agree_on_what_is_sampled(key: str, length: int) -> None:
    kept_by_keeper = limit_bytes(digest_of(key), length) >= CROWDED_SCALE_BYTES
    assert is_sampled(key, length) == kept_by_keeper


@given(keys, lengths)
def test_an_object_is_sampled_wherever_it_stands_for_itself_alone(key: str, length: int) -> None:
    assert limit_bytes(digest_of(key), length) >= min(length + EVEN_BYTES, (1 << 63) - 1)
    assert weight(length, length + EVEN_BYTES) == 1.0


@given(keys, lengths, lengths)
def test_a_longer_object_is_sampled_at_larger_scales(key: str, one: int, other: int) -> None:
    digest = digest_of(key)
    assert (one <= other) == (limit_bytes(digest, one) <= limit_bytes(digest, other)) or (
        limit_bytes(digest, one) == limit_bytes(digest, other)
    )


@pytest.mark.parametrize("length", [0, 10_000, EVEN_BYTES, SURE_BYTES - 1, SURE_BYTES])
def test_weights_of_the_sampled_add_up_to_all(length: int) -> None:
    objects = 20_000
    sampled = sum(
        is_sampled(f"crates:/crates/c{n}/c{n}-1.0.0.crate", length) for n in range(objects)
    )
    # Four standard deviations of 20,000 draws at a quarter: 0.05 of the sum.
    assert sampled * weight(length, CROWDED_SCALE_BYTES) == pytest.approx(objects, rel=0.05)

"""Ranks of a calculated store: bounded, and all of it in its state."""

from __future__ import annotations

import pytest

from mirror.store.eviction import BlobUse, Standing
from mirror.store.ranks_in_memory import GHOSTS_MIN, GHOSTS_PER_BLOB, ranks_in_force

NOW_MS = 1_700_000_000_000


def _victims(count: int) -> list[BlobUse]:
    return [
        BlobUse(
            digest=n.to_bytes(8, "big"), freed_bytes=1, rank_ms=NOW_MS + n, used_at_ms=NOW_MS - n,
            is_on_probation=n % 2 == 0,
        )
        for n in range(count)
    ]  # fmt: skip


def test_ghosts_are_bounded_by_the_blobs_that_are_left() -> None:
    ranks = ranks_in_force()
    ranks.gone(_victims(1000), 0)
    assert len(ranks) == GHOSTS_MIN
    ranks.gone(_victims(1000), 200)
    assert len(ranks) == GHOSTS_PER_BLOB * 200


def test_a_ghost_that_comes_back_is_off_probation_and_forgotten() -> None:
    ranks = ranks_in_force()
    ranks.gone(_victims(3), 10)
    assert ranks.place((1).to_bytes(8, "big"), 0.1, NOW_MS + 100)[1] is False
    assert ranks.place(b"unknown!", 0.1, NOW_MS + 100)[1] is True
    assert len(ranks) == 2


def test_a_restored_state_goes_on_as_if_nothing_had_been() -> None:
    ranks, again = ranks_in_force(), ranks_in_force()
    ranks.place(b"first", 0.1, NOW_MS - 10**9)
    ranks.gone(_victims(20), 10)
    again.restore(ranks.state())
    assert again.state() == ranks.state()
    assert again.standing == ranks.standing
    for digest in (b"unknown!", (4).to_bytes(8, "big")):
        assert again.place(digest, 0.1, NOW_MS + 999) == ranks.place(digest, 0.1, NOW_MS + 999)


def test_no_state_is_a_beginning() -> None:
    ranks = ranks_in_force()
    ranks.restore(b"")
    assert (len(ranks), ranks.standing) == (0, Standing())


@pytest.mark.parametrize("cut", [1, 15, 20, 33, 40])
def test_a_damaged_state_is_refused_and_changes_nothing(cut: int) -> None:
    ranks, again = ranks_in_force(), ranks_in_force()
    ranks.gone(_victims(1), 10)
    with pytest.raises(ValueError, match="cannot be read"):
        again.restore(ranks.state()[:cut])
    assert (len(again), again.standing) == (0, Standing())

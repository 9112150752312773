"""When a dead process is started again, and when a silent one counts as hung."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mirror.config import Config
from mirror.supervisor.posts import (
    ALARM_DEATHS,
    HEARTBEAT_LIMIT_S,
    KEEPER_LANE,
    RELIEF_AFTER_S,
    RESTART_DELAYS_S,
    STABLE_S,
    START_LIMIT_S,
    Child,
    Phase,
    Post,
)


def child(started_at: float, phase: Phase = Phase.READY) -> Child:
    return Child(
        pid=1,
        lane=0,
        slot=0,
        config=Config(),
        started_at=started_at,
        ready_fd=-1,
        phase=phase,
        ready_at=None if phase is Phase.STARTING else started_at,
    )


def test_delays_grow_to_their_limit_and_stay_there() -> None:
    post = Post(lane=0)
    delays = [post.note_death(child(100), 100.0) for _ in range(10)]
    assert delays == [*RESTART_DELAYS_S, *[RESTART_DELAYS_S[-1]] * (10 - len(RESTART_DELAYS_S))]
    assert delays[0] == 0
    assert delays[-1] <= 1  # the keeper needs half a second more, and 2 s is the promise


def test_stable_life_forgives_earlier_deaths() -> None:
    post = Post(lane=0)
    post.note_death(child(0), 1.0)
    post.note_death(child(1), 2.0)
    assert post.note_death(child(2), 2.0 + STABLE_S) == 0
    assert post.restart_at == 2.0 + STABLE_S


def test_long_start_is_no_stable_life() -> None:
    """A keeper may read a big store for minutes, and end each time when it is done."""
    post = Post(lane=0)
    slow = replace(child(0.0), ready_at=100 * STABLE_S)
    delays = [post.note_death(slow, slow.ready_at or 0.0) for _ in range(3)]
    delays += [post.note_death(child(0.0, Phase.STARTING), 1000 * STABLE_S) for _ in range(2)]
    assert delays == list(RESTART_DELAYS_S)
    post.child = slow
    assert not post.has_settled(100 * STABLE_S)
    assert post.has_settled(101 * STABLE_S)


def test_draining_keeper_may_be_silent() -> None:
    """It commits what it holds; its own deadline ends that."""
    keeper = replace(child(10.0, Phase.DRAINING), lane=KEEPER_LANE)
    assert not keeper.is_hung(50.0, 900.0)


@pytest.mark.parametrize(
    ("phase", "beat_at", "now", "needs_relief"),
    [
        pytest.param(Phase.READY, 50.0, 50.0 + RELIEF_AFTER_S, False, id="at-the-limit"),
        pytest.param(Phase.READY, 50.0, 50.1 + RELIEF_AFTER_S, True, id="beyond-the-limit"),
        pytest.param(Phase.READY, 0.0, 900.0, False, id="never-beat"),
        pytest.param(Phase.STARTING, 50.0, 900.0, False, id="starting"),
        pytest.param(Phase.DRAINING, 50.0, 900.0, False, id="draining"),
    ],
)
def test_silence_asks_for_relief(
    phase: Phase, beat_at: float, now: float, needs_relief: bool
) -> None:
    assert child(10.0, phase).needs_relief(beat_at, now) is needs_relief


@pytest.mark.parametrize(
    ("phase", "beat_at", "now", "is_hung"),
    [
        pytest.param(Phase.READY, 50.0, 50.0 + HEARTBEAT_LIMIT_S, False, id="at-the-limit"),
        pytest.param(Phase.READY, 50.0, 50.1 + HEARTBEAT_LIMIT_S, True, id="beyond-the-limit"),
        pytest.param(Phase.STARTING, 0.0, 10.0 + START_LIMIT_S, False, id="still-starting"),
        pytest.param(Phase.STARTING, 0.0, 10.1 + START_LIMIT_S, True, id="never-beat"),
        pytest.param(Phase.STARTING, 900.0, 901.0, False, id="long-recovery-that-beats"),
        pytest.param(Phase.DRAINING, 50.0, 900.0, True, id="draining-in-silence"),
    ],
)
def test_silence_counts_as_hung(phase: Phase, beat_at: float, now: float, is_hung: bool) -> None:
    assert child(10.0, phase).is_hung(beat_at, now) is is_hung


def test_post_settles_once_after_an_alarm_and_never_without_one() -> None:
    post = Post(lane=0)
    for at in range(ALARM_DEATHS):
        post.note_death(child(at), float(at))
    post.child = child(100.0)
    assert not post.has_settled(100.0 + STABLE_S - 0.1)
    assert post.has_settled(100.0 + STABLE_S)
    assert not post.has_settled(200.0)


@pytest.mark.parametrize(
    ("post", "name"),
    [
        pytest.param(Post(lane=KEEPER_LANE), "keeper", id="keeper"),
        pytest.param(Post(lane=3), "worker of lane 3", id="empty"),
        pytest.param(Post(lane=3, child=child(0)), "worker-0", id="filled"),
    ],
)
def test_post_is_called_by_who_fills_it(post: Post, name: str) -> None:
    assert post.name == name

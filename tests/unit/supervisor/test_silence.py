"""Who is killed and who is relieved, by what the kernel says of their waiting for a core."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, cast

import pytest

from mirror.config import Config
from mirror.supervisor import silence, starvation
from mirror.supervisor.posts import HEARTBEAT_LIMIT_S, KEEPER_LANE, Child, Phase, Post
from mirror.supervisor.silence import Silence
from mirror.supervisor.starvation import MOST_S

BEAT_AT = 100.0
TURN_S = 0.25


class FakeCrew:
    """Children that beat last at `BEAT_AT`."""

    def __init__(self, *children: Child) -> None:
        self._children = children
        self.killed: list[int] = []

    def __iter__(self) -> Iterator[Child]:
        return iter(self._children)

    def beat_at(self, _child: Child) -> float:
        return BEAT_AT

    def kill(self, child: Child) -> None:
        child.is_killed = True
        self.killed.append(child.pid)


class Told:
    """Keeps the names of events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def warning(self, event: str, **_fields: object) -> None:
        self.events.append(event)

    error = warning


def child(pid: int, lane: int = 0) -> Child:
    return Child(
        pid=pid, lane=lane, slot=max(lane, 0), config=Config(), started_at=BEAT_AT - 60,
        ready_fd=-1, phase=Phase.READY,
    )  # fmt: skip


def watch(
    crew: FakeCrew, told: Told, posts: list[Post], until: float, monkeypatch: pytest.MonkeyPatch,
    *, waits: bool,
) -> list[Post]:  # fmt: skip
    """Judge four times a second; `waits`: the children want a core all the time and get none."""
    judged = Silence(cast("Any", crew), cast("Any", told))
    monkeypatch.setattr(silence, "is_runnable", lambda _pid: False)
    now = BEAT_AT
    monkeypatch.setattr(starvation, "run_delay_s", lambda _pid: now if waits else 0.0)
    relieved: list[Post] = []
    while now < until:
        now += TURN_S
        relieved += judged.judge(posts, now)
    return relieved


@pytest.mark.parametrize("lane", [0, KEEPER_LANE], ids=["worker", "keeper"])
def test_child_that_waits_for_something_else_is_killed_at_its_limit(
    lane: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew, told = FakeCrew(child(os.getpid(), lane)), Told()
    watch(crew, told, [], BEAT_AT + HEARTBEAT_LIMIT_S, monkeypatch, waits=False)
    assert (crew.killed, told.events) == ([], [])
    watch(crew, told, [], BEAT_AT + HEARTBEAT_LIMIT_S + 2 * TURN_S, monkeypatch, waits=False)
    assert (crew.killed, told.events) == ([os.getpid()], ["process-hung"])


def test_child_that_waits_for_a_core_is_killed_later_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crew, told = FakeCrew(child(os.getpid())), Told()
    watch(crew, told, [], BEAT_AT + HEARTBEAT_LIMIT_S + MOST_S, monkeypatch, waits=True)
    assert crew.killed == []
    limit_s = HEARTBEAT_LIMIT_S + MOST_S + 2 * TURN_S
    watch(crew, told, [], BEAT_AT + limit_s, monkeypatch, waits=True)
    assert (crew.killed, told.events) == ([os.getpid()], ["process-hung"])


@pytest.mark.parametrize("waits", [False, True])
def test_worker_is_relieved_unless_it_waits_for_a_core(
    waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = child(os.getpid())
    post = Post(lane=0, child=member)
    crew, told = FakeCrew(member), Told()
    relieved = watch(crew, told, [post], BEAT_AT + 4, monkeypatch, waits=waits)
    assert bool(relieved) is not waits
    assert ("process-silent" in told.events) is not waits

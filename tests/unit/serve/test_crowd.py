"""Who is idle longest goes for whoever comes; nobody else does."""

from __future__ import annotations

import weakref
from pathlib import Path

from mirror.serve.crowd import Crowd, Idle
from tests.unit.serve.fakes import config_with, parse_answer
from tests.unit.serve.idle_worker import FedConnection, IdleWorker

GET = b"GET /livez HTTP/1.1\r\nHost: m\r\n\r\n"
HALF = GET[:-2]


class Guest:
    def __init__(self, deadline_at: float) -> None:
        self.deadline_at = deadline_at
        self.is_idle = True

    def make_room(self) -> None:
        self.is_idle = False


def test_the_one_idle_longest_goes_first() -> None:
    guests = [Guest(at) for at in (30.0, 10.0, 20.0)]
    idle: list[Idle] = list(guests)
    crowd = Crowd(8)
    assert crowd.make_room(lambda: idle, 9)
    assert [guest.is_idle for guest in guests] == [True, False, True]
    assert crowd.make_room(lambda: idle, 9)
    assert [guest.is_idle for guest in guests] == [True, False, False]


def test_they_are_looked_for_once_per_tick() -> None:
    looks: list[float] = []
    crowd = Crowd(8)

    def find() -> list[Idle]:
        looks.append(1.0)
        return []

    assert not any(crowd.make_room(find, 9) for _ in range(3))
    crowd.tick()
    assert not crowd.make_room(find, 9)
    assert len(looks) == 2


def test_connections_that_are_gone_are_held_no_longer_than_a_tick() -> None:
    guests: list[Idle] = [Guest(1.0), Guest(2.0), Guest(3.0)]
    gone = weakref.ref(guests[1])
    crowd = Crowd(8)
    assert crowd.make_room(lambda: list(guests), 9)
    guests.clear()
    assert gone() is not None
    crowd.tick()
    assert gone() is None


def test_one_that_has_asked_meanwhile_stays() -> None:
    guests = [Guest(1.0), Guest(2.0)]
    crowd = Crowd(8)
    assert crowd.make_room(lambda: list(guests), 9)
    guests[1].is_idle = False
    assert not crowd.make_room(lambda: list(guests), 9)


def test_those_that_do_not_let_go_gain_nothing() -> None:
    assert not Crowd(80).make_room(lambda: [Guest(1.0)], 91)
    assert Crowd(80).make_room(lambda: [Guest(1.0)], 90)


def test_idle_connection_is_closed_for_another_and_a_busy_one_is_not(tmp_path: Path) -> None:
    with (
        IdleWorker(tmp_path, config_with(max_connections=3)) as worker,
        FedConnection(worker) as busy,
        FedConnection(worker) as silent,
        FedConnection(worker) as idle,
    ):
        busy.feed(GET + HALF)
        idle.feed(GET)
        with FedConnection(worker) as fourth:
            fourth.feed(GET)
            assert parse_answer(fourth.sent).status == 200
        assert (busy.is_closed, silent.is_closed, idle.is_closed) == (False, False, True)
        idle.leave()
        with FedConnection(worker) as third, FedConnection(worker) as one_too_many:
            third.feed(HALF)
            one_too_many.feed(GET)
            answer = parse_answer(one_too_many.sent)
            assert (answer.status, answer.fields["retry-after"]) == (503, "1")
            assert not busy.is_closed

"""`mirror.fill.followers`: who follows what, and which streams nobody needs any more."""

from __future__ import annotations

from pathlib import Path

from mirror.fill.bodies import GrowingBody
from mirror.fill.exchange import Exchange
from mirror.fill.followers import Followers
from mirror.fill.messages import FlightState, Progress
from mirror.store.files import REAL_FILES
from tests.unit.fill.fake_keeper import KEY, ask, growing


def body() -> GrowingBody:
    return GrowingBody(
        growing(Path("/nowhere"), 0),
        ask=ask(),
        blob_path="/nowhere",
        files=REAL_FILES,
        on_release=lambda _: None,
    )


def progress(flight: int, landed: int, state: FlightState = FlightState.RUNNING) -> Progress:
    return Progress(flight=flight, sendable=landed, landed=landed, length=10000, state=state)


def test_a_flight_moves_its_own_followers_only() -> None:
    followers, first, second = Followers(), body(), body()
    followers.follow(1, first, 11)
    followers.follow(2, second, 12)
    followers.advance(progress(1, 500))
    assert (first.landed, second.landed) == (500, 0)
    assert repr(followers) == "<Followers 2 of 2 flights>"


def test_only_the_last_one_to_leave_frees_the_streams() -> None:
    followers, first, second = Followers(), body(), body()
    followers.follow(1, first, 11)
    followers.follow(1, second, 12)
    assert followers.leave(first) == []
    assert followers.leave(first) == []
    assert followers.leave(second) == [11, 12]
    assert len(followers) == 0


def test_a_flight_that_failed_is_forgotten_with_its_followers() -> None:
    followers, first = Followers(), body()
    followers.follow(1, first, 11)
    followers.advance(progress(1, 0, FlightState.FAILED))
    assert first.state is FlightState.FAILED
    assert (len(followers), followers.leave(first)) == (0, [])
    followers.advance(progress(1, 9))
    assert first.landed == 0


def test_a_verified_flight_is_followed_until_it_is_published() -> None:
    followers, first = Followers(), body()
    followers.follow(1, first, 11)
    followers.advance(progress(1, 10000, FlightState.VERIFIED))
    assert len(followers) == 1
    assert followers.scatter() == [first]
    assert len(followers) == 0


def test_an_exchange_says_its_stream() -> None:
    exchange = Exchange(ask(), lambda *_: None)
    assert repr(exchange) == f"<Exchange fetch {KEY} stream 0>"
    exchange.lost()
    assert exchange.losses == 1

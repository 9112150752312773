"""Progress to one connection: coalesced, held while the peer does not read, ended once."""

from __future__ import annotations

import asyncio

from mirror.fill.announce import Announcer
from mirror.fill.growing import GrowingFile
from mirror.fill.messages import Failed, FlightState, Progress
from tests.unit.fill.test_growing import growing


def announcer() -> tuple[Announcer, list[Progress]]:
    sent: list[Progress] = []
    return Announcer(sent.append), sent


async def turn() -> None:
    await asyncio.sleep(0)


async def test_many_moves_in_one_turn_are_one_message() -> None:
    announce, sent = announcer()
    file = growing()
    for stream in (1, 2, 3):
        announce.follow(stream, file)
    file.land(10)
    file.land(20)
    await turn()
    assert [progress.landed for progress in sent] == [20]


async def test_a_paused_peer_gets_the_newest_state_when_it_reads_again() -> None:
    announce, sent = announcer()
    file = growing()
    announce.follow(1, file)
    announce.pause()
    file.land(10)
    await turn()
    file.land(30)
    await turn()
    assert sent == []
    announce.resume()
    assert [progress.landed for progress in sent] == [30]


async def test_the_last_follower_that_leaves_ends_the_messages() -> None:
    announce, sent = announcer()
    file = growing()
    announce.follow(1, file)
    announce.follow(2, file)
    assert announce.leave(1)
    file.land(10)
    await turn()
    assert announce.leave(2)
    assert not announce.leave(2)
    file.land(20)
    await turn()
    assert [progress.landed for progress in sent] == [10]
    assert len(announce) == 0


async def test_the_end_of_a_file_is_the_last_message() -> None:
    announce, sent = announcer()
    file = growing()
    announce.follow(1, file)
    file.fail(Failed(status=502, reason="no"))
    await turn()
    file.end()
    await turn()
    assert [progress.state for progress in sent] == [FlightState.FAILED]
    assert len(announce) == 0


async def test_a_file_that_is_over_is_announced_to_a_late_follower() -> None:
    announce, sent = announcer()
    file: GrowingFile = growing(landed=5)
    file.verify()
    file.end()
    announce.follow(1, file)
    await turn()
    assert [progress.state for progress in sent] == [FlightState.VERIFIED]


async def test_a_closed_connection_listens_no_more() -> None:
    announce, sent = announcer()
    file = growing()
    announce.follow(1, file)
    file.land(1)
    announce.close()
    file.land(2)
    await turn()
    assert sent == []

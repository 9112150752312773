from __future__ import annotations

from mirror.acceptances import AcceptedCrate
from mirror.fill.held import HELD_MAX, HeldReleases
from tests.unit.fill.keeper_world import FakeClock, RecordingLog


def release(number: int) -> AcceptedCrate:
    return AcceptedCrate(name="serde", version=f"1.0.{number}", cksum=bytes(32))


def test_held_release_is_told_once_with_the_line_that_accepts_it() -> None:
    log = RecordingLog()
    held = HeldReleases((), clock=FakeClock(), log=log)
    held.hold("index:/se/rd/serde", "why", release(1), event="crate-held")
    held.hold("index:/se/rd/serde", "why", release(1), event="crate-held")
    assert [item.accept for item in held] == [str(release(1))]
    assert len(log.named("crate-held")) == 1
    assert str(release(1)) in str(log.named("crate-held")[0]["hint"])


def test_accepted_release_is_told_once_and_leaves_the_list() -> None:
    log = RecordingLog()
    held = HeldReleases((str(release(1)),), clock=FakeClock(), log=log)
    held.hold("index:/se/rd/serde", "why", release(1), event="crate-held")
    assert held.is_accepted(release(1))
    assert held.is_accepted(release(1))
    assert not held.is_accepted(release(2))
    assert len(held) == 0
    assert len(log.named("release-accepted")) == 1


def test_what_upstream_offers_no_more_leaves_the_list() -> None:
    held = HeldReleases((), clock=FakeClock(), log=RecordingLog())
    held.hold("index:/se/rd/serde", "why", release(1), event="crate-held")
    held.hold("index:/to/ki/tokio", "why", release(2), event="crate-held")
    held.clear("index:/se/rd/serde")
    assert [item.key for item in held] == ["index:/to/ki/tokio"]


def test_list_is_bounded() -> None:
    held = HeldReleases((), clock=FakeClock(), log=RecordingLog())
    for number in range(HELD_MAX + 5):
        held.hold("index:/se/rd/serde", "why", release(number), event="crate-held")
    assert len(held) == HELD_MAX

"""`mirror.supervisor.crew`: every living child has a record of its own, or is not started."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from mirror.config import Config
from mirror.events import open_events
from mirror.store.page import SharedPage
from mirror.supervisor.crew import Crew, Programs, Seams, Station
from mirror.supervisor.handover import HandedChild
from mirror.supervisor.listeners import Listeners
from mirror.supervisor.posts import Post
from mirror.supervisor.tls_watch import CertificateWatch
from tests.unit.store.bench import FakeClock

SLOTS = 3


def test_worker_beyond_the_records_is_tried_later_and_ends_nobody(tmp_path: Path) -> None:
    """One reload after the other, while former workers still send to slow clients."""
    events = open_events("supervisor", None)
    page = SharedPage.create(str(tmp_path / "page"), SLOTS)
    crew = Crew(
        Seams(
            listeners=Listeners([]),
            keeper_sockets=(),
            page=page,
            programs=cast(Programs, None),  # nobody is forked
            reread=Config,
            clock=FakeClock(),
            events=events,
            certificates=CertificateWatch(FakeClock(), events),
        )
    )
    for slot in range(page.slots):
        crew.adopt(_draining(slot), Config())
    with pytest.raises(OSError, match="still drain"):
        crew.start_worker(Post(lane=0), Config(), Station(listening=()))
    assert len(crew) == page.slots


def _draining(slot: int) -> HandedChild:
    return HandedChild(
        pid=-100 - slot,
        lane=0,
        slot=slot,
        ready_fd=-1,
        phase="draining",
        started_at=0.0,
        kill_at=30.0,
        drain_s=30.0,
        end_signal=15,
    )

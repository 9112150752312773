"""Hostile clients of every kind beside good ones, for seconds: nobody good notices.

The same run as `benchmarks.hostile`, which also judges how long hits take, and goes on for an hour
in the soak.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.hostile import MOST_GROWTH_BYTES, MOST_MORE_FILES, run_hostile
from benchmarks.hostile_crowd import KINDS
from mirror.simulator.process import SimulatorProcess

FLOODS = {
    "reset streams",
    "rapid reset",
    "CONTINUATION flood",
    "empty CONTINUATION flood",
    "HPACK bomb",
    "empty DATA flood",
    "PING flood",
    "SETTINGS flood",
    "WINDOW_UPDATE flood",
}


@pytest.mark.full
def test_good_clients_see_no_error_beside_hostile_ones_of_every_kind(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    found = run_hostile(tmp_path, upstream, duration_s=16, phase_s=4, is_timed=False)
    assert found["planted wrong bodies found"] >= 2  # the checker, by either version of HTTP
    assert found["faults"] == []
    assert (found["good wrong"], found["good failed"]) == (0, 0), found["first faults"]
    assert found["good by HTTP/2"] > 0
    assert found["good misses"] > 0
    hostile = found["hostile"]
    assert set(hostile) == set(KINDS)
    assert all(counts["connections"] > 0 for counts in hostile.values()), hostile
    assert {name for name in FLOODS if hostile[name].get("cut", 0)} == FLOODS
    assert max(found["open files more"].values()) <= MOST_MORE_FILES
    assert max(found["rss growth, bytes"].values()) <= MOST_GROWTH_BYTES
    assert found["temps left"] == 0
    print(
        f"{found['good right']} good requests ({found['good by HTTP/2']} by HTTP/2,"
        f" {found['good misses']} misses), 0 failed, 0 wrong; hostile: {found['hostile in all']}"
    )

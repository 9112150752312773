"""Stored files are damaged: nobody is lied to, all of it is found, and comes back by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.damage_run import run_damage


@pytest.mark.full
def test_500_damaged_files_are_found_and_healed_without_a_wrong_body(
    tmp_path: Path, upstream: SimulatorProcess
) -> None:
    report = run_damage(tmp_path, upstream, 500)
    print(report)
    report.verdict(500)

"""Every pure function that is timed can be timed, and how figures are made of values.

Runs in: pytest.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.micro.subjects import SUBJECTS
from benchmarks.micro.timing import Timing, timing_of, values_ns
from benchmarks.results import ROOT


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_subject_can_be_called_again_and_again(name: str) -> None:
    found = values_ns(SUBJECTS[name](), values=2, value_s=0.0002)
    assert len(found) == 2
    assert min(found) > 0


def test_loops_are_doubled_until_a_value_is_long_enough() -> None:
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    values_ns(count, values=1, value_s=0.001)
    assert calls > 100


def test_the_figure_is_a_median_with_its_median_absolute_deviation() -> None:
    assert timing_of([1.0, 2.0, 3.0, 4.0, 100.0]) == Timing(median_ns=3.0, mad_ns=1.0, values=5)


@pytest.mark.full
def test_one_subject_in_several_processes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.micro", "--only", "an empty call",
         "--processes", "2", "--value-s", "0.001"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ns ±" in done.stdout

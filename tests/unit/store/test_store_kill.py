"""Real processes killed by a real SIGKILL at every file-system call of an operation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.store.steps import STEPS

_DEADLINE_S = 90.0


_QUICK = {"publish", "evict"}  # the rest is for `make check-full`


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in _QUICK else pytest.mark.full, id=name)
        for name in STEPS
    ],
)
def test_a_sigkill_at_any_call_leaves_the_old_state_or_the_new_one(
    tmp_path: Path, name: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.store.killing", str(tmp_path), name],
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rounds = int(done.stdout.split()[-1])
    assert rounds >= 1

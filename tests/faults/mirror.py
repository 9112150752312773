"""The command `rust-mirror` with a crash board: `python -m tests.faults.mirror serve …`.

The board is put in place before the supervisor forks, so that every process shares it.

Runs in: tests.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mirror.cli.main import main
from mirror.store import points
from tests.faults.board import CrashBoard

BOARD = "CRASH_BOARD"  # the environment's name for the board's file


def run() -> None:
    """Run the command; without a board it is a mistake of the test."""
    path = os.environ.get(BOARD, "")
    if not path:
        sys.exit(f"{BOARD} names no file: without a board this is `rust-mirror`")
    points.on_passed = CrashBoard(Path(path)).on_passed
    main()


if __name__ == "__main__":
    run()

"""The demo from start to end, with the built-in clients."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.served import ROOT, command


@pytest.fixture
def temporary() -> Iterator[str]:
    """Return a directory with a short path: the mirror's sockets lie below it."""
    with tempfile.TemporaryDirectory(prefix="d-") as folder:
        yield folder


@pytest.mark.full
def test_demo_without_clients_ends_with_a_table_and_leaves_nothing(
    tmp_path: Path, temporary: str
) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    environ = {
        "HOME": str(tmp_path),
        "PATH": str(empty),
        "TMPDIR": temporary,
        "PYTHONPATH": str(ROOT),
        "DEMO_ONCE": "1",
        "RUST_MIRROR__SERVE__WORKERS": "nonsense",  # a visitor's settings change nothing
    }
    ended = subprocess.run(
        command("demo"), env=environ, capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "no rustup here: the built-in client stands in" in ended.stdout
    assert "130 crates fetched and checked" in ended.stdout
    rounds = {
        cells[0]: cells
        for line in ended.stdout.splitlines()
        if line.startswith("│")
        and len(cells := [c.strip() for c in line.strip("│").split("│")]) > 5
    }
    assert rounds["warm"][4:6] == ["0", "0 B"], "the warm round takes nothing from upstream"
    assert rounds["crate"][-1] == "66.7%"
    assert os.listdir(temporary) == []

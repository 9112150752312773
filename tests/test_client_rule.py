"""A client scenario that does not run is a skip for a visitor and a failure for CI, and is counted.

Runs in: pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

ROOT = Path(__file__).parent.parent

_SCENARIOS = """
import pytest

pytestmark = pytest.mark.client("sh")

def test_runs():
    pass

def test_skips_itself():
    pytest.skip("no toolchain in it")

@pytest.mark.client("no-such-client")
def test_needs_what_is_absent():
    raise AssertionError("must not run")
"""


def _run(folder: Path, required: str) -> tuple[int, str]:
    (folder / "conftest.py").write_bytes((ROOT / "tests" / "conftest.py").read_bytes())
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = client\n")
    (folder / "test_scenarios.py").write_text(_SCENARIOS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rfs", "-p", "no:cacheprovider", folder],
        cwd=folder,
        env={**os.environ, "REQUIRE_CLIENTS": required},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_an_absent_client_is_a_skip_with_its_reason(tmp_path: Path) -> None:
    code, text = _run(tmp_path, "")
    assert code == 0, text
    assert "no-such-client not on PATH" in text
    assert "client scenarios: 1 ran, 2 skipped" in text


def test_require_clients_turns_every_such_skip_into_a_failure(tmp_path: Path) -> None:
    code, text = _run(tmp_path, "1")
    assert code == 1, text
    assert "1 failed, 1 passed, 1 error" in text
    assert "skipped although REQUIRE_CLIENTS is set" in text
    assert "client scenarios: 2 ran, 0 skipped" in text


@pytest.mark.parametrize("required", ["", "0"])
def test_the_rule_is_off_unless_asked_for(tmp_path: Path, required: str) -> None:
    code, text = _run(tmp_path, required)
    assert code == 0, text

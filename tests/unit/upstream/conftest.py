"""Fixtures of the upstream room's tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return tmp_path / "secret"

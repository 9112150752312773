"""Configuration files of one test, and the refusal of a wrong one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mirror.config_sources import (
    load,
)
from mirror.errors import ConfigError


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mirror.toml"
    file.write_text(text)
    return file


def refusal(
    tmp_path: Path,
    text: str = "",
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text), environ or {}, flags or {})
    return caught.value

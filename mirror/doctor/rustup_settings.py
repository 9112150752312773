"""What `rustup set` has written: settings.toml of rustup's home.

Runs in: commands.
"""

from __future__ import annotations

import tomllib
from pathlib import Path


def read_self_update(rustup_home: Path) -> str:
    """Return `auto_self_update`: "enable", "disable" or "check-only"; "" where nothing says."""
    try:
        settings = tomllib.loads((rustup_home / "settings.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""  # rustup says by itself what is wrong with the file
    value = settings.get("auto_self_update")
    return value if isinstance(value, str) else ""

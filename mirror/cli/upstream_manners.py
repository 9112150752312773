"""What commands need to ask upstreams as the mirror does: its name, and nobody who counts.

Runs in: commands.
"""

from __future__ import annotations

import os
import re

_ANONYMOUS = "rust-mirror-command"
_INSTANCE = "instance"  # as `app.serve` writes it
_TOKEN = re.compile(r"rust-mirror-[0-9a-f]{16}")


class NoMeter:
    """The ledger is the mirror's; these requests serve no client."""

    def exchange(self, pool: str, url: str, path: str, *, method: str, attempt: int) -> NoExchange:
        return NoExchange()


class NoExchange:
    def begin(self) -> None: ...

    def answered(self, status: int, head_bytes: int) -> None: ...

    def received(self, content_bytes: int) -> None: ...

    def finish(self, *, is_complete: bool, error: str = "") -> None: ...


class Silence:
    """What fails is in the report."""

    def info(self, event: str, /, **fields: object) -> None: ...

    def warning(self, event: str, /, **fields: object) -> None: ...

    def error(self, event: str, /, **fields: object) -> None: ...


def instance_token(state_path: str) -> str:
    """Return the name of the mirror of that state directory in CDN-Loop; "": it cannot be read."""
    try:
        with open(os.path.join(state_path, _INSTANCE), encoding="ascii") as file:
            token = file.read(64).strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return token if _TOKEN.fullmatch(token) else ""


def own_token(state_path: str) -> str:
    """Return what goes into CDN-Loop of a command's requests."""
    return instance_token(state_path) or _ANONYMOUS

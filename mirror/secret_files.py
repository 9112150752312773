"""Secrets are files that the configuration names, never values in it.

Outside the room `upstream` because the supervisor asks too, before it lets a keeper try a reloaded
configuration, and must not load what only the keeper needs.

Rule: no message shows what a file holds.
Runs in: keeper, supervisor, commands.
"""

from __future__ import annotations

from mirror.config import S3, Upstream
from mirror.errors import ConfigError


def check_secrets(upstream: Upstream) -> None:
    """Read every secret that a keeper will need. Raises: ConfigError."""
    for name in ("releases", "crates", "index"):
        section = getattr(upstream, name)
        if any(url.startswith("s3://") for url in section.urls):
            read_secret(section.s3, f"upstream.{name}.s3")


def read_secret(settings: S3, table: str) -> str:
    """Return the secret access key of the file, or "". Raises: ConfigError."""
    name = settings.secret_access_key_file
    if not name:
        return ""
    try:
        with open(name, encoding="ascii") as file:
            secret = file.read().strip()
    except (OSError, UnicodeDecodeError) as exc:
        reason = getattr(exc, "strerror", None) or "not ASCII"
        key = f"{table}.secret_access_key_file"
        raise ConfigError(key, name, f"a readable file with the secret ({reason})") from exc
    if not secret:
        raise ConfigError(f"{table}.secret_access_key_file", name, "a file that is not empty")
    return secret

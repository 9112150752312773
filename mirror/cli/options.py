"""The options that say where the configuration comes from, shared by the commands.

Runs in: commands.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from mirror.config import Config
from mirror.config_sources import Loaded, load_with_origins

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Flags of one command line; loading again reads file and environment again."""

    file: Path | None
    flags: dict[str, str]

    def load(self) -> Config:
        return self.load_with_origins().config

    def load_with_origins(self) -> Loaded:
        return load_with_origins(self.file, os.environ, self.flags)

    def load_usable(self) -> Loaded:
        """Load, and look at the files that it names: what `serve` starts with must be usable.

        Apart from loading, because `status` may be run by a user who cannot read them.
        Raises: ConfigError.
        """
        from mirror.accounting.log_file import check_access_log
        from mirror.authorities import tls_context
        from mirror.secret_files import check_secrets

        loaded = self.load_with_origins()
        tls_context(loaded.config.upstream.ca_file)
        check_secrets(loaded.config.upstream)
        check_access_log(loaded.config)
        return loaded


def config_options(command: F) -> F:
    """Add `--config` and `--set` to a command."""
    file = click.option(
        "--config",
        "config_file",
        metavar="FILE",
        type=click.Path(path_type=Path, readable=False),  # the loader's error is one line
        help="Configuration file; without it /etc/rust-mirror/mirror.toml (root) or "
        "~/.config/rust-mirror/mirror.toml is read when it exists.",
    )
    settings = click.option(
        "--set",
        "settings",
        metavar="SECTION.KEY=VALUE",
        multiple=True,
        help="Set one value; lists are separated by commas. May be repeated.",
    )
    return file(settings(command))


def sources_of(config_file: Path | None, settings: tuple[str, ...]) -> Sources:
    """Return the sources. Raises click.UsageError for a setting without "="."""
    flags: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--set {setting}: write it as section.key=value")
        flags[key.strip()] = value.strip()
    return Sources(file=config_file, flags=flags)

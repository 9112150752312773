"""`rust-mirror version`.

Runs in: commands.
"""

from __future__ import annotations

import platform

import click

import mirror


@click.command()
def version() -> int:
    """Print the version of this program and of what it runs on."""
    click.echo(f"rust-mirror {mirror.__version__} (Python {platform.python_version()})")
    return 0

"""`rust-mirror serve`.

Does not import what workers must not carry: this process forks them.
Runs in: the command that becomes the supervisor.
"""

from __future__ import annotations

from pathlib import Path

import click

from mirror.cli.options import config_options, sources_of
from mirror.supervisor.upgrade import TRIAL_FLAG


@click.command()
@config_options
@click.option(
    "--listen",
    metavar="ADDRESS:PORT",
    multiple=True,
    help="Address for clients, as 0.0.0.0:8080 or [::]:8080. May be repeated.",
)
@click.option(TRIAL_FLAG, "running", default="", hidden=True)  # what a running mirror asks with
def serve(
    config_file: Path | None, settings: tuple[str, ...], listen: tuple[str, ...], running: str
) -> int:
    """Run the mirror until SIGTERM or Ctrl-C.

    \b
    Signals to the process:
      TERM, INT    finish transfers, then end; a second one ends at once
      HUP          read configuration and certificate again, replace workers one by one,
                   then the keeper; what is wrong changes nothing
      TTIN, TTOU   one worker more, one fewer
      USR2         upgrade in place: the version on disk takes over every socket;
                   one that cannot start changes nothing
    \b
    Examples:
      rust-mirror serve
      rust-mirror serve --listen 0.0.0.0:8080 --set store.budget=50GiB
      rust-mirror serve --config /etc/rust-mirror/mirror.toml
    \b
    Exit codes: 0 told to stop, and drained; 1 it could not start, or was stopped by force;
    2 wrong usage.
    """
    from mirror.app import serve as serve_until_stopped

    sources = sources_of(config_file, settings)
    if listen:
        sources.flags["serve.listen"] = ",".join(listen)
    return serve_until_stopped(lambda: sources.load_usable().config, running=running)

"""`rust-mirror status`.

Rules:
1. The keeper answers over its control socket. While it is away the same document is made from the
   files that it shares with the workers, so a crash loop can be looked at.
2. Exit code 0: every process is alive; 1: one is not, or no mirror runs there.

Runs in: commands.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from mirror.accounting.totals import Totals, read_totals
from mirror.cli.control_socket import ask_control
from mirror.cli.options import config_options, sources_of
from mirror.clock import SystemClock
from mirror.config import Config
from mirror.errors import MirrorError, StoreError


class NoMirrorError(MirrorError):
    """Nobody answers for that state directory, and no process of it is alive."""

    def __init__(self, state_path: str) -> None:
        super().__init__(
            f"no mirror is running here: state.path = {state_path!r}",
            source=state_path,
            retryable=True,
            status=503,
            hint="start one with `rust-mirror serve`, or name its directory: --set state.path=…",
        )


@click.command()
@config_options
@click.option("--json", "as_json", is_flag=True, help="Print the whole document as JSON.")
@click.option("--quiet", is_flag=True, help="Print nothing; the exit code says it all.")
def status(config_file: Path | None, settings: tuple[str, ...], as_json: bool, quiet: bool) -> int:
    """Show how a running mirror is doing.

    Exit codes: 0 every process is alive; 1 one is not, or no mirror runs there; 2 wrong usage.
    An upstream that fails does not count: what is stored is served meanwhile.

    \b
    Examples:
      rust-mirror status
      rust-mirror status --json --set state.path=/var/lib/rust-mirror
    """
    config = sources_of(config_file, settings).load()
    try:
        document = read_status(config)
    except NoMirrorError:
        if quiet:
            return 1
        raise  # `main` tells it on one line
    if as_json and not quiet:
        click.echo(json.dumps(document, indent=2))
    elif not quiet:
        from mirror.cli.status_page import print_status

        print_status(document)
    return 0 if document["is_healthy"] else 1


def read_status(config: Config) -> dict[str, Any]:
    """Return the status document. Raises NoMirrorError when no mirror runs there."""
    document = ask_control(config.state.path, "/status")
    return document if document is not None else _from_files(config)


def _from_files(config: Config) -> dict[str, Any]:
    from mirror.control.status import StatusSource, build_status
    from mirror.control.traffic import traffic_of
    from mirror.store.page import PAGE_NAME, SharedPage

    state = config.state.path
    try:
        page = SharedPage.attach(os.path.join(state, PAGE_NAME))
    except StoreError as exc:
        raise NoMirrorError(state) from exc
    document = build_status(
        StatusSource(
            config=config,
            page=page,
            clock=SystemClock(),
            traffic=lambda: traffic_of(_totals(state)),
        )
    )
    if not any(item["is_alive"] for item in document["processes"]):
        raise NoMirrorError(state)
    return document


def _totals(state_path: str) -> Totals:
    """Return what was ever counted; of the counters files only, where the ledger cannot be read."""
    from mirror.cli.history import open_history

    try:
        with open_history(state_path) as history:
            return history.totals()
    except StoreError as exc:
        click.echo(f"warning: the traffic of before is missing: {exc}", err=True)
        return read_totals(state_path)

"""`rust-mirror gc`.

Rules:
1. Nothing goes without --yes.
2. Exit code 0: it went (or would go); 1: it could not be done, or --to was not reached; 2: wrong
   usage.

Runs in: commands.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from mirror.cli.acting import own_store, result_of, shown_progress
from mirror.cli.control_socket import tell_control
from mirror.cli.options import config_options, sources_of
from mirror.cli.tables import size_text
from mirror.config import Config
from mirror.units import parse_size_bytes


@click.command()
@config_options
@click.option("--to", "to_size", metavar="SIZE", help="Evict too, until no more than this is used.")
@click.option("--yes", "is_meant", is_flag=True, help="Do it; without, only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def gc(
    config_file: Path | None,
    settings: tuple[str, ...],
    to_size: str | None,
    is_meant: bool,
    as_json: bool,
) -> int:
    """Remove what the store holds and nobody needs.

    That is: files that no key names any more, parts of downloads that nobody went on with for a
    week, quarantined bodies past [store] quarantine_keep, absences whose time is over. The mirror
    does without it: all of this goes by itself when its room is needed.

    After a lost index, files have no key until somebody asks for what is in them. Those are left
    alone, or they would be fetched again; room for others, and --to, take them as all else.

    --to SIZE also evicts, as the mirror would when it needs room: what is least worth keeping
    first, pins left alone.

    Without --yes nothing happens: it says what would go. Without a running mirror the store is
    opened by this command.

    Exit codes: 0 done, or said; 1 it could not be done, or --to was not reached; 2 wrong usage.

    \b
    Examples:
      rust-mirror gc
      rust-mirror gc --yes
      rust-mirror gc --to 50GiB --yes
      rust-mirror gc --to 50GiB --json
    """
    to_bytes = None if to_size is None else _size(to_size)
    config = sources_of(config_file, settings).load()
    wish = {"to_bytes": to_bytes}
    would = _run(config, wish | {"dry_run": True}, is_shown=False, total=0)
    if not is_meant:
        _tell(would, as_json=as_json, is_done=False)
        return 0
    total = would["unnamed_bytes"] + would["evicted_bytes"]
    done = _run(config, wish | {"dry_run": False}, is_shown=not as_json, total=total)
    _tell(done, as_json=as_json, is_done=True)
    if to_bytes is not None and done["used_bytes"] > to_bytes:
        click.echo("warning: --to was not reached: the rest is pinned or in use", err=True)
        return 1
    return 0


def _size(text: str) -> int:
    try:
        return parse_size_bytes(text, may_be_zero=True)
    except ValueError as exc:
        raise click.UsageError(f"--to {text}: write {exc}") from exc


def _run(config: Config, wish: dict[str, Any], *, is_shown: bool, total: int) -> dict[str, Any]:
    with shown_progress("freed", total, is_shown=is_shown, text=size_text) as show:
        answer = tell_control(config.state.path, "/gc", wish, show)
        if answer is not None:
            return result_of(answer, config.state.path)
        from mirror.clock import SystemClock
        from mirror.jobs.purge import Gc

        with own_store(config) as store:
            gc_it = Gc(store.purger, store.quarantined, SystemClock(), wish["to_bytes"])
            sums = gc_it.look() if wish["dry_run"] else gc_it.carry_out(show)
            return dataclasses.asdict(sums)


def _tell(sums: dict[str, Any], *, as_json: bool, is_done: bool) -> None:
    if as_json:
        click.echo(json.dumps({"is_done": is_done, **sums}, indent=2))
        return
    click.echo("removed" if is_done else "would remove")
    for text in (
        f"{sums['unnamed_blobs']:,} files that no key names, {size_text(sums['unnamed_bytes'])}",
        f"{sums['temps']:,} parts of downloads that nobody went on with",
        f"{sums['quarantined']:,} quarantined bodies",
        f"{sums['absences']:,} absences",
        f"{size_text(sums['evicted_bytes'])} by eviction",
    ):
        click.echo(f"  {text}")
    click.echo(f"used: {size_text(sums['used_bytes'])}")
    if not is_done:
        click.echo("nothing happened; say --yes to do it")

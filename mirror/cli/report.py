"""`rust-mirror report` and `rust-mirror report downloads`.

Rules:
1. They read the ledger beside a running mirror or without one, and write nothing but the output.
2. A file of `--output` is replaced whole or not at all; what is none (a device, a pipe) is written
   to, and a symbolic link stays one.

Runs in: commands.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from mirror.accounting.report_rows import DIMENSIONS
from mirror.cli.options import config_options, sources_of
from mirror.config import Config
from mirror.errors import ConfigError, StoreError

CHUNK_BYTES = 1 << 16  # click flushes at every call
FORMATS = ("table", "json", "csv", "html", "markdown")
_FORMAT_OF_SUFFIX = {
    ".json": "json", ".csv": "csv", ".html": "html", ".htm": "html", ".md": "markdown",
}  # fmt: skip

_output = click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to FILE (replaced when it is complete); without it to standard output.",
)


@click.group(invoke_without_command=True)
@config_options
@click.option(
    "--since", default="30d", show_default=True, metavar="TIME", help="Begin: 30d, 12h, 2026-11-01."
)
@click.option("--until", default="", metavar="TIME", help="End, not included; without it now.")
@click.option(
    "--by",
    "by",
    default="class",
    show_default=True,
    metavar="NAME,…",
    help=f"Rows of the table: {', '.join(DIMENSIONS)}; an empty name gives the total alone.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Without it what the name of --output says, or a table.",
)
@_output
@click.option("--title", default="", metavar="TEXT", help="First line of the report.")
@click.option(
    "--top",
    default=20,
    show_default=True,
    metavar="N",
    type=click.IntRange(0, 10_000),
    help="How many of the most requested objects are shown.",
)
@click.pass_context
def report(
    context: click.Context,
    config_file: Path | None,
    settings: tuple[str, ...],
    since: str,
    until: str,
    by: str,
    form: str | None,
    output: Path | None,
    title: str,
    top: int,
) -> int:
    """Say what was served, fetched and saved, and what that is worth.

    Sums are those of the ledger, which survives restarts; a mirror may run meanwhile. Money is by
    the price file of accounting.prices; without one by example list prices, and it says so. Days
    are those of UTC; a span below two days is shown by the hour, while accounting.hours_kept lasts.

    The HTML file needs nothing beside it: mail it, print it, or put it on a web server.
    docs/savings.md says how savings are computed, and what they do not include.

    Exit codes: 0 done; 1 the ledger or the prices cannot be read; 2 wrong usage.

    \b
    Examples:
      rust-mirror report
      rust-mirror report --since 7d --by day
      rust-mirror report --since 2026-10-01 --until 2026-11-01 --by group --output october.html
      rust-mirror report --since 365d --by month --format csv
      rust-mirror report --format json | jq .total.saved_bytes
      rust-mirror report downloads --since 2026-11-01 --output downloads.log
    """
    if (command := context.invoked_subcommand) is not None:
        _refuse_given(context, command)
        return 0
    from mirror.accounting.price_file import load_prices
    from mirror.accounting.report import ReportRequest, build_report
    from mirror.cli.history import open_history
    from mirror.cli.report_spans import span_between

    now, dimensions = time.time(), _dimensions(by)
    config = sources_of(config_file, settings).load()
    hours_kept_s = float(config.accounting.hours_kept)
    span = span_between(since, until, dimensions, now, hours_kept_s=hours_kept_s)
    prices = load_prices(config.accounting.prices)
    request = ReportRequest(
        span=span,
        now=now,
        by=dimensions,
        title=title or f"What {site_of(config)} saved",
        top_objects=top,
        store_bytes=int(config.store.budget),
        hours_kept_s=hours_kept_s,
    )
    with open_history(config.state.path) as history:
        built = build_report(history, prices, request)
    form = form or _FORMAT_OF_SUFFIX.get(output.suffix.lower() if output else "", "table")
    if form == "csv":
        for note in built.notes:
            click.echo(f"note: {note.text}", err=True)
    from mirror.cli.report_formats import rendered

    is_terminal = output is None and sys.stdout is not None and sys.stdout.isatty()
    _write([rendered(built, form, is_terminal=is_terminal).encode()], output)
    return 0


@report.command()
@config_options
@click.option(
    "--since", default="1d", show_default=True, metavar="TIME", help="First day: 7d, 2026-11-01."
)
@click.option("--until", default="", metavar="TIME", help="End, not included; at most today.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("lines", "csv")),
    default="lines",
    show_default=True,
    help="Log lines, one per download, or one line per day and version.",
)
@_output
def downloads(
    config_file: Path | None,
    settings: tuple[str, ...],
    since: str,
    until: str,
    form: str,
    output: Path | None,
) -> int:
    """Tell which crates were downloaded here, as log lines that crates.io could count.

    Behind a mirror crate authors lose downloads from their statistics. This gives them in the form
    that the counter of crates.io reads from its own CDN: GET, 200, a user agent beginning with
    cargo/. They hold no address and no time of day. Only complete days are told, so that no
    download is told twice by commands for different days. Nothing is sent anywhere.

    Counting is off unless accounting.downloads is true. docs/downloads.md says more.

    Exit codes: 0 done; 1 it is off, or the ledger cannot be read; 2 wrong usage.

    \b
    Examples:
      rust-mirror report downloads
      rust-mirror report downloads --since 2026-11-01 --until 2026-12-01 --output november.log
      rust-mirror report downloads --since 30d --format csv
    """
    from mirror.accounting.download_lines import csv_lines, log_lines
    from mirror.cli.history import open_history
    from mirror.cli.report_spans import whole_days

    begin, end = whole_days(since, until, time.time())
    config = sources_of(config_file, settings).load()
    if not config.accounting.downloads:
        raise ConfigError(
            "accounting.downloads",
            False,
            "downloads are not counted; set it to true and restart the mirror",
        )
    with open_history(config.state.path) as history:
        counted = history.downloads(begin, end)
    if form == "csv":
        _write(csv_lines(counted), output)
    else:
        _write(log_lines(counted, site_of(config)), output)
    return 0


def _refuse_given(context: click.Context, command: str) -> None:
    """Options before a subcommand are not its own: ignored, they would seem to count."""
    for parameter in context.command.params:
        if context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE:
            name = parameter.opts[0]
            raise click.UsageError(f"{name} comes after {command}: report {command} {name} …")


def site_of(config: Config) -> str:
    """Return how this mirror is called: the host of its public URL, or of this machine."""
    return urlsplit(config.serve.public_url).hostname or socket.gethostname() or "rust-mirror"


def _dimensions(by: str) -> tuple[str, ...]:
    names = tuple(name for name in (part.strip() for part in by.split(",")) if name)
    for name in names:
        if name not in DIMENSIONS or names.count(name) > 1:
            raise click.BadParameter(
                f"{name!r}: some of {', '.join(DIMENSIONS)}, each once", param_hint="--by"
            )
    return names


def _write(parts: Iterable[bytes], output: Path | None) -> None:
    if output is None:
        waiting = bytearray()
        for part in parts:
            waiting += part
            if len(waiting) >= CHUNK_BYTES:
                click.echo(bytes(waiting), nl=False)
                waiting.clear()
        click.echo(bytes(waiting), nl=False)
        return
    try:
        if output.exists() and not output.is_file():
            # Never replaced: as root a rename would put a file in the place of /dev/null.
            with open(output, "wb") as file:
                file.writelines(parts)
        else:
            _replace(parts, output.resolve())
    except OSError as exc:
        raise StoreError(
            str(output), exc.strerror or "cannot be written", noun="output", retryable=False
        ) from exc


def _replace(parts: Iterable[bytes], output: Path) -> None:
    """Write beside the file and rename: who reads it meanwhile sees the former whole."""
    descriptor, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for part in parts:
                file.write(part)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, output)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise

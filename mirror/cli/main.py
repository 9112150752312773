"""The command `rust-mirror`: finds the subcommand, and turns errors into one line.

Rules:
1. A subcommand's module is imported when it is asked for: `serve` forks, and what is imported here
   every worker carries.
2. An error that we raise on purpose is one line and, where there is one, a hint; never a trace.
3. Exit codes: 0 done; 1 the product could not do it (wrong configuration, taken port, no mirror);
   2 wrong usage of the command line.

Runs in: commands.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys

import click

import mirror
from mirror.errors import MirrorError

# name -> (module, attribute, the line that `--help` shows without importing the module)
_COMMANDS = {
    "serve": ("mirror.cli.serve", "serve", "Run the mirror until SIGTERM or Ctrl-C."),
    "demo": ("mirror.cli.demo", "demo", "See it work: simulated upstream, real clients, a table."),
    "config": ("mirror.cli.config", "config", "Show or check the configuration."),
    "upgrade": ("mirror.cli.upgrade", "upgrade", "Have the installed version take over."),
    "status": ("mirror.cli.status", "status", "Show how a running mirror is doing."),
    "verify": ("mirror.cli.verify", "verify", "Check what is stored again; say who vouches."),
    "purge": ("mirror.cli.purge", "purge", "Take stored objects away, to be fetched anew."),
    "gc": ("mirror.cli.gc", "gc", "Remove what is stored and nobody needs."),
    "report": ("mirror.cli.report", "report", "Say what was saved, and what that is worth."),
    "doctor": ("mirror.cli.doctor", "doctor", "Find what is wrong here, and what to do."),
    "dev-cert": ("mirror.cli.dev_cert", "dev_cert", "Make a CA and a certificate for trials."),
    "version": ("mirror.cli.version", "version", "Print the version."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _line = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{attribute} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in _COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(mirror.__version__, prog_name="rust-mirror")
def cli() -> None:
    """A caching, verifying edge for Rust releases and crates.

    \b
    Examples:
      rust-mirror demo
      rust-mirror serve --listen 0.0.0.0:8080
      rust-mirror serve --config /etc/rust-mirror/mirror.toml
      rust-mirror status
    \b
    Exit codes: 0 done; 1 it could not be done, or the mirror is not well; 2 wrong usage.
    """


def main() -> None:
    """Run the command line and exit."""
    _buffer_output()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors are told on standard error."""
    try:
        result = cli.main(arguments, prog_name="rust-mirror", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a full disk can still be told
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except click.Abort:
        return 130
    except MirrorError as exc:
        click.echo(f"error: {exc.message}", err=True)
        if exc.hint:
            click.echo(f"hint: {exc.hint}", err=True)
        return 1
    except OSError as exc:
        if not _is_output_broken():
            raise
        if exc.errno != errno.EPIPE:  # who closed the pipe has read enough
            click.echo(f"error: standard output: {exc.strerror}", err=True)
        return 1
    return result if isinstance(result, int) else 0


def _buffer_output() -> None:
    """Put a buffer before standard output where PYTHONUNBUFFERED left none.

    Without, a write that a full disk takes a part of is no error, and the rest is lost in silence.
    """
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper) and isinstance(stream.buffer, io.RawIOBase):
        encoding, errors = stream.encoding, stream.errors
        binary = io.BufferedWriter(io.FileIO(stream.fileno(), "w", closefd=False))
        sys.stdout = io.TextIOWrapper(binary, encoding, errors, line_buffering=True)


def _is_output_broken() -> bool:
    """Tell whether standard output cannot be written, and if so, drop what it still holds.

    What could not be written is kept, and fails again at the next flush: here, or with a trace at
    the interpreter's end.
    """
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return True
    return False

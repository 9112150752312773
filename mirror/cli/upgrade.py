"""`rust-mirror upgrade`: have the running mirror replaced by the version on disk.

Rules:
1. The process that is signalled is the one that holds the state directory's lock: its id stands in
   the lock file, and it counts only while that process has the file open.
2. What became of it is read from the supervisor's events, so no part of the mirror has to answer.

Units: seconds.
Runs in: commands.
"""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from mirror.cli.options import config_options, sources_of
from mirror.config import Config
from mirror.errors import StoreError
from mirror.events import latest_events

LOCK = "supervisor.lock"
LOOK_S = 0.1
TRIAL_WAIT_S = 90.0  # beyond the trial's own limit
_ENDS = ("upgraded", "upgrade-refused", "successor-failed")


@click.command()
@config_options
def upgrade(config_file: Path | None, settings: tuple[str, ...]) -> int:
    """Have the running mirror replaced by the version that is installed.

    The version on disk is tried first (it must load, and accept configuration and certificate),
    then takes over every socket in the same process. No connection is refused or reset; transfers
    end undisturbed. What cannot start changes nothing. Same as SIGUSR2 to the process.

    \b
    Examples:
      pip install --upgrade rust-edge-mirror && rust-mirror upgrade
      rust-mirror upgrade --config /etc/rust-mirror/mirror.toml
    \b
    Exit codes: 0 the other version runs; 1 it was refused and the former one goes on, or no mirror
    runs; 2 wrong usage.
    """
    config = sources_of(config_file, settings).load()
    pid = _supervisor(config)
    began = datetime.now(UTC).isoformat(timespec="microseconds")
    try:
        os.kill(pid, signal.SIGUSR2)
    except PermissionError as exc:
        hint = "run this command as the user that the mirror runs as"
        raise StoreError(str(pid), "not this user's process", hint=hint, noun="process") from exc
    drain_s = config.serve.drain_timeout
    event = _outcome(config.state.path, began, TRIAL_WAIT_S + drain_s)
    if event is None:
        click.echo("error: not done yet; `rust-mirror status` shows how it goes on", err=True)
        return 1
    if event["event"] == "upgraded":
        click.echo(f"{event['version']} runs, in place of {event['former']}")
        return 0
    click.echo(f"error: {event.get('reason', 'a process of it does not start')}", err=True)
    click.echo(f"hint: {event.get('hint', '')}", err=True)
    return 1


def _supervisor(config: Config) -> int:
    """Return the id of the process that holds the state directory. Raises: StoreError."""
    path = os.path.join(config.state.path, LOCK)
    try:
        with open(path, encoding="ascii") as file:
            pid = int(file.read().strip() or 0)
    except (OSError, ValueError):
        pid = 0
    if pid <= 0 or not _holds(pid, os.path.realpath(path)):
        hint = "start it with `rust-mirror serve`, or name its [state] path"
        raise StoreError(config.state.path, "no mirror is running there", hint=hint, noun="state")
    return pid


def _holds(pid: int, path: str) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        return any(os.readlink(f"{folder}/{name}") == path for name in os.listdir(folder))
    except PermissionError:
        return True  # another user's: the signal will tell
    except OSError:
        return False


def _outcome(state_path: str, began: str, limit_s: float) -> dict[str, Any] | None:
    deadline_at = time.monotonic() + limit_s
    while time.monotonic() < deadline_at:
        for event in latest_events(state_path):
            if event["event"] in _ENDS and str(event.get("time", "")) >= began:
                return event
        time.sleep(LOOK_S)
    return None

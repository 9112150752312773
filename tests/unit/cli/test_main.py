"""The command line: usage, one-line errors, exit codes; nothing heavy is imported for `serve`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

import mirror
from mirror.cli.main import cli, run

FORBIDDEN = ("aiohttp", "botocore", "cryptography", "prometheus_client", "jinja2", "rich")


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version"]) == 0
    assert mirror.__version__ in capsys.readouterr().out
    assert run(["--version"]) == 0


def test_every_command_has_help_that_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.list_commands(click.Context(cli)):
        assert run([name, "--help"]) == 0
        assert f"rust-mirror {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["nothing"], ["serve", "--nothing"], ["config", "show", "--set", "x"]]
)
def test_wrong_usage_ends_with_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert "Error" in capsys.readouterr().err


def test_wrong_configuration_is_one_line_and_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "check", "--set", "store.budgt=1GiB"]) == 1
    error = capsys.readouterr().err
    assert error == "error: store.budgt = '1GiB': not a known key; did you mean store.budget?\n"


def test_config_show_prints_a_file_with_origins(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "mirror.toml"
    file.write_text("[serve]\nworkers = 3\n")
    assert run(["config", "show", "--origin", "--config", str(file)]) == 0
    assert f"workers = 3  # {file}" in capsys.readouterr().out
    assert run(["config", "show", "--config", str(file)]) == 0
    file.write_text(capsys.readouterr().out)
    assert run(["config", "check", "--config", str(file)]) == 0
    assert capsys.readouterr().out == f"ok: {file}\n"


def test_process_that_forks_the_workers_carries_nothing_of_the_keeper() -> None:
    program = (
        "import sys, mirror.cli.main, mirror.cli.serve, mirror.app\n"
        "from mirror.events import open_events\n"
        "mirror.app._load_for_keeper(); open_events('w', None)\n"
        f"found = [m for m in sys.modules if m.split('.')[0] in {FORBIDDEN}]\n"
        "sys.exit(' '.join(found) or 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")

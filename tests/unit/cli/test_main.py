"""The command line: usage, one-line errors, exit codes; nothing heavy is imported for `serve`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import mirror
from mirror.cli.config import show
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
    assert error == "error: store.budgt: not a known key; did you mean store.budget?\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(None, "No such file or directory", id="absent"),
        pytest.param("no certificate", "it holds no PEM certificate", id="no-certificate"),
    ],
)
def test_unusable_ca_file_is_refused_by_check_and_shown_by_show(
    content: str | None, told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    setting = ["--set", f"upstream.ca_file={file}"]
    assert run(["config", "check", *setting]) == 1
    allowed = f"a readable file of PEM certificates ({told})"
    assert capsys.readouterr().err == f"error: upstream.ca_file = '{file}': {allowed}\n"
    assert run(["config", "show", *setting]) == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(None, "a readable file with the secret (No such file", id="absent"),
        pytest.param(b"", "a file that is not empty", id="empty"),
        pytest.param(b"\xff", "not ASCII", id="binary"),
    ],
)
def test_unusable_secret_file_is_refused_by_check_and_shown_by_show(
    content: bytes | None, told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    secret, file = tmp_path / "secret", tmp_path / "mirror.toml"
    if content is not None:
        secret.write_bytes(content)
    table = f"access_key_id = 'AK'\nsecret_access_key_file = '{secret}'\n"
    file.write_text(f"[upstream.crates]\nurls = ['s3://bucket']\n[upstream.crates.s3]\n{table}")
    assert run(["config", "check", "--config", str(file)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: upstream.crates.s3.secret_access_key_file = '{secret}': ")
    assert told in error
    assert error.count("\n") == 1
    assert run(["config", "show", "--config", str(file)]) == 0


def test_value_of_a_key_that_nobody_knows_is_not_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a secret beside the name of its file."""
    key = "upstream.crates.s3.secret_access_key"
    assert run(["config", "check", "--set", f"{key}=hush-hush"]) == 1
    error = capsys.readouterr().err
    assert "hush-hush" not in error
    assert "did you mean upstream.crates.s3.secret_access_key_file?" in error
    monkeypatch.setenv("RUST_MIRROR__UPSTREAM__CRATES__S3__SECRET_ACCESS_KEY", "hush-hush")
    assert run(["config", "check"]) == 1
    assert "hush-hush" not in capsys.readouterr().err


def test_s3_table_without_a_bucket_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "mirror.toml"
    file.write_text("[upstream.crates.s3]\nregion = 'eu-central-1'\n")
    assert run(["config", "check", "--config", str(file)]) == 0
    assert "advice: upstream.crates.s3 is not used" in capsys.readouterr().err


WRONG = {
    "unknown key": (
        "[serve]\nlisen = ['127.0.0.1:1']",
        "serve.lisen",
        "did you mean serve.listen?",
    ),
    "wrong type": ("[serve]\nworkers = 'two'", "serve.workers", "a whole number"),
    "negative size": ("[store]\nbudget = '-1GiB'", "store.budget", "GiB"),
    "wrong network": ("[serve]\ntrusted_proxies = ['10/8']", "serve.trusted_proxies", "10.0.0.0/8"),
    "s3 origin": (
        "[upstream.crates]\nurls = ['s3://B/x']",
        "upstream.crates.urls",
        "s3://bucket/prefix",
    ),
    "no proof": ("[trust]\nchannel_manifest = 'none'", "trust.channel_manifest", "digest"),
    "another key": (
        "[trust]\nrelease_key_file = '/dev/null'",
        "trust.release_key_file",
        "is not the key with trust.release_key_fingerprints",
    ),
    "TLS": ("[serve]\ntls_listen = ['0.0.0.0:8443']", "serve.tls.certificate", "dev-cert"),
    "s3 table": ("[[origin]]\nname = 'x'", "origin", "not available"),
    "value for a table": ("[serve]\ntls = 'x'", "serve.tls", "write [serve.tls]"),
}


@pytest.mark.parametrize(("text", "key", "told"), WRONG.values(), ids=WRONG)
def test_check_names_key_value_and_what_is_allowed_on_one_line(
    text: str, key: str, told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "mirror.toml"
    file.write_text(text)
    assert run(["config", "check", "--config", str(file)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    shown = ":" if key == WRONG["unknown key"][1] else " = "
    assert captured.err.startswith(f"error: {key}{shown}")
    assert told in captured.err
    assert captured.err.count("\n") == 1


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


@pytest.mark.parametrize("arguments", [["config", "show"], ["--help"], ["version"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_standard_output_is_one_line_and_code_1(arguments: list[str], unbuffered: str) -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "mirror", *arguments],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
            check=False,
        )
    expected = "error: standard output: No space left on device\n"
    assert (ended.returncode, ended.stderr) == (1, expected)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_of_which_a_part_fits_is_no_success(tmp_path: Path, unbuffered: str) -> None:
    """Without a buffer the kernel takes a part of a write, and says so in a number only."""
    limited = 'ulimit -f 1; exec "$0" -m mirror config show'
    with open(tmp_path / "config.toml", "wb") as file:
        ended = subprocess.run(
            ["bash", "-c", limited, sys.executable],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (1, "error: standard output: File too large\n")
    assert (tmp_path / "config.toml").stat().st_size == 1024


def test_closed_standard_output_is_no_trace() -> None:
    ended = subprocess.run(
        ["bash", "-c", 'exec "$0" -m mirror config show >&-', sys.executable],
        stderr=subprocess.PIPE,
        timeout=20,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_closed_pipe_ends_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "mirror", "config", "show"],
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=20,
            check=False,
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_file_of_another_kind_is_an_error_of_the_configuration_not_of_usage(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["config", "check", "--config", str(tmp_path)]) == 1
    told = f"error: --config = '{tmp_path}': a readable file (Is a directory)\n"
    assert capsys.readouterr().err == told


def test_click_does_not_judge_whether_the_file_is_readable() -> None:
    option = next(p for p in show.params if p.name == "config_file")
    assert isinstance(option.type, click.Path)
    assert not option.type.readable

"""`rust-mirror report`: a real ledger on disk, told in every form."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import time
from pathlib import Path

import pytest

from mirror.accounting.counters import Counters
from mirror.accounting.days import DAY_S, date_text
from mirror.accounting.layout import CellName, layout_of
from mirror.accounting.state_tables import STATE_TABLES
from mirror.cli.main import run
from mirror.cli.report import FORMATS
from mirror.store.state import STATE_NAME, StateDatabase

LAYOUT = layout_of(("ci",), ("https://static.crates.io",))
GB = 10**9


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory in which nothing was counted yet."""
    path = tmp_path / "state"
    path.mkdir()
    StateDatabase.open(str(path / STATE_NAME), tables=STATE_TABLES).close()
    return path


@pytest.fixture
def counted(state: Path) -> Path:
    """6 GB served, 1 GB fetched, by a worker that is still counting."""
    counters = Counters.open(str(state), 0, LAYOUT)
    cells: dict[CellName, int] = {
        ("served", "ci", "crate", "hit", "requests"): 50,
        ("served", "ci", "crate", "hit", "content_bytes"): 5 * GB,
        ("served", "other", "crate", "miss", "requests"): 10,
        ("served", "other", "crate", "miss", "content_bytes"): GB,
        ("served", "other", "other", "refused", "requests"): 4,
        ("fetched", "https://static.crates.io", "crate", "requests"): 10,
        ("fetched", "https://static.crates.io", "crate", "content_bytes"): GB,
        ("fetched", "https://static.crates.io", "crate", "throttled"): 1,
    }
    names = list(LAYOUT.names())
    for name, value in cells.items():
        counters.view[names.index(name)] = value
    counters.close()
    return state


def _report(state: Path, *arguments: str) -> int:
    return run(["report", "--set", f"state.path={state}", *arguments])


def test_json_has_the_figures_of_the_ledger(
    counted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _report(counted, "--format", "json", "--by", "group") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["total"]["saved_bytes"] == 5 * GB
    assert {row["group"]: row["served_bytes"] for row in document["rows"]} == {
        "ci": 5 * GB,
        "other": GB,
    }
    assert document["upstreams"][0]["throttled"] == 1
    assert document["own_answers"]["requests"] == 4
    # 5 GB at the example's margin of 0.025 USD
    assert document["total"]["avoided_micro"] == 125_000


@pytest.mark.parametrize("form", FORMATS)
def test_every_form_is_written_of_what_was_counted_and_of_nothing(
    form: str, counted: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert _report(counted, "--format", form) == 0
    whole = capsys.readouterr().out
    assert ("5000000000" if form in ("json", "csv") else "5.00 GB") in whole
    StateDatabase.open(str(tmp_path / STATE_NAME), tables=STATE_TABLES).close()
    assert _report(tmp_path, "--format", form) == 0
    shown = capsys.readouterr()
    assert "Nothing was counted yet." in (shown.err if form == "csv" else shown.out)


def test_the_name_of_the_file_says_the_form(counted: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    output.write_text("the former report")
    assert _report(counted, "--output", str(output), "--title", "Saved <here>") == 0
    assert "<h1>Saved &lt;here&gt;</h1>" in output.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "state"]
    assert output.stat().st_mode & 0o777 == 0o644


def test_a_price_file_counts_instead_of_the_example(
    counted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(
        'version = 1\ncurrency = "EUR"\n[[price]]\nname = "n"\npayer = "us"\n'
        "tiers = [{ price = 0.5 }]\n"
    )
    assert _report(counted, "--set", f"accounting.prices={file}") == 0
    shown = capsys.readouterr().out
    assert "2.50 EUR" in shown
    assert "example" not in shown


def test_a_wrong_price_file_is_one_line_here_and_in_config_check(
    counted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prices.toml"
    file.write_text('version = 1\ncurrency = "dollars"\n')
    setting = ["--set", f"accounting.prices={file}"]
    commands = [["report", "--set", f"state.path={counted}"], ["config", "check"]]
    for command in commands:
        assert run([*command, *setting]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"error: accounting.prices = '{file}': currency: three capitals")
        assert error.count("\n") == 1


def test_config_check_advises_on_groups_that_nobody_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(
        'version = 1\ncurrency = "EUR"\n[[price]]\nname = "n"\npayer = "us"\n'
        'groups = ["azur"]\ntiers = [{ price = 0.5 }]\n'
    )
    assert run(["config", "check", "--set", f"accounting.prices={file}"]) == 0
    assert "names groups that nobody has: 'azur'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["--by", "class,colour"], "'colour': some of class, group", id="by"),
        pytest.param(["--by", "class,class"], "each once", id="twice"),
        pytest.param(["--since", "soon"], 'such as "30d" or "12h"', id="since"),
        pytest.param(["--since", "2d", "--until", "3d"], "begins before it ends", id="backwards"),
        pytest.param(["--since", "2999-01-01"], "and before now", id="future"),
        pytest.param(["--since", "60000d"], "a hundred years at most", id="too-long"),
        pytest.param(["--format", "pdf"], "'pdf' is not one of", id="format"),
    ],
)
def test_wrong_usage_says_what_is_right(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], state: Path
) -> None:
    assert _report(state, *arguments) == 2
    assert told in capsys.readouterr().err


def test_a_directory_without_a_ledger_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _report(tmp_path) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: state ")
    assert "hint: " in error


def test_an_output_that_cannot_be_written_is_told(
    counted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _report(counted, "--output", str(tmp_path / "absent" / "report.html")) == 1
    assert "report.html: No such file" in capsys.readouterr().err


def test_a_report_that_cannot_be_finished_leaves_the_former(
    counted: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_source: str, _target: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    output = tmp_path / "report.html"
    output.write_text("the former report")
    monkeypatch.setattr(os, "replace", refuse)
    assert _report(counted, "--output", str(output)) == 1
    assert "No space left" in capsys.readouterr().err
    assert output.read_text() == "the former report"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "state"]


def test_an_output_that_is_no_file_is_written_to_and_stays(counted: Path, tmp_path: Path) -> None:
    """As root a rename would put a file in the place of /dev/null."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert _report(counted, "--format", "csv", "--output", str(pipe)) == 0
        assert os.read(reader, 1 << 16).startswith(b"class,requests,")
    finally:
        os.close(reader)
    assert pipe.is_fifo()


@pytest.mark.parametrize("target", ["there", "absent"])
def test_an_output_that_is_a_link_stays_one(counted: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "there").write_text("the former report")
    link = tmp_path / "report.csv"
    link.symlink_to(tmp_path / target)
    assert _report(counted, "--output", str(link)) == 0
    assert link.is_symlink()
    assert (tmp_path / target).read_text().startswith("class,requests,")


def test_a_day_whose_hours_are_gone_is_told_by_the_day(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Yesterday's hours, as a ledger that keeps an hour of them has expired them."""
    yesterday = int(time.time()) // DAY_S * DAY_S - DAY_S
    database = StateDatabase.open(str(state / STATE_NAME), tables=STATE_TABLES)
    cell = json.dumps(["served", "other", "crate", "hit", "requests"])
    database.transact(
        [
            ("INSERT INTO ledger_cell VALUES (1, 'served', ?)", [(cell,)]),
            ("INSERT INTO ledger_sum VALUES (86400, ?, 1, 7)", [(yesterday,)]),
        ]
    )
    database.close()
    span = ("--since", date_text(yesterday), "--until", date_text(yesterday + DAY_S))
    kept = ("--set", "accounting.hours_kept=1h")
    assert _report(state, "--format", "json", *span, *kept) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["total"]["requests"] == 7
    assert document["span"]["step_s"] == DAY_S


def test_hostile_names_reach_no_terminal(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = layout_of(("[red]\x1b[2J",))
    counters = Counters.open(str(state), 0, layout)
    counters.view[layout.row("served", "[red]\x1b[2J", "crate", "hit")] = 1
    counters.close()
    assert _report(state, "--by", "group") == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "[red]?[2J" in shown


DOWNLOADS_ON = ("--set", "accounting.downloads=true")


@pytest.fixture
def downloaded(state: Path) -> Path:
    """Three downloads yesterday, two the day before, one today."""
    today = int(time.time()) // DAY_S * DAY_S
    database = StateDatabase.open(str(state / STATE_NAME), tables=STATE_TABLES)
    database.transact(
        [
            (
                "INSERT INTO download_version (id, crate, version, last_day) VALUES (?, ?, ?, ?)",
                [(1, "serde", "1.0.0", today), (2, "libc", "0.2.177", today)],
            ),
            (
                "INSERT INTO download_day (day, version, downloads) VALUES (?, ?, ?)",
                [
                    (today - DAY_S, 1, 2),
                    (today - DAY_S, 2, 1),
                    (today - 2 * DAY_S, 1, 2),
                    (today, 1, 1),
                ],
            ),
        ]
    )
    database.close()
    return state


def _downloads(state: Path, *arguments: str) -> int:
    return run(["report", "downloads", "--set", f"state.path={state}", *arguments])


def test_downloads_are_lines_of_yesterday(
    downloaded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _downloads(downloaded, *DOWNLOADS_ON) == 0
    lines = capsys.readouterr().out.splitlines()
    yesterday = date_text(time.time() - DAY_S)
    assert [line.startswith(f"<134>{yesterday}T00:00:00Z ") for line in lines] == [True] * 3
    assert sum("/crates/serde/serde-1.0.0.crate" in line for line in lines) == 2


def test_options_before_the_subcommand_are_refused_and_not_ignored(
    downloaded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _report(downloaded, "downloads") == 2
    assert "--set comes after downloads" in capsys.readouterr().err


def test_many_downloads_are_as_many_lines(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yesterday = int(time.time()) // DAY_S * DAY_S - DAY_S
    database = StateDatabase.open(str(state / STATE_NAME), tables=STATE_TABLES)
    version = "INSERT INTO download_version VALUES (1, 'libc', '0.2.177', ?)"
    count = "INSERT INTO download_day (day, version, downloads) VALUES (?, 1, 1000)"
    database.transact([(version, [(yesterday,)]), (count, [(yesterday,)])])
    database.close()
    assert _downloads(state, *DOWNLOADS_ON) == 0
    assert capsys.readouterr().out.count("libc-0.2.177.crate") == 1000


def test_downloads_of_today_are_never_told(downloaded: Path, tmp_path: Path) -> None:
    output = tmp_path / "downloads.csv"
    arguments = ("--since", "30d", "--format", "csv", "--output", str(output))
    assert _downloads(downloaded, *DOWNLOADS_ON, *arguments) == 0
    rows = list(csv.DictReader(io.StringIO(output.read_text())))
    assert sum(int(row["downloads"]) for row in rows) == 5
    assert date_text(time.time()) not in {row["date"] for row in rows}


def test_downloads_are_off_unless_configured(
    downloaded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _downloads(downloaded) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "set it to true and restart the mirror" in shown.err


def test_a_span_without_a_complete_day_is_wrong_usage(
    downloaded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _downloads(downloaded, *DOWNLOADS_ON, "--since", date_text(time.time())) == 2
    assert "today is not over" in capsys.readouterr().err

"""`mirror.doctor.rustup`: where rustup goes, by its variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.doctor.findings import Verdict, parse_base
from mirror.doctor.rustup import judge_rustup
from mirror.doctor.rustup_settings import read_self_update

MIRROR = parse_base("https://mirror.example")
BOTH = {
    "RUSTUP_DIST_SERVER": "https://mirror.example",
    "RUSTUP_UPDATE_ROOT": "https://mirror.example/rustup",
}


def judged(environ: dict[str, str]) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for each in judge_rustup(environ, MIRROR):
        found.setdefault(each.subject, []).append(each.verdict)
    return found


@pytest.mark.parametrize(
    ("changes", "toolchains", "itself"),
    [
        pytest.param({}, Verdict.GOOD, Verdict.GOOD, id="both"),
        pytest.param({"RUSTUP_UPDATE_ROOT": None}, Verdict.GOOD, Verdict.PAST, id="one-forgotten"),
        pytest.param({"RUSTUP_DIST_SERVER": None}, Verdict.PAST, Verdict.GOOD, id="the-other"),
        pytest.param({"RUSTUP_DIST_SERVER": ""}, Verdict.PAST, Verdict.GOOD, id="empty-is-unset"),
        pytest.param(
            {"RUSTUP_DIST_SERVER": "https://other.example"}, Verdict.PAST, Verdict.GOOD, id="other"
        ),
        pytest.param(
            {"RUSTUP_DIST_SERVER": "mirror.example"}, Verdict.PAST, Verdict.GOOD, id="no-url"
        ),
        pytest.param(
            {"RUSTUP_DIST_SERVER": "https://mirror.example//"}, Verdict.GOOD, Verdict.GOOD, id="//"
        ),
        pytest.param(
            {"RUSTUP_UPDATE_ROOT": "https://mirror.example"}, Verdict.GOOD, Verdict.PAST, id="root"
        ),
        pytest.param(
            {"RUSTUP_UPDATE_ROOT": "https://other.example/rustup"},
            Verdict.GOOD,
            Verdict.PAST,
            id="another-root",
        ),
    ],
)
def test_where_it_goes(
    changes: dict[str, str | None], toolchains: Verdict, itself: Verdict
) -> None:
    environ = {key: value for key, value in {**BOTH, **changes}.items() if value is not None}
    assert judged(environ) == {"rustup toolchains": [toolchains], "rustup itself": [itself]}


def test_deprecated_root_is_read_without_its_dist() -> None:
    environ = {**BOTH, "RUSTUP_DIST_SERVER": "", "RUSTUP_DIST_ROOT": "https://mirror.example/dist"}
    assert judged(environ)["rustup toolchains"] == [Verdict.GOOD, Verdict.NOTE]


def test_dist_at_the_end_is_told_because_rustup_adds_it() -> None:
    environ = {**BOTH, "RUSTUP_DIST_SERVER": "https://mirror.example/dist"}
    [_, wrong] = [each for each in judge_rustup(environ, MIRROR) if "toolchains" in each.subject]
    assert wrong.verdict is Verdict.PAST
    assert wrong.remedy == "export RUSTUP_DIST_SERVER=https://mirror.example"


def test_plain_http_cannot_install_rustup() -> None:
    environ = {**BOTH, "RUSTUP_UPDATE_ROOT": "http://mirror.example/rustup"}
    assert judged(environ)["rustup-init.sh"] == [Verdict.NOTE]


def test_a_password_is_not_shown() -> None:
    environ = {**BOTH, "RUSTUP_DIST_SERVER": "https://ci:secret@other.example"}
    told = repr(list(judge_rustup(environ, MIRROR)))
    assert "other.example" in told
    assert "secret" not in told


def test_without_a_known_mirror_any_server_may_be_it() -> None:
    verdicts = {each.verdict for each in judge_rustup(BOTH, None)}
    assert verdicts == {Verdict.GOOD}


@pytest.mark.parametrize(
    ("environ", "self_update", "told"),
    [
        ({}, "", "ask there each time"),
        ({}, "check-only", "ask there each time"),
        ({"CI": ""}, "", "ask there each time"),
        ({"CI": "false"}, "", "as CI is set"),
        ({}, "disable", "as its settings say so"),
    ],
)
def test_who_asks_for_a_newer_rustup_is_told(
    environ: dict[str, str], self_update: str, told: str
) -> None:
    [found] = [
        each
        for each in judge_rustup(environ, MIRROR, self_update=self_update)
        if each.subject == "rustup itself"
    ]
    assert found.verdict is Verdict.PAST  # rustup-init.sh asks there in any case
    assert told in found.sentence


def test_settings_of_rustup_are_read(tmp_path: Path) -> None:
    assert read_self_update(tmp_path) == ""
    (tmp_path / "settings.toml").write_text('version = "12"\nauto_self_update = "disable"\n')
    assert read_self_update(tmp_path) == "disable"
    (tmp_path / "settings.toml").write_text("auto_self_update = [")
    assert read_self_update(tmp_path) == ""


def test_sudo_is_told() -> None:
    [found] = list(judge_rustup({**BOTH, "SUDO_USER": "ci"}, MIRROR))[2:]
    assert (found.verdict, found.subject) == (Verdict.NOTE, "sudo")

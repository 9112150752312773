"""`rust-mirror doctor --client`: what it says is what the clients do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge
from tests.scenario.exchange import fetch
from tests.tls_files import make_server, settings_of

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


class Runner:
    """A CI runner's home; `doctor` runs in it as a job would."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        self.environ = {
            "HOME": str(root),
            "PATH": os.defpath,
            "RUSTUP_DIST_SERVER": url,
            "RUSTUP_UPDATE_ROOT": f"{url}/rustup",
        }
        (root / ".cargo").mkdir()
        self.replace(f"sparse+{url}/index/")

    def replace(self, registry: str) -> None:
        text = f'[source.crates-io]\nreplace-with = "m"\n[source.m]\nregistry = "{registry}"\n'
        (self.root / ".cargo" / "config.toml").write_text(text)

    def doctor(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mirror", "doctor", *arguments]
        return subprocess.run(
            command,
            cwd=self.root,
            env={**self.environ, "PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            check=False,
        )

    def document(self, *arguments: str, code: int) -> dict[str, Any]:
        done = self.doctor("--client", "--json", *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document


@pytest.fixture
def runner(tmp_path: Path, mirror: Edge) -> Runner:
    return Runner(tmp_path, f"http://127.0.0.1:{mirror.port}")


def past(document: dict[str, Any]) -> list[str]:
    return [each["subject"] for each in document["findings"] if each["verdict"] == "past"]


def test_a_runner_that_is_set_up_passes_nothing_by(runner: Runner) -> None:
    document = runner.document(code=0)
    assert past(document) == []
    assert document["mirror"] == runner.url
    assert [each["subject"] for each in document["findings"] if each["verdict"] == "good"] == [
        *("rustup toolchains", "rustup itself", "crates and index", "the mirror")
    ]


def test_what_was_forgotten_is_named_with_its_remedy(runner: Runner) -> None:
    del runner.environ["RUSTUP_UPDATE_ROOT"]
    done = runner.doctor("--client")
    assert done.returncode == 1
    assert "RUSTUP_UPDATE_ROOT is not set" in done.stdout
    assert f"export RUSTUP_UPDATE_ROOT={runner.url}/rustup" in done.stdout


def test_wrong_path_of_the_index_is_found_by_asking(runner: Runner) -> None:
    runner.replace(f"sparse+{runner.url}/wrong/")
    assert past(runner.document(code=1)) == ["crates and index"]
    assert past(runner.document("--offline", code=0)) == []


def test_a_mirror_that_is_away_is_told(runner: Runner) -> None:
    document = runner.document("--mirror", "http://127.0.0.1:1", code=1)
    sentence = [each for each in document["findings"] if each["subject"] == "the mirror"]
    assert "Connection refused" in sentence[0]["sentence"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--lockfile", "Cargo.lock"], 2, "go with --client"),
        (["--client", "--set", "store.budget=1GiB"], 2, "not with --client"),
        (["--client", "--offline", "--lockfile", "x"], 2, "--offline forbids"),
        (["--client", "--lockfile", "absent"], 1, "No such file"),
        (["--client", "--mirror", "mirror.example"], 1, "http:// or https:// URL"),
    ],
)
def test_mistakes_are_told_on_one_line(
    runner: Runner, arguments: list[str], code: int, told: str
) -> None:
    done = runner.doctor(*arguments)
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_lock_file_is_compared_with_what_the_mirror_has(runner: Runner, mirror: Edge) -> None:
    packages = [
        ("harvest", "1.0.0", CRATES_IO),
        ("heavy", "1.0.0", CRATES_IO),
        ("forked", "1.0.0", "git+https://git.example/forked#0123"),
    ]
    lines = (
        f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = "{source}"\n'
        for name, version, source in packages
    )
    (runner.root / "Cargo.lock").write_text("\n".join(lines))
    assert fetch(mirror.port, "/crates/harvest/harvest-1.0.0.crate").status == 200
    document = runner.document("--lockfile", "Cargo.lock", code=0)
    assert document["locked_crates"] == 2
    assert document["locked_crates_not_stored"] == ["heavy 1.0.0"]
    told = [each for each in document["findings"] if each["subject"] == "Cargo.lock"]
    assert "1 of 2 locked crates are stored" in told[0]["sentence"]
    assert "forked 1.0.0" in told[1]["sentence"]
    # Asking has fetched nothing.
    assert runner.document("--lockfile", "Cargo.lock", code=0)["locked_crates_not_stored"] != []


@pytest.mark.full
def test_a_user_name_in_urls_is_sent_and_its_password_never_told(runner: Runner) -> None:
    url = runner.url.replace("//", "//ci:s3cret@")
    runner.environ |= {"RUSTUP_DIST_SERVER": url, "RUSTUP_UPDATE_ROOT": f"{url}/rustup"}
    runner.environ["http_proxy"] = "ci:s3cret@127.0.0.1:1"
    runner.environ["no_proxy"] = "127.0.0.1"
    runner.replace(f"sparse+{url}/index/")
    assert past(runner.document(code=0)) == []
    runner.environ["no_proxy"] = ""
    for arguments in (["--client"], ["--client", "--json"], ["--client", "--offline"]):
        done = runner.doctor(*arguments)
        assert "***@127.0.0.1" in done.stdout
        assert "s3cret" not in done.stdout + done.stderr


@pytest.mark.full
def test_certificates_that_only_cargo_trusts_are_not_enough(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, module_simulator: SimulatorProcess
) -> None:
    made = make_server(tmp_path_factory.mktemp("certificate"))
    root = tmp_path_factory.mktemp("edge")
    with Edge(root, module_simulator, workers=1, settings=settings_of(made)) as edge:
        runner = Runner(tmp_path, f"https://127.0.0.1:{edge.tls_port}")
        assert past(runner.document(code=1)) == ["the mirror"]
        (runner.root / "ca.pem").write_bytes(made.authority.read_bytes())
        with (runner.root / ".cargo" / "config.toml").open("a") as file:
            file.write('[http]\ncainfo = "ca.pem"\n')  # beside .cargo
        document = runner.document(code=1)
        [found] = [each for each in document["findings"] if each["verdict"] == "past"]
        assert found["subject"] == "rustup toolchains"
        assert found["remedy"].startswith("export SSL_CERT_FILE")
        runner.environ["SSL_CERT_FILE"] = str(made.authority)
        assert past(runner.document(code=0)) == []

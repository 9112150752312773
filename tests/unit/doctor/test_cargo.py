"""`mirror.doctor.cargo` and `cargo_files`: where cargo goes, by all files it would read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.doctor.cargo import judge_cargo
from mirror.doctor.cargo_files import read_cargo_files
from mirror.doctor.findings import Finding, Verdict, parse_base
from mirror.doctor.probing import cargo_ca_file, rustup_ca_file
from mirror.doctor.replacement import source_of_crates

MIRROR = parse_base("https://mirror.example")
GOOD = """
[source.crates-io]
replace-with = "mirror"
[source.mirror]
registry = "sparse+https://mirror.example/index/"
"""


class Runner:
    """A home and a workspace with a folder in it."""

    def __init__(self, root: Path) -> None:
        self.home, self.folder = root / "home" / ".cargo", root / "work" / "deep"
        self.home.mkdir(parents=True)
        self.folder.mkdir(parents=True)
        self.environ = {"HOME": str(root / "home")}

    def write(self, folder: Path, text: str, name: str = "config.toml") -> None:
        place = folder if folder == self.home else folder / ".cargo"
        place.mkdir(exist_ok=True)
        (place / name).write_text(text)

    def url(self) -> str:
        return source_of_crates(read_cargo_files(self.folder, self.environ), self.environ).url

    def judged(self) -> list[Finding]:
        files = read_cargo_files(self.folder, self.environ)
        return list(judge_cargo(files, self.environ, MIRROR))

    def crates(self) -> Finding:
        [found] = [each for each in self.judged() if each.subject == "crates and index"]
        return found


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def test_home_alone(runner: Runner) -> None:
    runner.write(runner.home, GOOD)
    found = runner.crates()
    assert (found.verdict, found.seen) == (Verdict.GOOD, str(runner.home / "config.toml"))


def test_nearer_file_wins_key_by_key(runner: Runner) -> None:
    runner.write(runner.home, GOOD)
    other = '[source.mirror]\nregistry = "sparse+https://other.example/index/"'
    runner.write(runner.folder.parent, other)
    assert runner.url() == "sparse+https://other.example/index/"
    runner.write(runner.folder, '[source.mirror]\nregistry = "sparse+https://near.example/"')
    assert runner.url() == "sparse+https://near.example/"
    assert runner.crates().verdict is Verdict.PAST


def test_file_without_ending_is_read_in_place_of_the_other(runner: Runner) -> None:
    runner.write(runner.home, GOOD)
    runner.write(runner.home, "", name="config")
    assert runner.url() == ""


def test_cargo_home_is_read_from_its_variable(runner: Runner, tmp_path: Path) -> None:
    runner.write(runner.home, GOOD)
    runner.environ["CARGO_HOME"] = str(tmp_path / "elsewhere")
    assert runner.crates().verdict is Verdict.PAST


def test_included_file_counts_for_less_and_the_later_one_for_more(runner: Runner) -> None:
    runner.write(runner.home, GOOD, name="mirror.toml")
    runner.write(runner.home, GOOD.replace("mirror.ex", "other.ex"), name="other.toml")
    absent = '{ path = "absent.toml", optional = true }'
    runner.write(runner.home, f'include = ["other.toml", "mirror.toml", {absent}]')
    assert [each.verdict for each in runner.judged()] == [Verdict.GOOD]
    runner.write(runner.home, 'include = ["mirror.toml"]\n[source.mirror]\nregistry = "near"')
    assert runner.url() == "near"


@pytest.mark.parametrize(
    ("include", "told"),
    [
        ('"mirror.toml"', "must be a list"),
        ('["config.toml"]', "circle"),
        ('["mirror.toml", "../.cargo/mirror.toml"]', "comes twice"),
        ('["mirror.cfg"]', 'must end in ".toml"'),
        ("[3]", 'must end in ".toml"'),
        ('[{ path = "absent.toml" }]', "absent.toml: No such file"),
    ],
)
def test_include_that_ends_cargo_is_told(runner: Runner, include: str, told: str) -> None:
    runner.write(runner.home, "", name="mirror.toml")
    runner.write(runner.home, f"include = {include}\n" + GOOD)
    trouble, *_ = runner.judged()
    assert trouble.verdict is Verdict.PAST
    assert told in trouble.seen


def test_values_of_different_types_end_cargo(runner: Runner) -> None:
    runner.write(runner.home, GOOD)
    runner.write(runner.folder, '[source.mirror]\nregistry = ["x"]')
    trouble, *_ = runner.judged()
    assert "source.mirror.registry is of another type" in trouble.seen


def test_relative_cargo_home_lies_below_the_folder(runner: Runner) -> None:
    runner.environ["CARGO_HOME"] = "own"
    (runner.folder / "own").mkdir()
    (runner.folder / "own" / "config.toml").write_text("\ufeff" + GOOD)
    assert runner.crates().verdict is Verdict.GOOD


def test_empty_variable_is_no_index(runner: Runner) -> None:
    index = '[registries.m]\nindex = "sparse+https://mirror.example/index/"'
    runner.write(runner.home, f'[source.crates-io]\nreplace-with = "m"\n{index}')
    assert runner.crates().verdict is Verdict.GOOD
    runner.environ["CARGO_REGISTRIES_M_INDEX"] = ""
    found = runner.crates()
    assert (found.verdict, found.seen) == (Verdict.PAST, "CARGO_REGISTRIES_M_INDEX")


def test_registry_of_a_variable_alone_is_named(runner: Runner) -> None:
    runner.write(runner.home, GOOD)
    runner.environ["CARGO_REGISTRIES_OWN_INDEX"] = "sparse+https://u:p@own.example/"
    told = [(each.subject, each.seen) for each in runner.judged()][1:]
    assert told == [("registry own", "CARGO_REGISTRIES_OWN_INDEX")]
    assert "u:p" not in repr(runner.judged())


def test_patch_by_git_is_named(runner: Runner) -> None:
    runner.write(runner.home, GOOD + '[patch.crates-io]\nserde = { git = "https://g.example/s" }')
    assert "https://g.example/s" in runner.judged()[1].sentence


def test_certificates_of_cargo_are_not_those_of_rustup(runner: Runner) -> None:
    runner.environ["SSL_CERT_FILE"] = "/ssl.pem"
    files = read_cargo_files(runner.folder, runner.environ)
    assert cargo_ca_file(runner.environ, files) == ("/ssl.pem", "SSL_CERT_FILE")
    runner.write(runner.folder, '[http]\ncainfo = "own.pem"')
    files = read_cargo_files(runner.folder, runner.environ)
    assert cargo_ca_file(runner.environ, files)[0] == str(runner.folder / "own.pem")
    runner.environ["CARGO_HTTP_CAINFO"] = "/cargo.pem"
    assert cargo_ca_file(runner.environ, files) == ("/cargo.pem", "CARGO_HTTP_CAINFO")
    assert rustup_ca_file(runner.environ)[0] == "/ssl.pem"


@pytest.mark.parametrize(
    ("text", "verdict", "told"),
    [
        pytest.param("", Verdict.PAST, "no source replaces", id="nothing"),
        pytest.param(GOOD, Verdict.GOOD, "https://mirror.example/index/", id="good"),
        pytest.param(GOOD.replace("index/", "index"), Verdict.PAST, 'end in "/"', id="no-slash"),
        pytest.param(GOOD.replace("sparse+", ""), Verdict.PAST, "git repository", id="git"),
        pytest.param(GOOD.replace("mirror.ex", "other.ex"), Verdict.PAST, "another", id="other"),
        pytest.param(GOOD.replace("https:", "ftp:"), Verdict.PAST, "no http:", id="ftp"),
        pytest.param(
            '[source.crates-io]\nreplace-with = "gone"', Verdict.PAST, "'gone' is", id="gone"
        ),
        pytest.param(
            '[source.crates-io]\nreplace-with = "v"\n[source.v]\ndirectory = "vendor"',
            Verdict.GOOD,
            "folder, vendor",
            id="vendored",
        ),
        pytest.param(
            GOOD + 'replace-with = "crates-io"', Verdict.PAST, "circle, at 'crates-io'", id="circle"
        ),
        pytest.param(
            GOOD + 'replace-with = "mirror"', Verdict.PAST, "circle, at 'mirror'", id="to-itself"
        ),
        pytest.param(
            GOOD + '[source.unused]\nreplace-with = "mirror"',
            Verdict.PAST,
            "[source.unused] names 0 places",
            id="no-place",
        ),
        pytest.param(
            GOOD + 'directory = "vendor"', Verdict.PAST, "names 2 places", id="two-places"
        ),
        pytest.param(
            GOOD.replace('"mirror"', "3"), Verdict.PAST, "value that is no text", id="no-text"
        ),
        pytest.param(
            '[source.crates-io]\nregistry = "sparse+https://mirror.example/index/"',
            Verdict.GOOD,
            "https://mirror.example/index/",
            id="crates-io-itself",
        ),
        pytest.param(GOOD.replace("sparse", "SPARSE"), Verdict.GOOD, "mirror", id="capitals"),
        pytest.param(
            '[source.crates-io]\nreplace-with = "m"\n'
            '[registries.m]\nindex = "sparse+https://mirror.example/index/"',
            Verdict.GOOD,
            "https://mirror.example/index/",
            id="registry",
        ),
    ],
)
def test_replacement(runner: Runner, text: str, verdict: Verdict, told: str) -> None:
    runner.write(runner.home, text)
    found = runner.crates()
    assert found.verdict is verdict
    assert told in found.sentence


def test_variable_names_a_registry(runner: Runner) -> None:
    runner.write(runner.home, '[source.crates-io]\nreplace-with = "my-one"')
    runner.environ["CARGO_REGISTRIES_MY_ONE_INDEX"] = "sparse+https://mirror.example/index/"
    found = runner.crates()
    assert (found.verdict, found.seen) == (Verdict.GOOD, "CARGO_REGISTRIES_MY_ONE_INDEX")


def test_another_registry_is_named(runner: Runner) -> None:
    runner.write(runner.home, GOOD + '[registries.own]\nindex = "sparse+https://own.example/"')
    assert [each.subject for each in runner.judged()] == ["crates and index", "registry own"]


@pytest.mark.parametrize(
    ("environ", "text"),
    [({"CARGO_HTTP_MULTIPLEXING": "false"}, ""), ({}, "[http]\nmultiplexing = false")],
)
def test_no_multiplexing_is_slow(runner: Runner, environ: dict[str, str], text: str) -> None:
    runner.write(runner.home, GOOD + text)
    runner.environ |= environ
    assert [each.verdict for each in runner.judged()] == [Verdict.GOOD, Verdict.SLOW]


def test_variable_wins_over_the_file(runner: Runner) -> None:
    runner.write(runner.home, GOOD + "[http]\nmultiplexing = false\n[net]\noffline = true")
    runner.environ |= {"CARGO_HTTP_MULTIPLEXING": "true"}
    subjects = [(each.subject, each.verdict) for each in runner.judged()]
    assert subjects[1:] == [("cargo", Verdict.NOTE)]


@pytest.mark.parametrize("content", ["[source", "a = 1\na = 2", "\udcff"])
def test_unreadable_file_is_told(runner: Runner, content: str) -> None:
    (runner.home / "config.toml").write_bytes(content.encode("utf-8", "surrogateescape"))
    found = runner.judged()
    assert [each.verdict for each in found] == [Verdict.PAST, Verdict.PAST]
    assert str(runner.home / "config.toml") in found[0].seen

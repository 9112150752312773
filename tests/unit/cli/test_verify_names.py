"""What a user may write for a stored object, and what a mistake is answered with."""

from __future__ import annotations

import pytest

from mirror.cli.main import run
from mirror.cli.verify_names import NameMistakeError, join_crates, keys_of
from mirror.config import Config

CRATE = "crates:/crates/serde/serde-1.0.0.crate"
STABLE = "releases:/dist/channel-rust-stable.toml"


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        pytest.param(STABLE, [STABLE], id="key"),
        pytest.param("/dist/channel-rust-stable.toml", [STABLE], id="path"),
        pytest.param("dist/channel-rust-stable.toml", [STABLE], id="path-without-its-first-slash"),
        pytest.param("//dist//channel-rust-stable.toml", [STABLE], id="path-with-runs-of-slashes"),
        pytest.param("/index/se/rd/serde", ["index:/se/rd/serde"], id="path-of-an-index-file"),
        pytest.param("serde 1.0.0", [CRATE], id="crate-and-version"),
        pytest.param("serde@1.0.0", [CRATE], id="crate-at-version"),
        pytest.param("serde-1.0.0", [CRATE], id="crate-dash-version"),
        pytest.param("serde", ["index:/se/rd/serde"], id="crate-alone"),
        pytest.param(
            "a-b-1.0.0-rc.1", ["crates:/crates/a-b/a-b-1.0.0-rc.1.crate"], id="dashes-everywhere"
        ),
        pytest.param(
            "plusmeta 1.0.0+build.5",
            ["crates:/crates/plusmeta/plusmeta-1.0.0+build.5.crate"],
            id="build-metadata",
        ),
        pytest.param(
            "https://static.crates.io/crates/serde/serde-1.0.0.crate", [CRATE], id="upstream-url"
        ),
        pytest.param("https://index.crates.io/se/rd/serde", ["index:/se/rd/serde"], id="index-url"),
        pytest.param(
            "http://mirror:8080/crates/serde/1.0.0/download", [CRATE], id="url-of-a-mirror"
        ),
        pytest.param("http://[::1]:8080/dist/channel-rust-stable.toml", [STABLE], id="ipv6"),
    ],
)
def test_every_way_to_write_it_names_the_object(name: str, keys: list[str]) -> None:
    assert keys_of(name, Config()) == keys


def test_version_that_looks_like_two_gives_the_likeliest_first() -> None:
    assert keys_of("a-1.0.0-1.0.0", Config())[0] == "crates:/crates/a/a-1.0.0-1.0.0.crate"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no such!", "nothing can be stored under that name"),
        ("serde 1", "nothing can be stored under that name"),
        ("/livez", "the mirror makes that answer itself"),
        ("/etc/passwd", "Nothing is mirrored under this path."),
        ("/dist/../x", "dot segments"),
        ("/dist/ä", "no URL may hold"),
        ("http://[", "not a URL"),
        ("https://static.crates.io/dist/channel-rust-stable.toml", "Nothing is mirrored"),
    ],
)
def test_mistake_is_told_in_one_line_with_a_hint(
    name: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NameMistakeError, match=reason):
        keys_of(name, Config())
    assert run(["verify", name, "--set", "store.path=/nowhere"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in told] == ["error", "hint"]


def test_crate_and_version_as_two_words_are_one_name() -> None:
    words = ["serde", "1.0.0", "libc", "/x", "rand", "0.8.5"]
    assert join_crates(words) == ["serde 1.0.0", "libc", "/x", "rand 0.8.5"]


@pytest.mark.parametrize("arguments", [[], ["--all", "serde"]])
def test_nothing_or_too_much_is_wrong_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", *arguments]) == 2
    assert "Error" in capsys.readouterr().err

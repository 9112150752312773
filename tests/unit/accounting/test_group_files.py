"""`mirror.accounting.group_files`: what a file says, and refusals that say what to do."""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path

import msgspec
import pytest

from mirror.accounting.configured import ConfiguredGroups, configured_layout
from mirror.accounting.group_files import KEY, MAX_GROUPS, load_groups
from mirror.config import Accounting, Config
from mirror.errors import ConfigError
from tests.unit.accounting.test_provider_ranges import AZURE

SHIPPED = Path(__file__).parents[3] / "config" / "groups.toml"
MINIMAL = '[[group]]\nname = "a"\nnetworks = ["10.0.0.0/8"]\n'


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "groups.toml"
    path.write_text(text)
    return str(path)


def refusal(path: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_groups(path)
    assert (caught.value.key, caught.value.value) == (KEY, path)
    return str(caught.value)


def test_the_shipped_example_says_what_it_shows() -> None:
    table = load_groups(str(SHIPPED))
    assert table.names == ("office", "release-builders", "bare-metal")
    assert table.name_of(table.of_address("192.168.1.1")) == "office"
    assert table.header == b"x-runner-group"
    assert table.name_of(table.of_header(b"release-large")) == "release-builders"
    for subject, expected in (
        ("CN=r7.ci.example.org,OU=x,O=Example", "bare-metal"),
        ("O=Example,OU=Build Farm,CN=elsewhere", "bare-metal"),
        ("CN=r7.ci.example.org,O=Somebody", "other"),
        ("CN=r7.ci.example.org.evil,O=Example", "other"),
        (r"CN=r7.ci.example.org\,O=Example", "other"),
        ("", "other"),
    ):
        assert table.name_of(table.of_subject(subject)) == expected


def test_a_subject_that_almost_matches_many_stars_is_refused_at_once(tmp_path: Path) -> None:
    text = f'[[group]]\nname = "a"\ncertificate_subjects = ["CN={"*a" * 30}*b*c"]\n'
    (tmp_path / "groups.toml").write_text(text)
    table = load_groups(str(tmp_path / "groups.toml"))
    assert table.of_subject("CN=" + "a" * 64) == table.other
    assert table.of_subject("CN=" + "xa" * 30 + "abyc") == 0
    assert table.of_subject("CN=" + "xa" * 30 + "abycd") == table.other


def test_no_file_is_no_groups() -> None:
    assert load_groups("").names == ()


def test_a_ranges_file_stands_beside_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "azure.json").write_text(json.dumps(AZURE))
    (tmp_path / "own.txt").write_text("198.51.100.0/24\n")
    table = load_groups(
        written(
            tmp_path,
            '[[group]]\nname = "east"\nranges_file = "azure.json"\n'
            'ranges = ["AzureCloud.eastus"]\nnetworks = ["203.0.113.0/24"]\n'
            '[[group]]\nname = "own"\n'
            f'ranges_file = "{tmp_path}/own.txt"\n',
        )
    )
    found = ["4.157.0.1", "203.0.113.9", "2603:1030:210::1", "4.152.0.1", "198.51.100.1"]
    names = [table.name_of(table.of_address(address)) for address in found]
    assert names == ["east", "east", "east", "other", "own"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("[[group]\n", "is not TOML: Expected ']]' at the end", id="toml-with-line"),
        pytest.param("[group]\nname='a'\n", "write each group as [[group]]", id="one-bracket"),
        pytest.param("group = [1]\n", "[[group]] 1: write it as a table", id="no-table"),
        pytest.param("groups = []\n", "has the key groups; only [[group]]", id="other-key"),
        pytest.param(MINIMAL + "network = []\n", "did you mean networks?", id="misspelt"),
        pytest.param(MINIMAL + "zzz = []\n", "known: name, networks", id="unknown"),
        pytest.param(MINIMAL + MINIMAL, "[[group]] 2 (a): name = 'a'", id="twice"),
        pytest.param("[[group]]\nname='other'\n", "choose another one", id="other"),
        pytest.param("[[group]]\nname='-a'\n", "up to 64 letters", id="name"),
        pytest.param("[[group]]\nnetworks=['10.0.0.0/8']\n", "(without name): name", id="nameless"),
        pytest.param("[[group]]\nname='a'\n", "nobody can belong to it", id="nobody"),
        pytest.param(
            "[[group]]\nname='a'\nnetworks=['10.0.0.1/8']\n", "without host bits", id="host-bits"
        ),
        pytest.param("[[group]]\nname='a'\nnetworks='10.0.0.0/8'\n", "a list of", id="no-list"),
        pytest.param("[[group]]\nname='a'\nranges=['x']\n", "ranges_file which", id="which-file"),
        pytest.param(
            "[[group]]\nname='a'\nranges_file='absent.json'\n",
            "absent.json cannot be read: No such file",
            id="absent-file",
        ),
        pytest.param("[[group]]\nname='a'\nranges_file=1\n", "text in quotes", id="no-text"),
        pytest.param("[[group]]\nname='a'\nheader='X'\n", "set both", id="header-alone"),
        pytest.param(
            "[[group]]\nname='a'\nheader='X:'\nheader_values=['v']\n", "a field name", id="field"
        ),
        pytest.param(
            "[[group]]\nname='a'\nheader='X'\nheader_values=['v']\n"
            "[[group]]\nname='b'\nheader='Y'\nheader_values=['v']\n",
            "[[group]] 2 (b): header = 'Y': all groups use one field; 'X' is set",
            id="two-headers",
        ),
        pytest.param(
            "[[group]]\nname='a'\ncertificate_subjects=['XN=v']\n", "known are C, CN", id="subject"
        ),
        pytest.param(
            "".join(f"[[group]]\nname='g{n}'\n" for n in range(MAX_GROUPS + 1)),
            f"has {MAX_GROUPS + 1} groups; at most {MAX_GROUPS}",
            id="too-many",
        ),
    ],
)
def test_refusals_name_table_and_remedy(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(written(tmp_path, text))


def test_files_that_are_none_are_refused_without_waiting_for_them(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "is not a regular file" in refusal(str(tmp_path / "pipe"))
    assert "cannot be read: No such file" in refusal(str(tmp_path / "absent"))
    assert "cannot be read: Is a directory" in refusal(str(tmp_path))
    assert "is not UTF-8" in refusal(str(tmp_path / "binary"))


def test_groups_are_read_once_per_configuration_and_go_with_it(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL)
    groups = ConfiguredGroups()
    running = Config(accounting=Accounting(groups=path))
    groups.read(running)
    written(tmp_path, MINIMAL.replace('"a"', '"b"'))
    loaded = Config(accounting=Accounting(groups=path))  # equal to the former, and another one
    groups.read(loaded)
    assert (groups.of(running).names, groups.of(loaded).names) == (("a",), ("b",))

    written(tmp_path, "[[group]]\n")
    with pytest.raises(ConfigError):
        groups.read(Config(accounting=Accounting(groups=path)))
    # What the supervisor changes in a configuration leaves its accounting as it is.
    kept = msgspec.structs.replace(running, serve=loaded.serve)
    assert groups.of(kept).names == ("a",)
    assert repr(groups) == (
        "<ConfiguredGroups [<GroupTable 1 groups, 3+1 intervals>, "
        "<GroupTable 1 groups, 3+1 intervals>]>"
    )
    del loaded
    gc.collect()
    assert len(groups) == 1


def test_the_layout_has_a_row_for_each_group_and_each_upstream(tmp_path: Path) -> None:
    config = Config(accounting=Accounting(groups=written(tmp_path, MINIMAL)))
    layout = configured_layout(config, load_groups(config.accounting.groups))
    dimensions = {section.name: section.dimensions[0] for section in layout.sections}
    assert dimensions["served"] == ("a", "other")
    assert dimensions["fetched"] == (
        "https://static.rust-lang.org",
        "https://static.crates.io",
        "https://index.crates.io",
        "other",
    )

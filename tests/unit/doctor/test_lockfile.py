"""`mirror.doctor.lockfile`, `proxies` and `findings`."""

from __future__ import annotations

import pytest

from mirror.doctor.cargo_files import CargoFiles
from mirror.doctor.findings import parse_base, shown
from mirror.doctor.lockfile import LockedCrate, download_url, read_lockfile
from mirror.doctor.proxies import is_exempt, judge_proxies

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
LOCK = f"""
version = 4
[[package]]
name = "own"
version = "0.1.0"
[[package]]
name = "serde"
version = "1.0.0"
source = "{CRATES_IO}"
checksum = "{"ab" * 32}"
[[package]]
name = "forked"
version = "2.0.0"
source = "git+https://git.example/forked?branch=main#0123456"
[[package]]
name = "inner"
version = "3.0.0"
source = "sparse+https://own.example/index/"
"""


def test_crates_and_other_sources_are_told_apart() -> None:
    locked = read_lockfile(LOCK)
    assert locked.crates == (LockedCrate(name="serde", version="1.0.0", checksum="ab" * 32),)
    assert locked.others == {
        "git+https://git.example/forked": ("forked 2.0.0",),
        "sparse+https://own.example/index/": ("inner 3.0.0",),
    }


@pytest.mark.parametrize(
    "text",
    ["[[package]", "package = 1", "package = [1]", '[[package]]\nname = "a"', "[package]"],
)
def test_what_is_no_lock_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_lockfile(text)


@pytest.mark.parametrize(
    ("template", "name", "expected"),
    [
        ("https://m/crates", "serde", "https://m/crates/serde/1.0.0/download"),
        ("https://m/{crate}-{version}.crate", "serde", "https://m/serde-1.0.0.crate"),
        ("https://m/{prefix}/{lowerprefix}", "A", "https://m/1/1"),
        ("https://m/{prefix}/{lowerprefix}", "Ab", "https://m/2/2"),
        ("https://m/{prefix}/{lowerprefix}", "Abc", "https://m/3/A/3/a"),
        ("https://m/{prefix}/{lowerprefix}", "AbCd", "https://m/Ab/Cd/ab/cd"),
        ("https://m/{sha256-checksum}", "serde", f"https://m/{'cd' * 32}"),
    ],
)
def test_download_url_is_cargos(template: str, name: str, expected: str) -> None:
    crate = LockedCrate(name=name, version="1.0.0", checksum="cd" * 32)
    assert download_url(template, crate) == expected


@pytest.mark.parametrize(
    ("base", "url", "holds"),
    [
        ("https://m.example", "https://m.example/index/", True),
        ("https://m.example", "http://m.example/", True),
        ("https://m.example", "https://m.example:8443/", False),
        ("https://m.example/a", "https://m.example/ab", False),
        ("https://m.example/a", "https://M.example/a/b", True),
        ("https://m.example", "https://other.example", False),
        ("https://m.example", "file:///etc", False),
        ("https://m.example", "https://m.example:x/", False),
    ],
)
def test_base_holds_what_lies_below_it(base: str, url: str, holds: bool) -> None:
    parsed = parse_base(base)
    assert parsed is not None
    assert parsed.holds(url) is holds


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://u:p@m.example/x", "https://***@m.example/x"),
        ("https://m.example/x", "https://m.example/x"),
        ("sparse+https://u:p@m.example/x/", "sparse+https://***@m.example/x/"),
        ("u:p@m.example:3128", "***@m.example:3128"),
        ("https://u:p/@w@m.example/x", "https://***@m.example/x"),
    ],
)
def test_passwords_are_never_shown(url: str, expected: str) -> None:
    assert shown(url) == expected


@pytest.mark.parametrize(
    ("listed", "exempt"),
    [
        ("", False),
        ("*", True),
        ("m.example", True),
        (".example", True),
        ("example, other", True),
        ("ample", False),
    ],
)
def test_no_proxy_names_hosts_and_domains(listed: str, exempt: bool) -> None:
    assert is_exempt("m.example", {"NO_PROXY": listed}) is exempt


@pytest.mark.parametrize(
    ("environ", "seen"),
    [
        ({"https_proxy": "http://p:1"}, "https_proxy"),
        ({"ALL_PROXY": "http://p:1"}, "ALL_PROXY"),
        ({"CARGO_HTTP_PROXY": "p:1"}, "CARGO_HTTP_PROXY"),
        ({"http_proxy": "http://p:1"}, None),
        ({"https_proxy": "http://p:1", "CARGO_HTTP_PROXY": ""}, "https_proxy"),
        ({"https_proxy": "http://p:1", "no_proxy": "m.example"}, None),
    ],
)
def test_a_proxy_before_the_mirror_is_told(environ: dict[str, str], seen: str | None) -> None:
    mirror = parse_base("https://m.example")
    found = [each.seen for each in judge_proxies(CargoFiles(), environ, mirror)]
    assert found == ([] if seen is None else [seen])

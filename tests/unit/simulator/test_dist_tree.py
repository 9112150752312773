from __future__ import annotations

import hashlib
import tomllib
from typing import Any

import pytest

from mirror.simulator.published import Site
from mirror.simulator.upstream import SimulatedUpstream, SimulatorOptions

HOST = "x86_64-unknown-linux-gnu"


@pytest.fixture(scope="module")
def unchanged() -> SimulatedUpstream:
    """For tests that only read."""
    return SimulatedUpstream(SimulatorOptions(seed=1))


@pytest.fixture
def upstream() -> SimulatedUpstream:
    return SimulatedUpstream(SimulatorOptions(seed=1))


def read(upstream: SimulatedUpstream, path: str) -> bytes:
    published = upstream.find(Site.RELEASES, path)
    assert published is not None, path
    return published.content.read(0, published.content.length)


def manifest(upstream: SimulatedUpstream, path: str) -> dict[str, Any]:
    return tomllib.loads(read(upstream, path).decode())


@pytest.mark.parametrize("channel", ["stable", "beta", "nightly", "1.94", "1.94.0"])
def test_every_archive_that_a_manifest_names_has_the_named_hash(
    unchanged: SimulatedUpstream, channel: str
) -> None:
    document = manifest(unchanged, f"/dist/channel-rust-{channel}.toml")
    checked = 0
    for package in document["pkg"].values():
        for target in package["target"].values():
            for url_key, hash_key in (("url", "hash"), ("xz_url", "xz_hash")):
                if target["available"]:
                    path = target[url_key].removeprefix("https://static.rust-lang.org")
                    digest = hashlib.sha256(read(unchanged, path)).hexdigest()
                    assert digest == target[hash_key]
                    checked += 1
    assert checked >= 14


def test_source_archives_are_named_as_artifacts(unchanged: SimulatedUpstream) -> None:
    document = manifest(unchanged, "/dist/channel-rust-stable.toml")
    for artifact in document["artifacts"]["source-code"]["target"]["*"]:
        path = artifact["url"].removeprefix("https://static.rust-lang.org")
        assert hashlib.sha256(read(unchanged, path)).hexdigest() == artifact["hash-sha256"]


def test_every_component_of_rust_has_a_package(unchanged: SimulatedUpstream) -> None:
    document = manifest(unchanged, "/dist/channel-rust-nightly.toml")
    rust = document["pkg"]["rust"]["target"][HOST]
    for component in rust["components"] + rust["extensions"]:
        assert component["target"] in document["pkg"][component["pkg"]]["target"]


def test_newest_nightlies_lack_components_and_an_older_one_is_complete(
    unchanged: SimulatedUpstream,
) -> None:
    lacking = {}
    for day in (15, 16, 18, 19, 20):
        path = f"/dist/2026-05-{day}/channel-rust-nightly.toml"
        packages = manifest(unchanged, path)["pkg"]
        lacking[day] = [
            name
            for name in ("clippy-preview", "rustfmt-preview")
            if not packages[name]["target"][HOST]["available"]
        ]
    assert lacking == {
        15: [],
        16: [],
        18: ["clippy-preview"],
        19: ["rustfmt-preview"],
        20: ["clippy-preview"],
    }
    assert unchanged.find(Site.RELEASES, "/dist/2026-05-17/channel-rust-nightly.toml") is None


def test_dated_and_undated_copies_are_the_same_bytes(unchanged: SimulatedUpstream) -> None:
    name = f"rustc-1.94.0-{HOST}.tar.xz"
    assert read(unchanged, f"/dist/{name}") == read(unchanged, f"/dist/2026-03-05/{name}")


def test_only_dated_objects_have_cache_control(unchanged: SimulatedUpstream) -> None:
    dated = unchanged.find(Site.RELEASES, "/dist/2026-03-05/channel-rust-stable.toml")
    head = unchanged.find(Site.RELEASES, "/dist/channel-rust-stable.toml")
    assert dated is not None
    assert head is not None
    assert (dated.cache_control, head.cache_control) == ("public", "")


def test_digest_file_names_the_bytes_and_the_file(unchanged: SimulatedUpstream) -> None:
    text = read(unchanged, "/dist/channel-rust-stable.toml")
    expected = f"{hashlib.sha256(text).hexdigest()}  channel-rust-stable.toml\n"
    assert read(unchanged, "/dist/channel-rust-stable.toml.sha256").decode() == expected


def test_manifests_list_has_every_dated_manifest_without_scheme(
    unchanged: SimulatedUpstream,
) -> None:
    lines = read(unchanged, "/manifests.txt").decode().splitlines()
    assert "static.rust-lang.org/dist/2026-05-20/channel-rust-nightly.toml" in lines
    assert "static.rust-lang.org/dist/2026-03-05/channel-rust-1.94.0.toml" in lines
    assert not any("2026-05-17" in line for line in lines)
    for line in lines:
        read(unchanged, line.removeprefix("static.rust-lang.org"))


def test_advance_replaces_the_head_and_keeps_the_dated_copy(upstream: SimulatedUpstream) -> None:
    before = read(upstream, "/dist/channel-rust-stable.toml")
    assert upstream.advance("stable") == "1.95.0"
    document = manifest(upstream, "/dist/channel-rust-stable.toml")
    assert document["pkg"]["rustc"]["version"].startswith("1.95.0 ")
    assert read(upstream, "/dist/2026-03-05/channel-rust-stable.toml") == before
    assert manifest(upstream, "/dist/channel-rust-1.94.toml")["date"] == "2026-03-05"


def test_advance_never_ends(upstream: SimulatedUpstream) -> None:
    numbers = [upstream.advance("stable") for _ in range(3)]
    assert numbers == ["1.95.0", "1.96.0", "1.97.0"]
    assert [upstream.advance("nightly") for _ in range(2)] == ["2026-05-21", "2026-05-22"]
    assert upstream.advance("beta") == "1.96.0-beta.2"


def test_unknown_channel_is_refused(upstream: SimulatedUpstream) -> None:
    with pytest.raises(ValueError, match="nightyl"):
        upstream.advance("nightyl")


@pytest.mark.parametrize(
    ("name", "length"), [("64KiB", 65536), ("1MB", 10**6), ("12345", 12345), ("0", 0)]
)
def test_big_objects_exist_in_every_size(
    unchanged: SimulatedUpstream, name: str, length: int
) -> None:
    path = f"/dist/2026-05-20/big-{name}-{HOST}.tar.gz"
    digest_file = read(unchanged, path + ".sha256").decode()
    content = read(unchanged, path)
    assert len(content) == length
    assert digest_file == f"{hashlib.sha256(content).hexdigest()}  big-{name}-{HOST}.tar.gz\n"
    assert read(unchanged, path + ".asc").startswith(b"-----BEGIN PGP SIGNATURE-----")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(f"/dist/2026-05-17/big-1MB-{HOST}.tar.gz", id="no-such-date"),
        pytest.param(f"/dist/2026-05-20/big-9GiB-{HOST}.tar.gz", id="too-big"),
        pytest.param(f"/dist/2026-05-20/big-1TB-{HOST}.tar.gz", id="unknown-unit"),
        pytest.param("/dist/", id="folder"),
    ],
)
def test_what_was_not_published_is_absent(unchanged: SimulatedUpstream, path: str) -> None:
    assert unchanged.find(Site.RELEASES, path) is None


@pytest.mark.full
def test_seed_and_options_alone_decide_the_manifests() -> None:
    one, other = (SimulatedUpstream(SimulatorOptions(seed=7)) for _ in range(2))
    path = "/dist/channel-rust-nightly.toml"
    assert read(one, path) == read(other, path)
    assert read(SimulatedUpstream(SimulatorOptions(seed=8)), path) != read(one, path)

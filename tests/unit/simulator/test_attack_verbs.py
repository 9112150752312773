"""The verbs that attack, through the control listener."""

from __future__ import annotations

import hashlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from mirror.simulator.process import SimulatorProcess, start_simulator

HEAD = "/dist/channel-rust-{}.toml"
SUFFIXES = {"toml": "", "sha256": ".sha256", "asc": ".asc"}


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with start_simulator() as running:
        yield running


def ask(url: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            fields = {name.lower(): value for name, value in response.headers.items()}
            return response.status, fields, response.read()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, {}, exc.read()


def triple(simulator: SimulatorProcess, channel: str) -> dict[str, bytes]:
    path = simulator.releases_url + HEAD.format(channel)
    return {name: ask(path + suffix)[2] for name, suffix in SUFFIXES.items()}


def is_consistent(files: dict[str, bytes]) -> bool:
    return files["sha256"][:64].decode() == hashlib.sha256(files["toml"]).hexdigest()


@pytest.mark.parametrize(
    ("site", "path"),
    [
        pytest.param("releases", "/dist/channel-rust-1.94.toml", id="releases"),
        pytest.param("crates", "/crates/q/q-1.0.0.crate", id="crates"),
        pytest.param("index", "/1/q", id="index"),
    ],
)
def test_replaced_object_has_fitting_fields_and_the_true_one_comes_back(
    site: str, path: str, simulator: SimulatorProcess
) -> None:
    url = getattr(simulator, f"{site}_url") + path
    before = ask(url)
    simulator.control.replace(path, b"something else", site=site)
    _, fields, content = ask(url)
    assert content == b"something else"
    assert fields["etag"] == f'"{hashlib.md5(content).hexdigest()}"'
    assert fields["content-length"] == str(len(content))
    assert fields["content-type"] == before[1]["content-type"]
    assert fields["last-modified"] != before[1]["last-modified"]
    head = ask(url, "HEAD")
    assert (head[0], head[1]["etag"], head[1]["content-length"]) == (200, fields["etag"], "14")
    assert simulator.control.restore(path, site=site)
    assert not simulator.control.restore(path, site=site)
    assert ask(url)[2] == before[2]


def test_removed_object_is_absent_until_everything_is_restored(simulator: SimulatorProcess) -> None:
    url = simulator.index_url + "/1/q"
    assert simulator.control.remove("/1/q", site="index")
    assert not simulator.control.remove("/1/q", site="index")
    assert ask(url)[0] == 404
    simulator.control.restore_all()
    assert ask(url)[0] == 200


def test_flip_is_the_next_day_s_generation_of_the_same_archives(
    simulator: SimulatorProcess,
) -> None:
    before = triple(simulator, "beta")["toml"]
    flipped = simulator.control.flip("beta")
    after = triple(simulator, "beta")
    assert flipped["date"] == "2026-04-19"
    assert flipped["sha256"] == hashlib.sha256(after["toml"]).hexdigest()
    assert after["toml"] == before.replace(b'date = "2026-04-18"', b'date = "2026-04-19"')
    assert is_consistent(after)
    dated = ask(f"{simulator.releases_url}/dist/2026-04-19/channel-rust-beta.toml")[2]
    assert dated == after["toml"]
    listed = ask(f"{simulator.releases_url}/manifests.txt")[2]
    assert b"/dist/2026-04-19/channel-rust-beta.toml\n" in listed


def test_flips_cost_milliseconds(simulator: SimulatorProcess) -> None:
    started_at = time.monotonic()
    for _ in range(50):
        simulator.control.flip("1.70")
    assert time.monotonic() - started_at < 5.0


def test_channel_by_version_begins_with_its_first_flip(simulator: SimulatorProcess) -> None:
    assert ask(simulator.releases_url + HEAD.format("1.60"))[0] == 404
    simulator.control.flip("1.60")
    files = triple(simulator, "1.60")
    assert is_consistent(files)
    versions = {line for line in files["toml"].splitlines() if line.startswith(b"version = ")}
    assert [version[:17] for version in versions] == [b'version = "1.60.0']


@pytest.mark.parametrize("held_back", [["toml"], ["sha256", "asc"], ["toml", "sha256", "asc"]])
def test_files_held_back_stay_former_until_they_settle(
    held_back: list[str], simulator: SimulatorProcess
) -> None:
    former = triple(simulator, "nightly")
    simulator.control.flip("nightly", held_back=held_back)
    torn = triple(simulator, "nightly")
    assert [name for name in torn if torn[name] == former[name]] == sorted(
        held_back, key=list(SUFFIXES).index
    )
    for name in held_back:
        simulator.control.settle("nightly", name)
    settled = triple(simulator, "nightly")
    assert all(settled[name] != former[name] for name in settled)
    assert is_consistent(settled)


def test_head_can_be_torn_after_any_release(simulator: SimulatorProcess) -> None:
    simulator.control.settle("nightly")
    former = triple(simulator, "nightly")
    simulator.control.advance("nightly")
    simulator.control.hold_back("nightly", "sha256")
    torn = triple(simulator, "nightly")
    assert [name for name in torn if torn[name] == former[name]] == ["sha256"]
    simulator.control.settle("nightly")


def test_roll_back_serves_the_whole_former_generation(simulator: SimulatorProcess) -> None:
    former = triple(simulator, "stable")
    simulator.control.flip("stable")
    flipped = triple(simulator, "stable")
    simulator.control.roll_back("stable")
    assert triple(simulator, "stable") == former
    simulator.control.settle("stable")
    assert triple(simulator, "stable") == flipped


def test_signature_is_by_the_named_key_and_hash(simulator: SimulatorProcess) -> None:
    made = {
        (key, name): simulator.control.sign(b"text", hash_name=name, key=key)
        for key in ("release", "other")
        for name in ("sha512", "sha256", "sha1")
    }
    assert len(set(made.values())) == 6
    assert all(item.startswith(b"-----BEGIN PGP SIGNATURE-----") for item in made.values())


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        pytest.param("sign", {"content": "", "hash": "md5"}, id="hash"),
        pytest.param("sign", {"content": "", "key": "mine"}, id="key"),
        pytest.param("flip", {"channel": "nightyl"}, id="channel"),
        pytest.param("flip", {"channel": "beta", "held_back": ["md5"]}, id="file"),
        pytest.param("roll-back", {"channel": "1.55"}, id="nothing-former"),
        pytest.param("replace", {"path": "/x", "content": "", "site": "moon"}, id="site"),
    ],
)
def test_mistake_is_told(
    verb: str, arguments: dict[str, object], simulator: SimulatorProcess
) -> None:
    request = urllib.request.Request(
        f"{simulator.control_url}/{verb}", data=json.dumps(arguments).encode()
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    with caught.value:
        assert caught.value.code == 400


def test_legacy_release_has_the_signatures_of_its_time_and_no_head(
    simulator: SimulatorProcess,
) -> None:
    head = triple(simulator, "nightly")
    simulator.control.publish_legacy("stable", "1.8.0", "2016-04-14")
    simulator.control.publish_legacy("nightly", "1.10.0-nightly", "2016-04-20", signed_with="sha1")
    base = simulator.releases_url
    assert ask(f"{base}/dist/channel-rust-1.8.0.toml")[0] == 200
    assert ask(f"{base}/dist/channel-rust-1.8.0.toml.asc")[0] == 404
    assert ask(f"{base}/dist/2016-04-20/channel-rust-nightly.toml.asc")[0] == 200
    assert triple(simulator, "nightly") == head
    assert ask(f"{base}/manifests.txt")[2].startswith(b"static.rust-lang.org/dist/2016-04-20/")


def test_changed_cksum_is_that_of_other_bytes(simulator: SimulatorProcess) -> None:
    path = f"{simulator.crates_url}/crates/rgb/rgb-1.0.0.crate"
    before = ask(path)[2]
    cksum = simulator.control.change_cksum("rgb", "1.0.0")
    after = ask(path)[2]
    assert hashlib.sha256(after).hexdigest() == cksum
    assert after != before
    assert cksum.encode() in ask(f"{simulator.index_url}/3/r/rgb")[2]


def test_removed_version_leaves_the_index_and_the_host(simulator: SimulatorProcess) -> None:
    assert simulator.control.remove_version("vanishing", "1.0.1")
    assert not simulator.control.remove_version("vanishing", "1.0.1")
    lines = ask(f"{simulator.index_url}/va/ni/vanishing")[2].splitlines()
    assert [json.loads(line)["vers"] for line in lines] == ["1.0.0"]
    assert ask(f"{simulator.crates_url}/crates/vanishing/vanishing-1.0.1.crate")[0] == 403

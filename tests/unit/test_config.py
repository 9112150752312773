"""Configuration: precedence, and refusals that name the key, the value and what is allowed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mirror.child import CONTROL_SOCKET, KEEPER_SOCKET
from mirror.config import Config
from mirror.config_rules import LONGEST_SOCKET_NAME
from mirror.config_sources import (
    keep_values,
    known_keys,
    leaves,
    load,
    load_with_origins,
    to_toml,
)
from mirror.errors import ConfigError
from tests.unit.config_texts import refusal, written

ROOT_USER, ORDINARY_USER = 0, 1000
SHIPPED = Path(__file__).parents[2] / "config"


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = written(
        tmp_path, "[serve]\nworkers = 1\nmax_connections = 10\npublic_url = 'http://f'\n"
    )
    environ = {"RUST_MIRROR__SERVE__WORKERS": "2", "RUST_MIRROR__SERVE__MAX_CONNECTIONS": "20"}
    serve = load(file, environ, {"serve.workers": "3"}).serve
    assert (serve.workers, serve.max_connections, serve.public_url) == (3, 20, "http://f")
    assert serve.max_head == Config().serve.max_head


def test_origin_of_each_value_is_told(tmp_path: Path) -> None:
    file = written(tmp_path, "[store]\nbudget = '1GiB'\n")
    loaded = load_with_origins(
        file, {"RUST_MIRROR__STATE__PATH": "/s"}, {"serve.listen": "0.0.0.0:80"}
    )
    text = to_toml(loaded.config, loaded.origins)
    assert f'budget = "1GiB"  # {file}' in text
    assert 'path = "/s"  # RUST_MIRROR__STATE__PATH' in text
    assert 'listen = ["0.0.0.0:80"]  # flag' in text
    assert "workers = 0  # default" in text


@pytest.mark.parametrize("name", ["stale_while_revalidate", "stale_if_error", "client_floor"])
def test_what_a_stale_copy_may_do_can_be_turned_off(tmp_path: Path, name: str) -> None:
    file = written(tmp_path, f"[freshness]\n{name} = '0s'\n")
    config = load(file, {}, {})
    assert getattr(config.freshness, name) == 0
    again = tmp_path / "again.toml"
    again.write_text(to_toml(config))
    assert load(again, {}, {}) == config
    assert load(None, {}, {f"freshness.{name}": "0s"}, user_id=ROOT_USER).freshness == (
        config.freshness
    )


def test_environment_is_read_by_the_type_of_its_key(tmp_path: Path) -> None:
    environ = {
        "RUST_MIRROR__SERVE__LISTEN": "0.0.0.0:80, [::]:80",
        "RUST_MIRROR__SERVE__TRUSTED_PROXIES": '["10.0.0.0/8"]',
        "RUST_MIRROR__SERVE__PROXY_PROTOCOL": "true",
        "RUST_MIRROR__STORE__BUDGET": "20GiB",
        "RUST_MIRROR__FRESHNESS__CHANNEL": "90s",
        "RUST_MIRROR__UPSTREAM__RELEASES__URLS": "https://a.example,https://b.example",
        "OTHER": "ignored",
    }
    config = load(written(tmp_path, ""), environ, {})
    assert config.serve.listen == ("0.0.0.0:80", "[::]:80")
    assert config.serve.trusted_proxies == ("10.0.0.0/8",)
    assert config.serve.proxy_protocol is True
    assert config.store.budget == 20 << 30
    assert float(config.freshness.channel) == 90
    assert config.upstream.releases.urls == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("text", "key", "told"),
    [
        pytest.param("[serve]\nlisten = 8080", "serve.listen", "list of texts", id="type"),
        pytest.param("[serve]\nlisten = []", "serve.listen", "at least one", id="nowhere"),
        pytest.param("[serve]\nlisten = ['a:1']", "serve.listen", "0.0.0.0:8080", id="name"),
        pytest.param("[serve]\nworkers = -1", "serve.workers", "from 0 to 64", id="negative"),
        pytest.param("[serve]\nmax_ranges = 0", "serve.max_ranges", "from 1 to 256", id="ranges"),
        pytest.param("[serve]\nworkers = true", "serve.workers", "whole number", id="bool"),
        pytest.param("[serve]\nmin_rate = '0B'", "serve.min_rate", "above zero", id="no-rate"),
        pytest.param(
            "[serve]\nmax_connections_per_client = -1", "serve.max_connections_per_client", "0: no",
            id="connections",
        ),
        pytest.param("[serve]\nproxy_protocol = 1", "serve.proxy_protocol", "true or", id="int"),
        pytest.param(
            "[serve]\ntrusted_proxies = ['10.0.0.1/8']", "serve.trusted_proxies", "10.0.0.0/8",
            id="host-bits",
        ),
        pytest.param("[serve]\npublic_url = 'ftp://x'", "serve.public_url", "https", id="scheme"),
        pytest.param("[serve]\nhead_timeout = 10", "serve.head_timeout", "60s", id="no-unit"),
        pytest.param("[store]\nbudget = '0GiB'", "store.budget", "above zero", id="zero"),
        pytest.param("[store]\nbudget = '20GB'", "store.budget", "GiB", id="decimal-unit"),
        pytest.param("[store]\npath = ''", "store.path", "directory", id="no-path"),
        pytest.param("[control]\nlisten = 'x'", "control.listen", "9090|8080", id="control"),
        pytest.param(
            "[control]\nallowed_hosts = ['a:1']", "control.allowed_hosts", "without a port",
            id="host-with-port",
        ),
        pytest.param(
            "[upstream.crates]\nurls = ['s3://b/x']", "upstream.crates.urls", "s3://bucket",
            id="s3-bucket",
        ),
        pytest.param(
            "[upstream.crates]\nurls = ['s3://bucket/x?y']", "upstream.crates.urls", "query",
            id="s3-query",
        ),
        pytest.param(
            "[upstream.crates]\nurls = ['s3://bucket']\nconnect_to = 'h:1'",
            "upstream.crates.connect_to", r"s3\.endpoint", id="s3-connect-to",
        ),
        pytest.param(
            "[upstream.index.s3]\naddressing = 'dns'", "upstream.index.s3.addressing", "virtual",
            id="s3-addressing",
        ),
        pytest.param(
            "[upstream.index.s3]\nendpoint = 'host'", "upstream.index.s3.endpoint", "https",
            id="s3-endpoint",
        ),
        pytest.param(
            "[upstream.index.s3]\nregion = 'EU West'", "upstream.index.s3.region", "eu-central-1",
            id="s3-region",
        ),
        pytest.param(
            "[upstream.index.s3]\naccess_key_id = 'A'",
            "upstream.index.s3.secret_access_key_file", "belong together", id="s3-no-secret",
        ),
        pytest.param(
            "[upstream.index.s3]\nsecret_access_key_file = 'f'",
            "upstream.index.s3.access_key_id", "belong together", id="s3-no-key",
        ),
        pytest.param(
            "[upstream.releases.s3]\nanonymous = true\nrequester_pays = true",
            "upstream.releases.s3.requester_pays", "anonymous", id="s3-anonymous-payer",
        ),
        pytest.param(
            "[upstream.releases.s3]\nrole_arn = 'reader'", "upstream.releases.s3.role_arn",
            "arn:aws", id="s3-role",
        ),
        pytest.param(
            "[upstream.releases.s3]\nexternal_id = 'x'", "upstream.releases.s3.external_id",
            "2 to 1224", id="s3-short-external-id",
        ),
        pytest.param(
            "[upstream.releases.s3]\nexternal_id = 'xy'", "upstream.releases.s3.external_id",
            "role_arn", id="s3-external-id-alone",
        ),
        pytest.param("[upstream.crates]\nurls = []", "upstream.crates.urls", "one URL", id="none"),
        pytest.param(
            "[upstream.index]\nurls = ['https://u:p@x']", "upstream.index.urls", "without user",
            id="userinfo",
        ),
        pytest.param(
            "[upstream.releases]\nconnect_to = 'x'", "upstream.releases.connect_to", "host:port",
            id="connect-to",
        ),
        pytest.param(
            "[upstream.crates]\nurls = ['http://[::1]:8']\nconnect_to = 'host:80'",
            "upstream.crates.connect_to", "host name instead of the address",
            id="connect-to-of-an-address",
        ),
        pytest.param('[upstream]\ncontact = "a\\nb"', "upstream.contact", "one line", id="inject"),
        pytest.param("[upstream]\nproxy = 'socks5://x'", "upstream.proxy", "http://", id="proxy"),
        pytest.param(
            "[trust]\nrelease_key_fingerprints = ['AB']", "trust.release_key_fingerprints", "40",
            id="fingerprint",
        ),
        pytest.param(
            "[trust]\nunverified_ranges = 'no'", "trust.unverified_ranges", '"stream" or "wait"',
            id="choice",
        ),
        pytest.param(
            "[trust]\nchannel_manifest = 'none'", "trust.channel_manifest",
            '"signature" or "digest"', id="no-proof",
        ),
        pytest.param("[trust]\narchive = 'none'", "trust.archive", '"digest"', id="archive"),
        pytest.param(
            "[trust]\naccept = ['serde 1.0.0 ab']", "trust.accept", "crate NAME VERSION CKSUM",
            id="accept",
        ),
        pytest.param(
            "[trust]\nlegacy_before_date = '2019'", "trust.legacy_before_date", "2019-01-01",
            id="date",
        ),
        pytest.param(
            "[trust]\nlegacy_before_version = '1'", "trust.legacy_before_version", "1.32",
            id="version",
        ),
        pytest.param(
            "[freshness]\ncrate_wait = '1s'", "freshness.crate_wait", "freshness.crate_check",
            id="crate-wait",
        ),
        pytest.param("serve = 1", "serve", r"write \[serve\]", id="table"),
    ],
)  # fmt: skip
def test_wrong_value_names_key_and_what_is_allowed(
    tmp_path: Path, text: str, key: str, told: str
) -> None:
    error = refusal(tmp_path, text)
    assert error.key == key
    assert any(option in error.allowed for option in told.replace("\\", "").split("|"))
    assert key in str(error)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param("[[origin]]\nname = 'docs'", "origin", id="origin"),
    ],
)
def test_key_of_an_unbuilt_part_is_refused_when_set(tmp_path: Path, text: str, key: str) -> None:
    error = refusal(tmp_path, text)
    assert (error.key, error.allowed) == (key, "not available in this version")


def test_empty_keys_of_unbuilt_parts_are_harmless(tmp_path: Path) -> None:
    text = "origin = []\n"
    assert load(written(tmp_path, text), {}, {}).origin == ()


def test_unknown_key_names_the_nearest_known_one(tmp_path: Path) -> None:
    error = refusal(tmp_path, "[serve]\nlisen = ['127.0.0.1:1']")
    assert (error.key, error.allowed) == (
        "serve.lisen",
        "not a known key; did you mean serve.listen?",
    )
    assert "did you mean serve.workers" in refusal(tmp_path, flags={"serve.worker": "1"}).allowed
    assert "did you mean serve" in refusal(tmp_path, "[server]\nx = 1").allowed
    assert "known here: " in refusal(tmp_path, "[store]\nzzzzzz = 1").allowed


def test_unknown_environment_key_is_refused_by_its_name(tmp_path: Path) -> None:
    error = refusal(tmp_path, environ={"RUST_MIRROR__STORE__BUDGT": "1GiB"})
    assert (error.key, error.value) == ("RUST_MIRROR__STORE__BUDGT", "1GiB")
    assert "store.budget" in error.allowed


def test_wrong_value_of_a_flag_shows_what_was_typed(tmp_path: Path) -> None:
    error = refusal(tmp_path, flags={"serve.workers": "many"})
    assert str(error) == "serve.workers = 'many': a whole number"


def test_unreadable_and_broken_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "absent.toml", {}, {})
    assert "a TOML file" in refusal(tmp_path, "[serve").allowed
    file = tmp_path / "latin.toml"
    file.write_bytes(b"# \xff\n")
    with pytest.raises(ConfigError, match="a TOML file"):
        load(file, {}, {})


def test_ordinary_user_without_a_file_gets_xdg_directories() -> None:
    environ = {"HOME": "/nowhere", "XDG_CACHE_HOME": "/c"}
    config = load(None, environ, {}, user_id=ORDINARY_USER)
    assert config.store.path == "/c/rust-mirror"
    assert config.state.path == "/nowhere/.local/state/rust-mirror"


def test_relative_xdg_variable_is_ignored() -> None:
    environ = {"HOME": "/nowhere", "XDG_CACHE_HOME": "c"}
    config = load(None, environ, {}, user_id=ORDINARY_USER)
    assert config.store.path == "/nowhere/.cache/rust-mirror"


def test_ordinary_users_own_file_is_found_and_wins_over_xdg(tmp_path: Path) -> None:
    folder = tmp_path / "rust-mirror"
    folder.mkdir()
    written(folder, "[store]\npath = '/elsewhere'\n")
    environ = {"HOME": "/nowhere", "XDG_CONFIG_HOME": str(tmp_path)}
    loaded = load_with_origins(None, environ, {}, user_id=ORDINARY_USER)
    assert loaded.file == folder / "mirror.toml"
    assert loaded.config.store.path == "/elsewhere"
    assert loaded.config.state.path == "/nowhere/.local/state/rust-mirror"


def test_user_without_a_home_keeps_the_system_directories() -> None:
    assert load(None, {}, {}, user_id=ORDINARY_USER).store.path == "/var/cache/rust-mirror"


def test_given_file_keeps_the_system_directories_for_everybody(tmp_path: Path) -> None:
    config = load(written(tmp_path, ""), {"HOME": "/home/u"}, {}, user_id=ORDINARY_USER)
    assert config.state.path == "/var/lib/rust-mirror"


def test_relative_paths_become_absolute(tmp_path: Path) -> None:
    config = load(written(tmp_path, "[store]\npath = '.run/cache'\n"), {}, {})
    assert config.store.path == os.path.join(os.getcwd(), ".run/cache")


def test_written_configuration_loads_to_the_same_values(tmp_path: Path) -> None:
    flags = {"upstream.contact": 'me "x" \\ y', "store.budget": "3MiB", "serve.workers": "2"}
    config = load(written(tmp_path, ""), {}, flags)
    assert load(written(tmp_path, to_toml(config)), {}, {}) == config


def test_shipped_default_file_equals_the_built_in_defaults() -> None:
    loaded = load_with_origins(SHIPPED / "default.toml", {}, {})
    assert loaded.config == Config()
    unset = set(known_keys()) - set(loaded.origins) - {"origin"}
    assert unset == set(), "default.toml shows every key"


@pytest.mark.parametrize("name", ["dev.toml", "production.toml"])
def test_shipped_file_loads_and_only_changes_or_stresses(name: str) -> None:
    config = load(SHIPPED / name, {}, {})
    assert dict(leaves(config)) != dict(leaves(Config()))


def test_reload_keeps_what_cannot_change() -> None:
    running = Config()
    wanted = load(None, {}, {"serve.listen": "0.0.0.0:1", "serve.workers": "7"}, user_id=ROOT_USER)
    kept, differing = keep_values(wanted, running, ("serve.listen", "state.path"))
    assert differing == ["serve.listen"]
    assert (kept.serve.listen, kept.serve.workers) == (running.serve.listen, 7)


@pytest.mark.parametrize(
    ("flags", "key", "told"),
    [
        pytest.param(
            {"serve.listen": "[::1]:80", "control.listen": "[0::1]:80"},
            "control.listen",
            "the same address as serve.listen",
            id="control-is-serve",
        ),
        pytest.param(
            {"serve.listen": "0.0.0.0:80,0.0.0.0:80"}, "serve.listen", "once", id="repeated"
        ),
        pytest.param(
            {"store.path": "/a/./b/", "state.path": "/a/b"},
            "store.path",
            "another directory than state.path",
            id="one-directory",
        ),
        pytest.param(
            {"store.path": "/a", "state.path": "/a/b"}, "state.path", "outside", id="inside"
        ),
        pytest.param({"state.path": f"/{'x' * 87}"}, "state.path", "a shorter path", id="long"),
    ],
)
def test_keys_that_contradict_each_other_or_the_system_are_refused(
    tmp_path: Path, flags: dict[str, str], key: str, told: str
) -> None:
    error = refusal(tmp_path, flags=flags)
    assert error.key == key
    assert told in error.allowed


@pytest.mark.parametrize(
    "flags",
    [
        {"serve.listen": "127.0.0.1:0,127.0.0.1:0", "control.listen": "127.0.0.1:0"},
        {"store.path": "/a/b", "state.path": "/a"},
        {"store.path": "/a", "state.path": "/ab"},
        {"state.path": f"/{'x' * 86}"},
    ],
)
def test_neighbours_of_refused_combinations_are_allowed(
    tmp_path: Path, flags: dict[str, str]
) -> None:
    load(written(tmp_path, ""), {}, flags)


def test_no_socket_below_the_state_directory_has_a_longer_name() -> None:
    for name in (KEEPER_SOCKET, CONTROL_SOCKET):
        assert len(f"{name}.binding") <= len(LONGEST_SOCKET_NAME) + 1
    assert f"{KEEPER_SOCKET}.binding" == LONGEST_SOCKET_NAME


def test_origin_without_the_xdg_variable_does_not_name_it_as_set() -> None:
    environ = {"HOME": "/h", "XDG_STATE_HOME": "/s"}
    origins = load_with_origins(None, environ, {}, user_id=ORDINARY_USER).origins
    assert origins["store.path"] == "~/.cache (no XDG_CACHE_HOME)"
    assert origins["state.path"] == "XDG_STATE_HOME"


def test_ipv6_address_of_a_flag_is_not_taken_for_a_list(tmp_path: Path) -> None:
    config = load(written(tmp_path, ""), {}, {"serve.listen": "[::1]:80, 127.0.0.1:80"})
    assert config.serve.listen == ("[::1]:80", "127.0.0.1:80")

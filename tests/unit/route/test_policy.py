"""What each kind asks of the caches."""

from __future__ import annotations

import pytest

from mirror.route.match import Site, match, route_of_key
from mirror.route.policy import (
    Require,
    cache_control,
    is_small,
    max_bytes,
    may_vary,
    requirement,
    states_digest,
)
from mirror.route.route import Kind, Route

IMMUTABLE = b"public, max-age=31536000, immutable"
LONG = b"public, max-age=86400"
SHORT = b"public, max-age=60"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        pytest.param(b"/crates/a/a-1.0.0.crate", IMMUTABLE, id="crate"),
        pytest.param(b"/dist/2026-01-01/rustc-nightly-src.tar.gz", IMMUTABLE, id="dated-archive"),
        pytest.param(b"/rustup/archive/1.29.0/wasm32/rustup-init", IMMUTABLE, id="old-rustup"),
        pytest.param(b"/dist/2026-01-01/rustc-nightly-src.tar.gz.asc", LONG, id="dated-proof"),
        pytest.param(b"/dist/2026-01-01/channel-rust-nightly.toml", LONG, id="dated-manifest"),
        pytest.param(b"/dist/rustc-1.95.0-src.tar.gz", LONG, id="versioned-archive"),
        pytest.param(b"/dist/channel-rust-1.95.0.toml", LONG, id="versioned-manifest"),
        pytest.param(b"/rust-key.gpg.ascii", LONG, id="release-key"),
        pytest.param(b"/dist/rustc-nightly-src.tar.gz", SHORT, id="nightly-archive"),
        pytest.param(b"/dist/channel-rust-stable.toml", SHORT, id="head"),
        pytest.param(b"/manifests.txt", SHORT, id="manifests"),
        pytest.param(b"/rustup/release-stable.toml", SHORT, id="rustup-head"),
        pytest.param(b"/rustup/dist/wasm32/rustup-init", SHORT, id="newest-rustup"),
        pytest.param(b"/index/se/rd/serde", SHORT, id="index-file"),
    ],
)
def test_cache_control(raw: bytes, value: bytes) -> None:
    route = match(raw, Site.ANY)
    assert isinstance(route, Route)
    assert cache_control(route) == value


def test_what_is_streamed_has_a_digest_stated_elsewhere() -> None:
    """A body that is sent while it arrives can only be judged by a digest known beforehand."""
    streamed = {kind for kind in Kind if not is_small(kind)}
    assert streamed == {Kind.ARCHIVE, Kind.RUSTUP_BINARY, Kind.CRATE}
    assert streamed == {kind for kind in Kind if states_digest(kind)}


def test_what_is_read_into_memory_is_bounded_to_fit() -> None:
    assert all(0 < max_bytes(kind) <= 8 * 2**20 for kind in Kind if is_small(kind))
    assert all(max_bytes(kind) > 2**28 for kind in Kind if not is_small(kind))


def test_only_classes_that_nobody_vouches_for_require_nothing() -> None:
    free = {kind for kind in Kind if requirement(kind) is Require.NONE}
    assert free == {Kind.INDEX_FILE, Kind.MANIFESTS, Kind.RUSTUP_HEAD}


def test_what_has_a_digest_stated_elsewhere_requires_it() -> None:
    assert {requirement(kind) for kind in Kind if states_digest(kind)} == {Require.DIGEST}


def test_both_forms_of_a_channel_require_a_signature() -> None:
    """One that needs none would be the way around the other."""
    signed = {kind for kind in Kind if requirement(kind) is Require.SIGNATURE}
    assert signed == {Kind.CHANNEL, Kind.CHANNEL_V1, Kind.RELEASE_KEY}


def test_text_may_vary_and_nothing_compressed_or_signed_does() -> None:
    varying = {
        "index:/se/rd/serde",
        "releases:/dist/channel-rust-stable.toml",
        "releases:/dist/channel-rust-stable",
        "releases:/manifests.txt",
        "releases:/rustup/rustup-init.sh",
        "releases:/rustup/release-stable.toml",
        "releases:/rust-key.gpg.ascii",
    }
    fixed = {
        "crates:/crates/serde/serde-1.0.0.crate",
        "releases:/dist/2026-03-05/rustc-1.94.0-x86_64-unknown-linux-gnu.tar.gz",
        "releases:/dist/2026-03-05/rustc-1.94.0-x86_64-unknown-linux-gnu.tar.gz.sha256",
        "releases:/dist/channel-rust-stable.toml.sha256",
        "releases:/dist/channel-rust-stable.toml.asc",
        "releases:/dist/channel-rust-stable.asc",
        "releases:/rustup/dist/x86_64-unknown-linux-gnu/rustup-init",
    }
    for key in varying | fixed:
        route = route_of_key(key)
        assert route is not None, key
        assert may_vary(route) is (key in varying), key

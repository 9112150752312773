"""Proofs and their subjects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.route.match import route_of_key
from mirror.route.proofs import (
    channel_named,
    dated_manifest,
    may_have_sibling,
    sibling,
    subject,
)
from mirror.route.route import Kind, Route
from tests.unit.route.paths import ARCHIVE_PATHS, CHANNEL_PATHS, RUSTUP_PATHS

ARCHIVE = "releases:/dist/2026-01-01/rustc-nightly-src.tar.gz"


def route(key: str) -> Route:
    found = route_of_key(key)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("key", "suffix", "kind"),
    [
        pytest.param(ARCHIVE, ".sha256", Kind.ARCHIVE_PROOF, id="digest-of-an-archive"),
        pytest.param(ARCHIVE, ".asc", Kind.ARCHIVE_PROOF, id="signature-of-an-archive"),
        pytest.param("releases:/dist/channel-rust-stable.toml", ".sha256", Kind.CHANNEL,
                     id="digest-of-a-manifest"),
        pytest.param("releases:/dist/channel-rust-stable", ".asc", Kind.CHANNEL_V1,
                     id="signature-of-a-v1-list"),
        pytest.param("releases:/rustup/dist/wasm32/rustup-init", ".sha256", Kind.RUSTUP_PROOF,
                     id="digest-of-a-rustup-binary"),
    ],
)  # fmt: skip
def test_a_proof_stands_beside_its_subject(key: str, suffix: str, kind: Kind) -> None:
    of_what = route(key)
    proof = sibling(of_what, suffix)
    assert may_have_sibling(of_what, suffix)
    assert (proof.key, proof.kind, proof.tempo) == (key + suffix, kind, of_what.tempo)
    assert subject(proof) == of_what


@pytest.mark.parametrize(
    ("key", "suffix"),
    [
        pytest.param("releases:/rustup/dist/wasm32/rustup-init", ".asc", id="rustup-signs-nothing"),
        pytest.param("releases:/manifests.txt", ".sha256", id="manifests"),
        pytest.param("crates:/crates/a/a-1.0.0.crate", ".sha256", id="crate"),
        pytest.param("index:/1/a", ".sha256", id="index-file"),
        pytest.param(ARCHIVE + ".sha256", ".asc", id="proof-of-a-proof"),
        pytest.param(ARCHIVE, ".md5", id="unknown-suffix"),
    ],
)
def test_what_has_no_proof_is_misuse(key: str, suffix: str) -> None:
    assert not may_have_sibling(route(key), suffix)
    with pytest.raises(ValueError, match="beside it"):
        sibling(route(key), suffix)


@given(st.one_of(ARCHIVE_PATHS, CHANNEL_PATHS, RUSTUP_PATHS))
def test_a_subject_has_the_proof_back(path: str) -> None:
    proof = route(f"releases:{path}")
    of_what = subject(proof)
    if of_what is None:
        assert not path.endswith((".sha256", ".asc"))
    else:
        assert sibling(of_what, path.removeprefix(of_what.path)) == proof
        assert subject(of_what) is None


@pytest.mark.parametrize(
    ("name", "channel", "named"),
    [
        pytest.param("rustc-nightly-x86_64-apple-darwin.tar.xz", "nightly", "nightly", id="night"),
        pytest.param("rust-src-nightly.tar.xz", "nightly", "nightly", id="no-triple"),
        pytest.param("rustc-beta-x86_64-apple-darwin.tar.xz", "beta", "beta", id="beta"),
        pytest.param("rust-1.95.0-beta.2-x86_64.tar.xz", "beta", "beta", id="numbered-beta"),
        pytest.param("rustc-1.95.0-x86_64-apple-darwin.tar.xz", "stable", "1.95.0", id="stable"),
        pytest.param("rust-1.5.0-x86_64.msi", "stable", "1.5.0", id="installer"),
        pytest.param("rust-src.tar.gz", "stable", "stable", id="no-version"),
        pytest.param("channel-rust-nightly-date.txt", "nightly", "nightly", id="note"),
    ],
)
def test_the_name_of_an_archive_tells_its_manifest(name: str, channel: str, named: str) -> None:
    archive = route(f"releases:/dist/2026-01-01/{name}")
    found = dated_manifest(archive)
    assert found is not None
    assert (found.kind, found.path) == (
        Kind.CHANNEL,
        f"/dist/2026-01-01/channel-rust-{channel}.toml",
    )
    assert channel_named(archive) == named


@pytest.mark.parametrize(
    "key",
    [
        "releases:/dist/rustc-1.95.0-x86_64.tar.xz",
        ARCHIVE + ".sha256",
        "releases:/dist/2026-01-01/channel-rust-stable",
        "releases:/rustup/archive/1.29.0/wasm32/rustup-init",
    ],
)
def test_only_dated_archives_have_a_dated_manifest(key: str) -> None:
    assert dated_manifest(route(key)) is None

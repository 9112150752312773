"""`mirror.verify.channel_manifest`: every archive's digest, once, or the manifest is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.errors import VerificationError
from mirror.verify.channel_manifest import ManifestHead, parse_manifest, read_head

HOST = "https://static.rust-lang.org"
A, B, C, D = ("0a" * 32, "0b" * 32, "0c" * 32, "0d" * 32)
HEAD = 'manifest-version = "2"\ndate = "2026-04-16"\n'
TARGET = "[pkg.rustc.target.x86_64-unknown-linux-gnu]\navailable = true\n"


def pair(prefix: str, path: str, digest: str) -> str:
    return f'{prefix}url = "{HOST}{path}"\n{prefix}hash = "{digest}"\n'


def test_all_compressions_and_artifacts_are_read() -> None:
    body = (
        HEAD
        + '[pkg.rustc]\nversion = "1.95.0"\ngit_commit_hash = "x"\n'
        + TARGET
        + pair("", "/dist/2026-04-16/rustc.tar.gz", A)
        + pair("xz_", "/dist/2026-04-16/rustc.tar.xz", B)
        + pair("zst_", "/dist/2026-04-16/rustc.tar.zst", C)
        + '[pkg.rust-std.target."*"]\navailable = true\n'
        + pair("", "/dist/2026-04-16/rust-src.tar.gz", D)
        + '[[artifacts.installer-msi.target."x86_64-pc-windows-msvc"]]\n'
        + f'url = "{HOST}/dist/2026-04-16/rust.msi"\nhash-sha256 = "{A}"\n'
        + '[renames.rls]\nto = "rls-preview"\n[profiles]\nminimal = ["rustc"]\n'
    )
    manifest = parse_manifest(body.encode())
    assert manifest.date == "2026-04-16"
    assert manifest.digests == {
        "/dist/2026-04-16/rustc.tar.gz": bytes.fromhex(A),
        "/dist/2026-04-16/rustc.tar.xz": bytes.fromhex(B),
        "/dist/2026-04-16/rustc.tar.zst": bytes.fromhex(C),
        "/dist/2026-04-16/rust-src.tar.gz": bytes.fromhex(D),
        "/dist/2026-04-16/rust.msi": bytes.fromhex(A),
    }
    assert repr(manifest) == "<ChannelManifest 2026-04-16 5 paths>"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="no-packages"),
        pytest.param("pkg = 1\nartifacts = []\n", id="packages-are-no-table"),
        pytest.param("[pkg]\nrustc = 1\n[artifacts]\nx = 2\n", id="package-is-no-table"),
        pytest.param("[pkg.rustc]\ntarget = [1]\n", id="targets-are-no-table"),
        pytest.param("[artifacts.x.target]\ny = 3\n[artifacts.z]\ntarget = 1\n", id="no-list"),
        pytest.param("[artifacts.x]\ntarget = {y = [1, {}]}\n", id="no-files"),
        pytest.param('[pkg.r.target.t]\navailable = false\nurl = ""\nhash = ""\n', id="empty-url"),
        pytest.param("[pkg.r.target.t]\nurl = 5\n", id="url-is-a-number"),
        pytest.param(f'[pkg.r.target.t]\nhash = "{A}"\n', id="hash-without-url"),
        pytest.param(
            '[pkg.r.target.t]\nurl = "https://elsewhere.example/x"\nhash = "?"\n', id="other-host"
        ),
        pytest.param(f'[pkg.r.target.t]\nurl = "x{HOST}/x"\nhash = "?"\n', id="host-inside"),
        pytest.param(f'[pkg.r.target.t]\nurl = "{HOST}.example/x"\nhash = "?"\n', id="host-longer"),
        pytest.param(f'[pkg.r.target.t]\nurl = "{HOST}/"\nhash = "?"\n', id="no-path"),
    ],
)
def test_what_states_no_digest_of_ours_is_ignored(text: str) -> None:
    assert parse_manifest((HEAD + text).encode()).digests == {}


def test_a_url_may_be_named_by_several_entries_that_agree() -> None:
    body = HEAD + TARGET + pair("", "/a", A) + "[pkg.rust.target.t]\n" + pair("", "/a", A)
    assert parse_manifest(body.encode()).digests == {"/a": bytes.fromhex(A)}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>", id="error-page"),
        pytest.param(b"\xff", id="not-utf-8"),
        pytest.param(HEAD.replace('"2"', '"1"').encode(), id="version-1"),
        pytest.param(HEAD.replace('"2"', "2").encode(), id="version-is-a-number"),
        pytest.param(b'date = "2026-04-16"', id="no-version"),
        pytest.param(b'manifest-version = "2"', id="no-date"),
        pytest.param(HEAD.replace("2026-04-16", "2026-02-30").encode(), id="no-such-day"),
        pytest.param(HEAD.replace("2026-04-16", "20260416").encode(), id="other-date-form"),
        pytest.param(HEAD.replace('"2026-04-16"', "2026-04-16").encode(), id="date-unquoted"),
        pytest.param(
            (HEAD + TARGET + f'url = "{HOST}/a"\n').encode(), id="attack-url-without-hash"
        ),
        pytest.param((HEAD + TARGET + pair("", "/a", A[:-1])).encode(), id="short-hash"),
        pytest.param((HEAD + TARGET + pair("", "/a", A.upper())).encode(), id="upper-case-hash"),
        pytest.param(
            (HEAD + TARGET + pair("", "/a", A) + pair("xz_", "/a", B)).encode(),
            id="attack-two-hashes-for-one-path",
        ),
        pytest.param(b"a = " + b"[" * 20_000, id="deeply-nested"),
        pytest.param(b"a = " + b"9" * 5_000, id="an-integer-without-end"),
        pytest.param(b"a = 2026-02-30", id="a-day-that-is-none"),
    ],
)
def test_a_damaged_manifest_is_refused(body: bytes) -> None:
    with pytest.raises(VerificationError, match="channel manifest"):
        parse_manifest(body)


@given(st.binary(max_size=100))
def test_random_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(VerificationError):
        parse_manifest(body)


RUST = '[pkg.rust]\nversion = "1.95.0 (59807616e 2026-04-14)"\n'


@pytest.mark.parametrize(
    ("text", "version"),
    [
        pytest.param(HEAD + "\n" + RUST, "1.95.0", id="as-published"),
        pytest.param(HEAD + TARGET + RUST + TARGET, "1.95.0", id="between-others"),
        pytest.param((HEAD + RUST).replace("\n", "\r\n"), "1.95.0", id="crlf"),
        pytest.param(HEAD + '[pkg.rust]\nversion = "1.96.0-beta.2"', "1.96.0-beta.2", id="bare"),
        pytest.param(HEAD + TARGET, "", id="no-rust"),
        pytest.param(
            HEAD + "[pkg.rust]\n" + TARGET + 'version = "1.0.0"\n', "", id="none-of-its-own"
        ),
        pytest.param(HEAD + RUST + 'version = "1.0.0"\n', "", id="attack-two-versions"),
        pytest.param(HEAD + '[pkg.rust-std]\nversion = "1.0.0"\n', "", id="another-package"),
        pytest.param(HEAD, "", id="nothing-else"),
    ],
)
def test_the_head_says_which_release_it_is(text: str, version: str) -> None:
    assert read_head(text.encode()) == ManifestHead(date="2026-04-16", rust_version=version)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("<html>", id="page"),
        pytest.param(HEAD.replace('"2"', '"3"') + RUST, id="version-3"),
        pytest.param(HEAD.replace("date", "day") + RUST, id="no-date"),
        pytest.param(HEAD.replace("2026-04-16", "2026-02-30") + RUST, id="no-such-day"),
        pytest.param(HEAD.replace("2026-04-16", "2026-4-16") + RUST, id="short-date"),
        pytest.param(HEAD + 'date = "2026-04-17"\n' + RUST, id="attack-two-dates"),
        pytest.param(RUST + HEAD, id="attack-date-in-a-table"),
        pytest.param(HEAD + RUST + RUST, id="attack-two-rusts"),
        pytest.param("#" * 5000 + "\n" + HEAD + RUST, id="attack-far-down"),
    ],
)
def test_a_manifest_without_a_clear_head_is_refused(text: str) -> None:
    with pytest.raises(VerificationError, match="channel manifest"):
        read_head(text.encode())


@given(st.dates().map(lambda day: day.isoformat()), st.sampled_from(["1.95.0", "1.96.0-beta.1"]))
def test_the_head_agrees_with_the_parsed_manifest(date: str, version: str) -> None:
    body = f'manifest-version = "2"\ndate = "{date}"\n[pkg.rust]\nversion = "{version} (a b)"\n'
    assert read_head(body.encode()) == ManifestHead(date=date, rust_version=version)
    assert parse_manifest(body.encode()).date == date


@given(st.binary(max_size=200))
def test_random_bytes_have_no_head(body: bytes) -> None:
    with pytest.raises(VerificationError):
        read_head(body)


@pytest.mark.parametrize(
    "text",
    [
        ".".join(["a"] * 16_000) + " = 1\n",
        "x = {" + ".".join(["a"] * 16_000) + " = 1}\n",
        "[" + " . ".join(['"a"'] * 16_000) + "]\n",
    ],
    ids=["key", "inline-table", "header"],
)
def test_a_key_of_many_parts_is_refused_before_it_costs_seconds(text: str) -> None:
    with pytest.raises(VerificationError, match="dots in a line"):
        parse_manifest(f'manifest-version = "2"\ndate = "2026-01-01"\n{text}'.encode())

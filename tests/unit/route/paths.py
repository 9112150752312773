"""Strategies that make the paths of each grammar, for the property tests of this room.

Runs in: pytest.
"""

from __future__ import annotations

from hypothesis import strategies as st

DATES = st.dates().map(lambda d: f"{2000 + d.year % 100:04}-{d.month:02}-{d.day:02}")
PROOFS = st.sampled_from(["", ".sha256", ".asc"])
CHANNELS = st.sampled_from(
    ["stable", "beta", "nightly", "1.95", "1.95.0", "1.95.0-beta", "1.95.0-beta.2", "1.0.0-alpha"]
)
VERSIONS = st.sampled_from(["nightly", "beta", "1.95.0", "1.96.0-beta.1"])
TRIPLES = st.sampled_from(
    [
        "x86_64-unknown-linux-gnu",
        "thumbv8m.main-none-eabihf",
        "wasm32-wasip1",
        "aarch64-apple-darwin",
    ]
)
SUFFIXES = st.sampled_from([".tar.gz", ".tar.xz", ".tar.zst", ".msi", ".pkg", ".exe"])
FOLDERS = st.just("/dist") | DATES.map("/dist/{}".format)

CHANNEL_PATHS = st.builds(
    "{}/channel-rust-{}{}{}".format, FOLDERS, CHANNELS, st.sampled_from(["", ".toml"]), PROOFS
)
ARCHIVE_PATHS = st.builds(
    "{}/{}-{}-{}{}{}".format,
    FOLDERS,
    st.sampled_from(["rustc", "rust-std", "cargo", "llvm-tools", "rust-docs-json"]),
    VERSIONS,
    TRIPLES,
    SUFFIXES,
    PROOFS,
)
RUSTUP_PATHS = st.builds(
    "/rustup/{}/{}/rustup-init{}{}".format,
    st.sampled_from(["dist", "archive/1.29.0", "archive/1.30.0-beta.1"]),
    TRIPLES,
    st.sampled_from(["", ".exe"]),
    st.sampled_from(["", ".sha256"]),
)

CRATE_NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,63}", fullmatch=True)
CRATE_VERSIONS = st.builds(
    "{}.{}.{}{}{}".format,
    st.integers(0, 10**6),
    st.integers(0, 300),
    st.integers(0, 300),
    st.just("") | st.from_regex(r"-[0-9A-Za-z-]{1,8}(\.[0-9A-Za-z-]{1,4}){0,2}", fullmatch=True),
    st.just("") | st.from_regex(r"\+[0-9A-Za-z-]{1,8}(\.[0-9A-Za-z-]{1,4}){0,2}", fullmatch=True),
)
CLAIMS = st.binary(min_size=32, max_size=32)


def crate_spellings(name: str, version: str, claim: bytes) -> list[str]:
    """Every spelling of one crate, the canonical one first."""
    digest = claim.hex()
    return [
        f"/crates/{name}/{name}-{version}.crate",
        f"/crates/{name}/{version}/download",
        f"/api/v1/crates/{name}/{version}/download",
        f"/crates/{name}/{digest}/{name}-{version}.crate",
        f"/crates/{name}/{version}/{digest}/download",
    ]


CRATE_PATHS = st.builds(crate_spellings, CRATE_NAMES, CRATE_VERSIONS, CLAIMS).flatmap(
    st.sampled_from
)


def index_path(name: str) -> str:
    """The path of an index file below the registry's root, in cargo's own words."""
    name = name.lower()
    prefix = {1: "1", 2: "2", 3: f"3/{name[0]}"}.get(len(name), f"{name[:2]}/{name[2:4]}")
    return f"/{prefix}/{name}"


INDEX_PATHS = st.builds(
    "{}{}".format, st.sampled_from(["/index", "/crates.io-index"]), CRATE_NAMES.map(index_path)
)
PATHS = st.one_of(
    CHANNEL_PATHS,
    ARCHIVE_PATHS,
    RUSTUP_PATHS,
    CRATE_PATHS,
    INDEX_PATHS,
    st.sampled_from(
        [
            "/manifests.txt",
            "/rust-key.gpg.ascii",
            "/rustup/release-stable.toml",
            "/rustup/rustup-init.sh",
        ]
    ),
)

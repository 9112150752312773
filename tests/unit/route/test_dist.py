"""The grammar of /dist/ and of the single files."""

from __future__ import annotations

import pytest
from hypothesis import given

from mirror.route.dist import Channel, channel_of, dated, match_dist, match_single
from mirror.route.match import Site, match, route_of_key
from mirror.route.route import ContentClass, Kind, Route, Tempo, UpstreamName
from tests.unit.route.paths import ARCHIVE_PATHS, CHANNEL_PATHS

TARGET = "x86_64-unknown-linux-gnu"


@pytest.mark.parametrize(
    ("path", "kind", "tempo", "media_type"),
    [
        pytest.param("channel-rust-stable.toml", Kind.CHANNEL, Tempo.CHANNEL, "text/plain",
                     id="head"),
        pytest.param("channel-rust-beta.toml.sha256", Kind.CHANNEL, Tempo.CHANNEL, "text/plain",
                     id="head-sha256"),
        pytest.param("channel-rust-nightly.toml.asc", Kind.CHANNEL, Tempo.CHANNEL, "text/plain",
                     id="head-asc"),
        pytest.param("channel-rust-1.95.toml", Kind.CHANNEL, Tempo.CHANNEL, "text/plain",
                     id="minor-version-moves"),
        pytest.param("channel-rust-1.95.0.toml", Kind.CHANNEL, Tempo.UNDATED, "text/plain",
                     id="whole-version-stays"),
        pytest.param("channel-rust-1.95.0-beta.toml", Kind.CHANNEL, Tempo.CHANNEL, "text/plain",
                     id="beta-of-a-version-moves"),
        pytest.param("channel-rust-1.95.0-beta.2.toml", Kind.CHANNEL, Tempo.UNDATED, "text/plain",
                     id="numbered-beta-stays"),
        pytest.param("2026-01-01/channel-rust-nightly.toml", Kind.CHANNEL, Tempo.FOREVER,
                     "text/plain", id="dated-manifest"),
        pytest.param("channel-rust-stable", Kind.CHANNEL_V1, Tempo.CHANNEL, "text/plain", id="v1"),
        pytest.param("channel-rust-stable.sha256", Kind.CHANNEL_V1, Tempo.CHANNEL, "text/plain",
                     id="v1-sha256"),
        pytest.param("2026-01-01/channel-rust-nightly.asc", Kind.CHANNEL_V1, Tempo.FOREVER,
                     "text/plain", id="dated-v1-asc"),
        pytest.param(f"2026-04-16/rustc-1.95.0-{TARGET}.tar.xz", Kind.ARCHIVE, Tempo.FOREVER,
                     "application/x-xz", id="dated-archive"),
        pytest.param(f"2026-04-16/rustc-1.95.0-{TARGET}.tar.xz.sha256", Kind.ARCHIVE_PROOF,
                     Tempo.FOREVER, "text/plain", id="dated-archive-sha256"),
        pytest.param(f"rustc-1.95.0-{TARGET}.tar.gz", Kind.ARCHIVE, Tempo.UNDATED,
                     "application/gzip", id="versioned-archive-stays"),
        pytest.param(f"rustc-1.95.0-{TARGET}.tar.gz.asc", Kind.ARCHIVE_PROOF, Tempo.UNDATED,
                     "text/plain", id="versioned-archive-asc"),
        pytest.param(f"rustc-nightly-{TARGET}.tar.zst", Kind.ARCHIVE, Tempo.CHANNEL,
                     "application/zstd", id="nightly-archive-moves"),
        pytest.param(f"rustc-beta-{TARGET}.tar.gz.sha256", Kind.ARCHIVE_PROOF, Tempo.CHANNEL,
                     "text/plain", id="beta-archive-moves"),
        pytest.param(f"rust-1.96.0-beta.2-{TARGET}.msi", Kind.ARCHIVE, Tempo.CHANNEL,
                     "application/octet-stream", id="numbered-beta-archive"),
        pytest.param("rust-1.95.0-aarch64-apple-darwin.pkg", Kind.ARCHIVE, Tempo.UNDATED,
                     "application/octet-stream", id="mac-installer"),
        pytest.param("rust-1.0.0-i686-pc-windows-gnu.exe", Kind.ARCHIVE, Tempo.UNDATED,
                     "application/octet-stream", id="oldest-windows-installer"),
        pytest.param("rustc-1.95.0-src.tar.xz", Kind.ARCHIVE, Tempo.UNDATED, "application/x-xz",
                     id="source"),
        pytest.param("rustc-nightly-src.tar.gz", Kind.ARCHIVE, Tempo.CHANNEL, "application/gzip",
                     id="nightly-source-moves"),
        pytest.param("rust-std-nightly-thumbv8m.main-none-eabihf.tar.xz", Kind.ARCHIVE,
                     Tempo.CHANNEL, "application/x-xz", id="triple-with-a-dot"),
        pytest.param("rust-mingw.tar.bz2", Kind.ARCHIVE, Tempo.CHANNEL, "application/x-bzip2",
                     id="no-version-counts-as-moving"),
        pytest.param("channel-rust-odd-1.95.0.zip", Kind.ARCHIVE, Tempo.UNDATED, "application/zip",
                     id="archive-named-like-a-channel"),
        pytest.param("channel-rust-nightly-git-commit-hash.txt", Kind.ARCHIVE, Tempo.CHANNEL,
                     "text/plain", id="note-of-a-head"),
        pytest.param("2026-01-01/channel-rust-nightly-date.txt.sha256", Kind.ARCHIVE_PROOF,
                     Tempo.FOREVER, "text/plain", id="dated-note-sha256"),
    ],
)  # fmt: skip
def test_a_file_of_dist_has_its_kind(path: str, kind: Kind, tempo: Tempo, media_type: str) -> None:
    assert match_dist(f"/dist/{path}") == Route(
        key=f"releases:/dist/{path}",
        kind=kind,
        upstream=UpstreamName.RELEASES,
        path=f"/dist/{path}",
        tempo=tempo,
        content_class=ContentClass.RELEASE,
        media_type=media_type,
    )


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/dist/channel-rust-foo.toml", id="unknown-channel"),
        pytest.param("/dist/channel-rust-.toml", id="empty-channel"),
        pytest.param("/dist/channel-rust-stable.toml.sha512", id="unknown-proof"),
        pytest.param("/dist/channel-rust-stable.toml.sha256.asc", id="proof-of-a-proof"),
        pytest.param("/dist/channel-rust-stable.toml.gz", id="compressed-manifest"),
        pytest.param("/dist/channel-rust-1.toml", id="major-only"),
        pytest.param("/dist/channel-rust-1.2.3.4.toml", id="four-numbers"),
        pytest.param("/dist/channel-rust-nightly-2026-01-01.toml", id="date-in-the-name"),
        pytest.param("/dist/2026-13-01/channel-rust-nightly.toml", id="month-13"),
        pytest.param("/dist/2026-00-01/channel-rust-nightly.toml", id="month-zero"),
        pytest.param("/dist/2026-01-32/channel-rust-nightly.toml", id="day-32"),
        pytest.param("/dist/2026-1-1/channel-rust-nightly.toml", id="short-date"),
        pytest.param("/dist/1926-01-01/channel-rust-nightly.toml", id="last-century"),
        pytest.param("/dist/2026-01-01/2026-01-01/channel-rust-nightly.toml", id="two-dates"),
        pytest.param("/dist/staging/rustc-1.95.0-src.tar.gz", id="other-folder"),
        pytest.param("/dist/rustc-1.95.0.tar", id="suffix-of-no-kind"),
        pytest.param("/dist/rustc-1.95.0.tar.gz.html", id="page-behind-an-archive"),
        pytest.param("/dist/rustc.tar.gz.sha256.sha256", id="archive-proof-of-a-proof"),
        pytest.param("/dist/.tar.gz", id="no-name"),
        pytest.param("/dist/Rustc-1.95.0.tar.gz", id="capital-first"),
        pytest.param("/dist/index.html", id="listing"),
        pytest.param("/dist/channel-rust-beta-date.txtx", id="text-with-more-behind"),
        pytest.param("/dist/foo-date.txt", id="text-of-no-channel"),
        pytest.param("/dist/rustc-1.95.0+b.tar.gz", id="plus"),
        pytest.param("/dist/rustc-1.95.0.tar.gz\n", id="line-end"),
    ],
)
def test_what_is_no_file_of_dist_is_none(path: str) -> None:
    assert match_dist(path) is None


def test_the_single_files() -> None:
    manifests, key = match_single("/manifests.txt"), match_single("/rust-key.gpg.ascii")
    assert manifests is not None
    assert key is not None
    assert (manifests.kind, manifests.tempo) == (Kind.MANIFESTS, Tempo.MANIFESTS)
    assert (key.kind, key.tempo) == (Kind.RELEASE_KEY, Tempo.UNDATED)
    assert match_single("/manifests.txt.asc") is None
    assert dated(manifests) is None


@pytest.mark.parametrize(
    ("path", "channel"),
    [
        pytest.param(
            "/dist/channel-rust-stable.toml",
            Channel(name="stable", date=None, base_path="/dist/channel-rust-stable",
                    suffix=".toml", is_v1=False),
            id="head",
        ),
        pytest.param(
            "/dist/2026-01-01/channel-rust-nightly.toml.sha256",
            Channel(name="nightly", date="2026-01-01",
                    base_path="/dist/2026-01-01/channel-rust-nightly",
                    suffix=".toml.sha256", is_v1=False),
            id="dated-sha256",
        ),
        pytest.param(
            "/dist/channel-rust-1.95.0-beta.2.toml.asc",
            Channel(name="1.95.0-beta.2", date=None,
                    base_path="/dist/channel-rust-1.95.0-beta.2",
                    suffix=".toml.asc", is_v1=False),
            id="version-asc",
        ),
        pytest.param(
            "/dist/2026-01-01/channel-rust-beta",
            Channel(name="beta", date="2026-01-01", base_path="/dist/2026-01-01/channel-rust-beta",
                    suffix="", is_v1=True),
            id="dated-v1",
        ),
        pytest.param(
            "/dist/channel-rust-1.95.sha256",
            Channel(name="1.95", date=None, base_path="/dist/channel-rust-1.95",
                    suffix=".sha256", is_v1=True),
            id="v1-sha256",
        ),
    ],
)  # fmt: skip
def test_a_channel_file_names_its_channel(path: str, channel: Channel) -> None:
    route = match_dist(path)
    assert route is not None
    assert channel_of(route) == channel


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"/dist/2026-01-01/rustc-nightly-src.tar.gz", id="archive"),
        pytest.param(b"/dist/channel-rust-nightly-date.txt", id="note"),
        pytest.param(b"/manifests.txt", id="manifests"),
        pytest.param(b"/crates/a/a-1.0.0.crate", id="crate"),
    ],
)
def test_what_is_no_channel_file_has_no_channel(raw: bytes) -> None:
    route = match(raw, Site.ANY)
    assert isinstance(route, Route)
    assert channel_of(route) is None


@given(CHANNEL_PATHS)
def test_a_channel_is_its_path_in_parts(path: str) -> None:
    route = route_of_key(f"releases:{path}")
    assert route is not None
    channel = channel_of(route)
    assert channel is not None
    folder = f"/dist/{channel.date}" if channel.date else "/dist"
    assert channel.base_path == f"{folder}/channel-rust-{channel.name}"
    assert channel.base_path + channel.suffix == path
    assert channel.is_v1 is not channel.suffix.startswith(".toml")
    assert dated(route) == channel.date


@given(ARCHIVE_PATHS)
def test_only_what_stands_under_a_date_stays_for_ever(path: str) -> None:
    route = route_of_key(f"releases:{path}")
    assert route is not None
    assert (route.tempo is Tempo.FOREVER) is (dated(route) is not None)

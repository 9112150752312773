"""The grammar of /rustup/."""

from __future__ import annotations

import pytest

from mirror.route.route import ContentClass, Kind, Route, Tempo, UpstreamName
from mirror.route.rustup import match_rustup

TARGET = "x86_64-unknown-linux-gnu"


@pytest.mark.parametrize(
    ("path", "kind", "tempo", "media_type"),
    [
        pytest.param("release-stable.toml", Kind.RUSTUP_HEAD, Tempo.RUSTUP, "text/plain",
                     id="head"),
        pytest.param("rustup-init.sh", Kind.RUSTUP_HEAD, Tempo.RUSTUP, "text/x-shellscript",
                     id="script"),
        pytest.param(f"dist/{TARGET}/rustup-init", Kind.RUSTUP_BINARY, Tempo.RUSTUP,
                     "application/octet-stream", id="newest"),
        pytest.param("dist/x86_64-pc-windows-msvc/rustup-init.exe", Kind.RUSTUP_BINARY,
                     Tempo.RUSTUP, "application/octet-stream", id="newest-for-windows"),
        pytest.param(f"dist/{TARGET}/rustup-init.sha256", Kind.RUSTUP_PROOF, Tempo.RUSTUP,
                     "text/plain", id="newest-sha256"),
        pytest.param(f"archive/1.29.0/{TARGET}/rustup-init", Kind.RUSTUP_BINARY, Tempo.FOREVER,
                     "application/octet-stream", id="archived"),
        pytest.param("archive/1.29.0/x86_64-pc-windows-msvc/rustup-init.exe.sha256",
                     Kind.RUSTUP_PROOF, Tempo.FOREVER, "text/plain", id="archived-sha256"),
        pytest.param(f"archive/1.30.0-beta.1/{TARGET}/rustup-init", Kind.RUSTUP_BINARY,
                     Tempo.FOREVER, "application/octet-stream", id="archived-beta"),
        pytest.param(f"archive/0.1.0/{TARGET}/rustup-setup", Kind.RUSTUP_BINARY, Tempo.FOREVER,
                     "application/octet-stream", id="oldest-name"),
    ],
)  # fmt: skip
def test_a_file_of_rustup_has_its_kind(
    path: str, kind: Kind, tempo: Tempo, media_type: str
) -> None:
    assert match_rustup(f"/rustup/{path}") == Route(
        key=f"releases:/rustup/{path}",
        kind=kind,
        upstream=UpstreamName.RELEASES,
        path=f"/rustup/{path}",
        tempo=tempo,
        content_class=ContentClass.RUSTUP,
        media_type=media_type,
    )


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/rustup/", id="folder"),
        pytest.param("/rustup/release-stable.toml.sha256", id="proof-nobody-publishes"),
        pytest.param("/rustup/release-nightly.toml", id="unknown-head"),
        pytest.param("/rustup/www/index.html", id="web-site"),
        pytest.param("/rustup/rustup-init", id="binary-without-a-folder"),
        pytest.param(f"/rustup/dist/{TARGET}/rustc", id="another-program"),
        pytest.param(f"/rustup/dist/{TARGET}/rustup-init.asc", id="signature-nobody-publishes"),
        pytest.param(f"/rustup/dist/{TARGET}/rustup-init.sh", id="script-in-a-folder"),
        pytest.param("/rustup/dist//rustup-init", id="empty-triple"),
        pytest.param(f"/rustup/archive/{TARGET}/rustup-init", id="archive-without-a-version"),
        pytest.param(f"/rustup/archive/1.29/{TARGET}/rustup-init", id="short-version"),
        pytest.param(f"/rustup/archive/latest/{TARGET}/rustup-init", id="version-in-letters"),
        pytest.param("/rustup/dist/-x/rustup-init", id="triple-with-a-hyphen-first"),
        pytest.param("/rustup/dist/X86/rustup-init", id="triple-in-upper-case"),
        pytest.param("/rustup/dist/a..b/rustup-init", id="triple-with-two-dots"),
        pytest.param("/rustup/release-stable.toml\n", id="line-end"),
    ],
)
def test_what_is_no_file_of_rustup_is_none(path: str) -> None:
    assert match_rustup(path) is None

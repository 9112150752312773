from __future__ import annotations

import io
import tarfile

import pytest

from mirror.simulator.components import ComponentSpec, component_tar, file_stem

HOST = "x86_64-unknown-linux-gnu"


def spec(package: str, triple: str = HOST, payload_scale: int = 1) -> ComponentSpec:
    return ComponentSpec(
        package=package,
        version="1.95.0",
        full_version="1.95.0 (abc 2026-04-14)",
        triple=triple,
        built_at=1000,
        seed=1,
        payload_scale=payload_scale,
    )


def members(package: str, triple: str = HOST) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(component_tar(spec(package, triple)))) as archive:
        for member in archive.getmembers():
            reader = archive.extractfile(member) if member.isfile() else None
            found[member.name] = reader.read() if reader else b""
    return found


@pytest.mark.parametrize(
    ("package", "triple", "top", "component"),
    [
        ("rustc", HOST, f"rustc-1.95.0-{HOST}", "rustc"),
        ("rust-std", "wasm32-wasip1", "rust-std-1.95.0-wasm32-wasip1", "rust-std-wasm32-wasip1"),
        ("clippy-preview", HOST, f"clippy-1.95.0-{HOST}", "clippy-preview"),
        ("rust-src", "*", "rust-src-1.95.0", "rust-src"),
    ],
)
def test_archive_has_the_layout_that_rustup_unpacks(
    package: str, triple: str, top: str, component: str
) -> None:
    files = members(package, triple)
    assert files[f"{top}/components"] == f"{component}\n".encode()
    assert files[f"{top}/rust-installer-version"] == b"3\n"
    listed = files[f"{top}/{component}/manifest.in"].decode().splitlines()
    assert listed
    for line in listed:
        assert f"{top}/{component}/{line.removeprefix('file:')}" in files


def test_programs_print_their_version() -> None:
    program = members("rustc")[f"rustc-1.95.0-{HOST}/rustc/bin/rustc"]
    assert b"rustc 1.95.0 (abc 2026-04-14)" in program


def test_scale_makes_archives_bigger() -> None:
    assert len(component_tar(spec("rustc", payload_scale=4))) > 3 * len(
        component_tar(spec("rustc"))
    )


def test_preview_is_no_part_of_file_names() -> None:
    assert file_stem("rustfmt-preview") == "rustfmt"

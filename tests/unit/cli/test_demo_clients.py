"""What the demo finds out about this machine's clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.cli.demo_clients import find_host_triple


@pytest.mark.parametrize(
    ("script", "triple"),
    [
        pytest.param(
            "printf 'rustc 1.95.0\\nhost: aarch64-unknown-linux-gnu\\nrelease: 1.95.0\\n'",
            "aarch64-unknown-linux-gnu",
            id="told",
        ),
        pytest.param("echo rustc 1.95.0", "", id="not-told"),
        pytest.param("exit 1", "", id="broken"),
        pytest.param(None, "", id="no-compiler"),
    ],
)
def test_target_is_what_the_compiler_beside_cargo_says(
    script: str | None, triple: str, tmp_path: Path
) -> None:
    if script is not None:
        (tmp_path / "rustc").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "rustc").chmod(0o755)
    assert find_host_triple(tmp_path / "cargo") == triple


def test_without_cargo_nobody_is_asked() -> None:
    assert find_host_triple(None) == ""

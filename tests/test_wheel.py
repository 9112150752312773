"""The built wheel, installed in a fresh environment from the lock file, carries all it needs.

Runs in: pytest (full: asks the package registry).
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mirror import __version__
from mirror.control.pages import FILES

ROOT = Path(__file__).parent.parent
VENDOR = ROOT / "mirror" / "control" / "pages" / "vendor"


def _run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy, so that no build folder is left in the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    listed = _run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    # What `make assets` puts in place is not tracked, and goes into the wheel where it is.
    assets = [str(path.relative_to(ROOT)) for path in sorted(VENDOR.glob("*")) if path.is_file()]
    for name in [*listed.splitlines(), *assets]:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    _run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
        "--wheel-dir", folder, source, cwd=folder,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


@pytest.mark.full
@pytest.mark.timeout(300)
def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    tree = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "mirror").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert tree - set(zipfile.ZipFile(wheel).namelist()) == set()


@pytest.mark.full
@pytest.mark.timeout(300)
def test_the_wheel_holds_the_pages_of_the_dashboard(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    pages = {f"mirror/control/pages/{name}" for name, _ in FILES.values()}
    absent = {page for page in pages if not (ROOT / page).is_file()}
    assert all("/vendor/" in page for page in absent)
    assert pages - absent <= held


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_wheel_runs_with_locked_requirements_only(wheel: Path, tmp_path: Path) -> None:
    _run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    lock = ROOT / "requirements" / "runtime.txt"
    _run(python, "-m", "pip", "install", "-q", "--require-hashes", "-r", lock, cwd=tmp_path)
    _run(python, "-m", "pip", "install", "-q", "--no-deps", wheel, cwd=tmp_path)
    _run(python, "-m", "pip", "check", cwd=tmp_path)
    command = tmp_path / "venv" / "bin" / "rust-mirror"
    assert __version__ in _run(command, "version", cwd=tmp_path)
    assert "demo" in _run(command, "--help", cwd=tmp_path)
    assert "budget" in _run(command, "config", "show", cwd=tmp_path)

"""What the house style lets a machine check: sizes, docstrings, seams, no traces of machines.

Runs in: pytest.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "mirror").rglob("*.py"))
FILE_CAP_LINES = 400
FUNCTION_CAP_LINES = 50

# Files that come from elsewhere and name their own sources.
_NOT_OURS = ("LICENSE-APACHE",)
_BINARY = (".png", ".gif", ".ico", ".gpg")
# Spelled in pieces, so that this file does not find itself.
_TRACES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?<![a-z.\w])/" + r"(work|farm)/",
        r"(?<![\w.])/" + r"root/",
        r"/" + r"opt/(pypi|wheels)",
        r"pypi" + r"\.org|pythonhosted" + r"\.org",
        r"deb" + r"\.debian\.org|registry\.npmjs" + r"\.org",
    )
)
_INDEX_OPTION = re.compile(r"^\s*(--?\S*index\S*|-i|-f|--find-links|--trusted-host)\b", re.M)


def _tracked() -> list[Path]:
    """What git tracks or would track; without git, what stands in the folder."""
    git = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if git.returncode == 0:
        paths = [ROOT / line for line in git.stdout.splitlines()]
    else:
        paths = [path for path in ROOT.rglob("*") if ".venv" not in path.parts]
    return [path for path in paths if path.is_file() and path.suffix not in _BINARY]


def traces(text: str) -> list[str]:
    """Return the machine paths and registry hosts in `text`."""
    return [match.group(0) for pattern in _TRACES for match in pattern.finditer(text)]


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of code: without the docstring, whose length is no reason to split."""
    first = function.body[0]
    has_docstring = ast.get_docstring(function) is not None and isinstance(first, ast.Expr)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def test_no_module_is_longer_than_its_cap() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert [f"{p.relative_to(ROOT)}: {n}" for p, n in lengths.items() if n > FILE_CAP_LINES] == []


def test_no_function_is_longer_than_its_cap() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}: {_length(function)}"
        for path in MODULES
        for function in _functions(_parse(path))
        if _length(function) > FUNCTION_CAP_LINES
    ]
    assert long == []


def test_every_module_says_what_it_is_for_and_where_it_runs() -> None:
    without = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if path.name != "__init__.py" and "Runs in:" not in (ast.get_docstring(_parse(path)) or "")
    ]
    assert without == []


def test_package_files_import_nothing() -> None:
    """What a package file imports, every worker loads."""
    importing = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if path.name == "__init__.py"
        and any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(_parse(path)))
    ]
    assert importing == []


def test_fsync_is_called_in_one_file_only() -> None:
    calling = {
        str(path.relative_to(ROOT / "mirror"))
        for path in MODULES
        for node in ast.walk(_parse(path))
        if isinstance(node, ast.Attribute)
        and node.attr in ("fsync", "fdatasync")
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    }
    assert calling == {"store/files.py"}


def test_the_environment_is_read_at_the_edges_only() -> None:
    """Commands hand it to the configuration; a room that reads it would have a hidden setting."""
    reading = {
        str(path.relative_to(ROOT / "mirror"))
        for path in MODULES
        for node in ast.walk(_parse(path))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    assert {name for name in reading if not name.startswith("cli/")} <= {"app.py"}


def test_no_tracked_file_names_a_machine_or_a_registry() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {trace}"
        for path in _tracked()
        if path.name not in _NOT_OURS
        for trace in traces(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("path = '/" + "work/main'", id="work-folder"),
        pytest.param("HOME=/" + "root/.cargo", id="home-of-root"),
        pytest.param("--index-url https://pypi" + ".org/simple", id="registry"),
    ],
)
def test_a_planted_trace_is_found(text: str) -> None:
    assert traces(text)


@pytest.mark.parametrize(
    ("name", "fewest"),
    [
        ("runtime.txt", 12),
        ("build.txt", 1),
        ("dev.txt", 25),
        ("s3server.txt", 10),
        ("load.txt", 15),
    ],
)
def test_locked_requirements_are_hashes_without_an_index(name: str, fewest: int) -> None:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    pins = re.findall(r"^[A-Za-z0-9_.-]+==\S+", text, re.M)
    assert _INDEX_OPTION.search(text) is None
    assert "://" not in text
    assert "file:/" not in text
    assert len(pins) >= fewest
    assert len(re.findall(r"^[A-Za-z0-9_.-]+==\S+.* \\\n +--hash=sha256:", text, re.M)) == len(pins)


def test_an_index_option_would_be_found() -> None:
    assert _INDEX_OPTION.search("# comment\n--extra-index-url x\n")
    assert _INDEX_OPTION.search("--find-links x\n")

"""Every `mirror/file.py:name` that the pages of `docs/` give exists in the tree.

Runs in: pytest.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"
TRUST = ROOT / "docs" / "trust.md"
TRUST_LINES_MAX = 70  # about one printed page: an auditor reads it whole
FEWEST_NAMES = 8  # one for each step of the request path

_REFERENCE = re.compile(r"`(mirror/[\w/]+\.py):([A-Za-z_][\w.]*)(?:\(\))?`")


def references(text: str) -> list[tuple[str, str]]:
    """Return (file, dotted name) for each reference in backticks, in order."""
    return _REFERENCE.findall(text)


def resolves(root: Path, file: str, name: str) -> bool:
    """Say whether `file` defines `name`, a dotted path through its classes and functions."""
    path = root / file
    if not path.is_file():
        return False
    scope: ast.AST = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for part in name.split("."):
        found = next((node for node in ast.iter_child_nodes(scope) if _defines(node, part)), None)
        if found is None:
            return False
        scope = found
    return True


def _defines(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name == name
    if isinstance(node, ast.AnnAssign):
        return isinstance(node.target, ast.Name) and node.target.id == name
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
    return False


@pytest.mark.parametrize("page", [PAGE, TRUST], ids=lambda page: page.stem)
def test_every_name_on_the_page_resolves(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = references(text)
    assert [pair for pair in named if not resolves(ROOT, *pair)] == []
    # A file alone proves little: every place has the name of who does it.
    assert len(named) == len(re.findall(r"`mirror/[^`]*\.py", text))


def test_the_trust_page_is_one_page_that_names_a_check_for_each_class() -> None:
    text = TRUST.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= TRUST_LINES_MAX
    assert len(set(references(text))) >= FEWEST_NAMES


def test_the_architecture_page_names_each_step_of_the_request_path() -> None:
    named = references(PAGE.read_text(encoding="utf-8"))
    assert len(set(named)) >= FEWEST_NAMES


@pytest.mark.parametrize(
    ("file", "name", "expected"),
    [
        pytest.param("mirror/errors.py", "MirrorError", True, id="class"),
        pytest.param("mirror/errors.py", "MirrorError.__str__", True, id="method"),
        pytest.param("mirror/fill/frames.py", "encode_frame", True, id="function"),
        pytest.param("mirror/fill/frames.py", "PROTOCOL_VERSION", True, id="constant"),
        pytest.param("mirror/errors.py", "MirrorError.absent", False, id="absent-method"),
        pytest.param("mirror/errors.py", "__str__", False, id="method-without-its-class"),
        pytest.param("mirror/absent.py", "anything", False, id="absent-file"),
    ],
)
def test_a_reference_resolves_only_when_it_is_defined(file: str, name: str, expected: bool) -> None:
    assert resolves(ROOT, file, name) is expected


def test_references_are_read_from_backticks() -> None:
    text = "see `mirror/a/b.py:C.d` and `mirror/e.py:f()`, not mirror/g.py:h or `i.py:j`"
    assert references(text) == [("mirror/a/b.py", "C.d"), ("mirror/e.py", "f")]

"""The plan of the rooms holds in the tree, and the checker finds what is planted against it.

Runs in: pytest.
"""

from __future__ import annotations

import fnmatch
import functools
from pathlib import Path

import pytest

from tests.layers import BUILDERS, PURE, ROOMS, WORKER_SIDE, Module, is_pure, read_tree, violations

MIRROR = Path(__file__).parent.parent / "mirror"
NOT_BUILT: set[str] = set()  # rooms of the plan that this version does not have


@functools.cache
def _product() -> dict[str, Module]:
    return read_tree(MIRROR)


def _tree(root: Path, files: dict[str, str]) -> Path:
    package = root / "mirror"
    for name, text in files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for folder in (path.parent, package):
            (folder / "__init__.py").touch()
    return package


def test_every_import_follows_the_plan() -> None:
    found = violations(_product())
    assert not found, "\n".join(found)


def _circle(start: str, modules: dict[str, Module]) -> tuple[str, ...]:
    """Return a chain of imports from `start` back to it, lazy ones included; () without one."""
    queue: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    while queue:
        chain = queue.pop(0)
        for item in modules[chain[-1]].imports:
            if item.target == start:
                return (*chain, start)
            if item.target in modules and item.target not in seen:
                seen.add(item.target)
                queue.append((*chain, item.target))
    return ()


def test_no_module_leads_back_to_itself() -> None:
    modules = _product()
    circles = [" -> ".join(circle) for name in modules if (circle := _circle(name, modules))]
    assert not circles, "\n".join(circles)


def test_circle_of_lazy_imports_is_found(tmp_path: Path) -> None:
    files = {"a.py": "from mirror import b", "b.py": "def f():\n    from mirror.a import x\n"}
    modules = read_tree(_tree(tmp_path, files))
    assert _circle("mirror.a", modules) == ("mirror.a", "mirror.b", "mirror.a")


def test_the_tree_that_is_checked_is_the_product() -> None:
    modules = _product()
    rooms = {"http", "route", "accounting", "verify", "store", "upstream", "fill", "serve"}
    assert rooms | {"control", "simulator"} <= {module.room for module in modules.values()}
    assert sum(is_pure(name) for name in modules) >= 15


@pytest.mark.parametrize("pattern", [*PURE, *WORKER_SIDE])
def test_every_pattern_of_the_plan_names_a_module(pattern: str) -> None:
    """A renamed file must not leave its rule behind."""
    assert fnmatch.filter(_product(), pattern)


def test_every_room_of_the_tree_is_in_the_plan_and_the_other_way() -> None:
    rooms = {module.room for module in _product().values()} - {""}
    assert rooms == (set(ROOMS) | set(BUILDERS)) - NOT_BUILT


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            {"serve/a.py": "import mirror.control.b", "control/b.py": ""},
            "serve must not import mirror.control.b",
            id="serve-imports-control",
        ),
        pytest.param(
            {"control/a.py": "from mirror.serve import b", "serve/b.py": ""},
            "control must not import mirror.serve.b",
            id="control-imports-serve-by-from",
        ),
        pytest.param(
            {"store/a.py": "def f():\n    from mirror.fill.b import c", "fill/b.py": ""},
            "store must not import mirror.fill.b",
            id="upwards-inside-a-function",
        ),
        pytest.param(
            {
                "http/a.py": "from typing import TYPE_CHECKING\n"
                "if TYPE_CHECKING:\n    import mirror.config",
                "config.py": "",
            },
            "http must not import mirror.config",
            id="upwards-for-type-checking",
        ),
        pytest.param(
            {"serve/a.py": "from mirror.store.store import Store", "store/store.py": ""},
            "serve must not go past store's doors to mirror.store.store",
            id="worker-imports-the-writing-side",
        ),
        pytest.param(
            {"serve/a.py": "import mirror.fill.filler", "fill/filler.py": ""},
            "serve must not go past fill's doors to mirror.fill.filler",
            id="worker-imports-the-filler",
        ),
        pytest.param(
            {"route/a.py": "from . import b", "route/b.py": ""},
            "relative import .",
            id="relative",
        ),
        pytest.param(
            {"helpers/a.py": "import mirror.errors", "errors.py": ""},
            "the room helpers is not in the plan",
            id="unknown-room",
        ),
        pytest.param(
            {"http/a.py": "import time"}, "a pure file must not import time", id="pure-clock"
        ),
        pytest.param(
            {"verify/a.py": "from os import path"}, "a pure file must not import os", id="pure-os"
        ),
        pytest.param(
            {"fill/plan.py": "import asyncio"},
            "a pure file must not import asyncio",
            id="pure-asyncio",
        ),
        pytest.param(
            {"store/eviction.py": "import mirror.store.files", "store/files.py": ""},
            "a pure file must not import mirror.store.files",
            id="pure-by-way-of-another-file",
        ),
        pytest.param(
            {"route/a.py": "import msgspec"}, "route must not import msgspec", id="foreign"
        ),
        pytest.param(
            {"serve/a.py": "import aiohttp"}, "serve must not import aiohttp", id="foreign-worker"
        ),
        pytest.param(
            {
                "app.py": "import mirror.control.b",
                "control/b.py": "import jinja2",
            },
            "a worker would load mirror.app -> mirror.control.b -> jinja2",
            id="forked-with-jinja2-through-a-chain",
        ),
        pytest.param(
            {"cli/main.py": "import mirror.cli.demo", "cli/demo.py": "from rich import table"},
            "a worker would load mirror.cli.main -> mirror.cli.demo -> rich",
            id="forked-with-rich-through-the-command",
        ),
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    found = violations(read_tree(_tree(tmp_path, files)))
    assert any(expected in sentence for sentence in found), found


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(
            {"serve/a.py": "from mirror.store.reader import b", "store/reader.py": "import apsw"},
            id="worker-reads-the-store",
        ),
        pytest.param(
            {"cli/main.py": "def demo():\n    import rich"}, id="rich-only-inside-a-command"
        ),
        pytest.param({"app.py": "import mirror.control.b", "control/b.py": ""}, id="app-builds"),
        pytest.param({"http/a.py": "from mirror import __version__"}, id="the-version"),
    ],
)
def test_an_allowed_import_is_not_reported(tmp_path: Path, files: dict[str, str]) -> None:
    assert violations(read_tree(_tree(tmp_path, files))) == []

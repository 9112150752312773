"""Every event that needs a person says what to do; the sources themselves are asked.

Rules:
1. A call of `.warning` or `.error` carries `hint=`, or its event stands in `HINTS`, or in
   `NEEDS_NOBODY`.
2. A name in either table is told somewhere: what is renamed is renamed here too.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mirror.event_hints import HINTS, NEEDS_NOBODY
from mirror.events import open_events

ROOT = Path(__file__).parents[2] / "mirror"
# They are no processes of a mirror: a simulated upstream, and commands, which answer by errors.
_OTHERS = ("simulator", "cli")
# Where a name is handed on: what it may be. `held` gives the hint itself; `app` and `keeper_totals`
# stand between, and tell what others do.
_HANDED_ON: dict[tuple[str, str], tuple[str, ...]] = {
    ("accounting/keeper_totals.py", "event"): (),
    ("app.py", "event"): (),
    ("fill/agreement.py", "event"): ("proof-refused", "content-refused"),
    ("fill/channel.py", "error.event"): ("channel-refused", "channel-skew"),
    ("fill/crate_events.py", "event"): ("crates-deleted", "crates-listed-again"),
    ("fill/reproving.py", "event"): ("unvouched-withdrawn", "pin-removed"),
    ("fill/small.py", "event"): ("rustup-release-rollback", "content-refused"),
    ("store/catalog.py", "event"): ("index-damaged",),
}


@dataclass(frozen=True, slots=True)
class Told:
    file: str
    line: int
    names: tuple[str, ...]
    has_hint: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {'/'.join(self.names)}"


def told_in(source: str, file: str) -> Iterator[Told]:
    """Find what a source tells at these levels: by an event log, or by a child's `report`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args and _tells(node.func):
            has_hint = any(keyword.arg == "hint" for keyword in node.keywords)
            yield Told(file, node.lineno, tuple(_names(node.args[0])), has_hint)


def _tells(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute):
        return function.attr in ("warning", "error")
    return isinstance(function, ast.Name) and function.id == "report"


def _names(argument: ast.expr) -> Iterator[str]:
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        yield argument.value
    elif isinstance(argument, ast.IfExp):
        yield from _names(argument.body)
        yield from _names(argument.orelse)
    else:
        yield f"<{ast.unparse(argument)}>"


@pytest.fixture(scope="module")
def all_told() -> list[Told]:
    found: list[Told] = []
    for path in sorted(ROOT.rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        if file.partition("/")[0] not in _OTHERS:
            found += told_in(path.read_text(encoding="utf-8"), file)
    return found


def unexplained(told: Told) -> list[str]:
    if told.has_hint:
        return []
    known = {*HINTS, *NEEDS_NOBODY}
    return [name for name in told.names if name not in known and not name.startswith("<")]


def test_every_warning_and_error_says_what_to_do_or_that_nobody_need(
    all_told: list[Told],
) -> None:
    assert len(all_told) > 50  # the scan finds what there is
    assert [f"{each}: {unexplained(each)}" for each in all_told if unexplained(each)] == []


def test_an_event_whose_name_is_handed_on_is_explained_too(all_told: list[Told]) -> None:
    handed_on = {
        (each.file, name.strip("<>"))
        for each in all_told
        for name in each.names
        if name.startswith("<") and not each.has_hint
    }
    assert handed_on == set(_HANDED_ON)
    for (file, _), names in _HANDED_ON.items():
        room = (ROOT / file).parent
        texts = "".join(path.read_text(encoding="utf-8") for path in room.rglob("*.py"))
        assert [name for name in names if f'"{name}"' not in texts] == []
        assert [name for name in names if name not in {*HINTS, *NEEDS_NOBODY}] == []


def test_no_hint_is_for_an_event_that_nobody_tells(all_told: list[Told]) -> None:
    told = {name for each in all_told for name in each.names} | {"events-lost"}
    told.update(name for names in _HANDED_ON.values() for name in names)
    assert sorted({*HINTS, *NEEDS_NOBODY} - told) == []
    assert sorted(HINTS.keys() & NEEDS_NOBODY.keys()) == []


@pytest.mark.parametrize("table", [HINTS, NEEDS_NOBODY], ids=["hints", "needs-nobody"])
def test_hints_are_one_plain_line(table: dict[str, str]) -> None:
    assert [name for name, text in table.items() if not 10 < len(text) < 300] == []
    assert [
        name for name, text in table.items() if not (text.isascii() and text.isprintable())
    ] == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("log.warning('x-unheard-of')", ["x-unheard-of"], id="no-hint"),
        pytest.param("log.error('x', hint='do this')", [], id="own-hint"),
        pytest.param("log.error('x' if a else 'y')", ["x", "y"], id="either"),
        pytest.param("report('x')", ["x"], id="of-a-child"),
        pytest.param("log.info('x')", [], id="info-needs-none"),
    ],
)
def test_the_scan_finds(source: str, expected: list[str]) -> None:
    assert [name for each in told_in(source, "f.py") for name in unexplained(each)] == expected


def test_the_hint_of_the_table_is_in_the_line() -> None:
    lines = _lines_of("process-died", name="worker-0")
    assert lines[0]["hint"] == HINTS["process-died"]


def test_a_hint_of_the_caller_wins() -> None:
    assert _lines_of("process-died", hint="other")[0]["hint"] == "other"


def _lines_of(event: str, /, **fields: object) -> list[dict[str, object]]:
    read_fd, write_fd = os.pipe()
    with open(read_fd, encoding="ascii") as reader:
        open_events("test", None, stderr_fd=write_fd).error(event, **fields)
        os.close(write_fd)
        return [json.loads(line) for line in reader]

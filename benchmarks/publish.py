"""Writes the tables of README.md and docs/performance.md from a named result of `benchmarks.hit`.

    python -m benchmarks.publish              the newest results
    python -m benchmarks.publish RESULT.json  that one, of benchmarks/results
    python -m benchmarks.publish --check      write nothing; 1 when a table is not its result's

Rules:
1. A table stands between `<!-- figures: KIND from RESULT -->` and `<!-- end of figures -->`; what
   is between them is never written by hand.
2. The result that a table names is in the tree; the same result gives the same text, always.
3. A result of the whole matrix fills the table of its congestion control, one of the profile the
   profiles, any other the rest.
4. A table from `nothing` says that nothing was measured yet.

Runs in: commands of developers; a test checks rule 1.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.results import FOLDER, ROOT

DOCUMENTS: Final = (ROOT / "README.md", ROOT / "docs" / "performance.md")
NOTHING: Final = "nothing"
TABLE: Final = "hit"  # names of results
PROFILE: Final = "hit.profile"
_BLOCK: Final = re.compile(
    r"(<!-- figures: (?P<kind>[a-z-]+) from (?P<result>\S+) -->\n)"
    r"(?P<text>.*?)(<!-- end of figures -->)",
    re.S,
)
_FULL: Final = ("matrix-", "profile")  # kinds that `make bench-full` measures
# "nginx/1.22.1", "varnish-7.1.1", "wrk debian/4.1.0-3": name and number, nothing of what follows.
_VERSION: Final = re.compile(r"[\w]+(?: debian)?[-/ ]\d[\w.-]*")
Result = Mapping[str, Any]  # a result file, as JSON gives it


def main() -> int:
    """Write or check the documents."""
    arguments = _arguments()
    if arguments.check:
        stale = [path for path in DOCUMENTS if path.read_text() != checked(path.read_text())]
        for path in stale:
            print(f"{path.relative_to(ROOT)}: tables differ from their results; "
                  "run python -m benchmarks.publish", file=sys.stderr)  # fmt: skip
        return 1 if stale else 0
    try:
        names = [Path(arguments.result).name] if arguments.result else newest()
        results = {name: read(name) for name in names}
    except (OSError, ValueError) as exc:
        print(f"no result to publish: {exc}; make bench makes one", file=sys.stderr)
        return 1
    for name, result in results.items():
        for path in DOCUMENTS:
            path.write_text(published(path.read_text(), name, result))
        print(f"{', '.join(kinds_of(result))} from {name}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.publish",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("result", nargs="?", help="a file of benchmarks/results")
    parser.add_argument("--check", action="store_true", help="compare only")
    return parser.parse_args()


def newest() -> list[str]:
    """Return the newest result of each kind of tables, newest last.

    Raises: ValueError when there is none.
    """
    found = sorted(
        ((result["at"], path.name, result) for path in FOLDER.glob("*-hit*.json")
         if (result := read(path.name)).get("is_whole", True)),
        key=lambda item: item[:2],
    )  # fmt: skip
    latest = {kinds_of(result): name for _, name, result in found}
    if not latest:
        raise ValueError(f"no whole run of benchmarks.hit in {FOLDER.relative_to(ROOT)}")
    return list(latest.values())


def read(name: str) -> Result:
    """Read a result. Raises: OSError, ValueError when it is none of `benchmarks.hit`."""
    result = json.loads((FOLDER / name).read_text())
    if not isinstance(result, dict) or result.get("name") not in {TABLE, PROFILE}:
        raise ValueError(f"{name} is not a result of benchmarks.hit or benchmarks.hit.profile")
    return result


def kinds_of(result: Result) -> tuple[str, ...]:
    """Return the kinds of tables that this result fills (rule 3)."""
    if result["name"] == PROFILE:
        return ("profile",)
    if result["is_matrix"]:
        network = result["network"]
        return ("matrix-default" if "default" in network else f"matrix-{network.split()[0]}",)
    return ("summary", "rows", "cases", "circumstances")


def published(text: str, name: str, result: Result) -> str:
    """Return the document with every table that this result fills."""
    kinds = kinds_of(result)

    def replaced(block: re.Match[str]) -> str:
        if block["kind"] not in kinds:
            return block[0]
        head = f"<!-- figures: {block['kind']} from {name} -->\n"
        return head + rendered(block["kind"], name, result) + block[5]

    return _BLOCK.sub(replaced, text)


def checked(text: str, reads: Callable[[str], Result] = read) -> str:
    """Return the document as its named results would have it (rule 2)."""

    def replaced(block: re.Match[str]) -> str:
        if block["result"] == NOTHING:
            return block[1] + _not_measured(block["kind"]) + block[5]
        name = block["result"]
        return block[1] + rendered(block["kind"], name, reads(name)) + block[5]

    return _BLOCK.sub(replaced, text)


def _not_measured(kind: str) -> str:
    target = "bench-full" if kind.startswith(_FULL) else "bench"
    return f"Not measured yet: `make {target}`, then `python -m benchmarks.publish`.\n"


def rendered(kind: str, name: str, result: Result) -> str:
    """Return the text of one table, and which file it is from."""
    return f"{_RENDERERS.get(kind, _cases)(result)}\nFrom `benchmarks/results/{name}`.\n"


def _summary(result: Result) -> str:
    """One line per case and figure, with every rival in it."""
    lines = _table_head("", "rust-mirror", "beside (required)")
    cases: dict[str, list[Mapping[str, str]]] = {}
    for row in result["rows"]:
        cases.setdefault(f"{row['label']}, {row['figure']}", []).append(row)
    for name, rows in cases.items():
        beside = ", ".join(_beside(row) for row in rows)
        lines.append(_cells(name, rows[0]["mirror"], beside))
    return "\n".join(lines) + "\n"


def _rows(result: Result) -> str:
    lines = _table_head(
        "", "beside", "rust-mirror", "it", "ratio", "required", "spread", "client", ""
    )
    for row in result["rows"]:
        lines.append(_cells(
            f"{row['label']}, {row['figure']}", row["rival"], row["mirror"], row["other"],
            row["measured"], row["required"], row["spread"], row["client"], row["outcome"],
        ))  # fmt: skip
    return "\n".join(lines) + "\n"


def _cases(result: Result) -> str:
    lines = _table_head(
        "", "server", "requests/s", "MB/s", "CPU µs/request", "CPU µs/MB", "server", "client"
    )
    for name, case in result["cases"].items():
        for server, figures in case["medians"].items():
            lines.append(_cells(
                name, server, _number(figures["requests_per_s"]), _number(figures["mb_per_s"]),
                f"{figures['cpu_us_per_request']:,.1f}", _number(figures["cpu_us_per_mb"]),
                f"{figures['server_busy_ratio']:.0%}", f"{figures['client_busy_ratio']:.0%}",
            ))  # fmt: skip
    return "\n".join(lines) + "\n"


def _profile(result: Result) -> str:
    parts = []
    for name, case in result["cases"].items():
        parts.append(
            f"**{name}**: {case['kernel_ratio']:.0%} of the CPU time in the kernel, "
            f"{case['samples']:,} samples\n"
        )
        parts.append("\n".join([*_table_head("share", "where", "line"), *(
            _cells(f"{line['share']:.1%}", f"`{line['where']}`", _code(line["text"]))
            for line in case["lines"]
        )]) + "\n")  # fmt: skip
    return "\n".join(parts)


def _circumstances(result: Result) -> str:
    machine = result["machine"]
    programs = [found[0] for name in ("nginx", "varnish", "wrk", "h2load", "openssl")
                if (found := _VERSION.search(machine.get(name, "")))]  # fmt: skip
    return (
        f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, "
        f"Python {machine['python']}, {', '.join(programs)}. Network: {result['network']}. "
        f"Rounds: {result['rounds']} of {result['duration_s']:g} s. Commit {result['commit']}, "
        f"{result['at'][:10]}: `{' '.join(result['command'])}`.\n"
    )


_RENDERERS: Final[dict[str, Callable[[Result], str]]] = {
    "summary": _summary,
    "rows": _rows,
    "cases": _cases,
    "circumstances": _circumstances,
    "profile": _profile,
}


def _beside(row: Mapping[str, str]) -> str:
    required = row["required"].partition(",")[0]
    if row["spread"] == "-" and row["attempts"]:  # a limit, no ratio
        return f"{required}{_fault(row)}"
    return f"{row['measured']} x {row['rival']} ({required}{_fault(row)})"


def _fault(row: Mapping[str, str]) -> str:
    return "" if row["outcome"] == "met" else f": {row['outcome']}"


def _code(text: str) -> str:
    return text if text.startswith("(") else f"`{text.replace('|', chr(92) + '|')}`"


def _table_head(*names: str) -> list[str]:
    return [_cells(*names), "|" + "---|" * len(names)]


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


if __name__ == "__main__":
    sys.exit(main())

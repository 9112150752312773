"""The plan of the rooms as tables, and the checker that reads imports by ast.

Rules:
1. `ROOMS` says which rooms a room may import; `DOORS` narrows that to single modules.
2. `PURE` files import no clock, no loop, no file system, no randomness, and only pure files.
3. `FOREIGN` says which third-party packages a room may import; no other room knows their names.
4. `FORBIDDEN_IN_WORKERS` may not be reached, through any chain of imports, from `WORKER_SIDE`.
5. Imports under `if TYPE_CHECKING:` count for the rooms (a name is knowledge) but not for what a
   worker loads. Imports inside functions count for the rooms, not for what loading a module loads.

Does not: run or import what it checks.
Runs in: pytest.
"""

from __future__ import annotations

import ast
import fnmatch
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GROUND = ("errors", "clock", "config", "events", "units", "addresses", "acceptances")

# room -> rooms it may import. `route.route` holds the vocabulary of content classes.
ROOMS: dict[str, tuple[str, ...]] = {
    "errors": (),
    "clock": (),
    "event_hints": (),
    "events": ("event_hints",),
    "units": ("errors",),
    "addresses": ("errors",),
    "acceptances": (),
    "child": (),
    "authorities": ("errors",),
    "secret_files": ("errors", "config"),
    # The configuration is one subject in several files: values, sources, rules.
    "config": ("errors", "units", "addresses"),
    "config_sources": ("errors", "config", "config_rules", "units", "addresses"),
    "config_rules": (
        "errors",
        "config",
        "config_limit_rules",
        "config_tls_rules",
        "units",
        "addresses",
        "acceptances",
    ),
    "config_limit_rules": (),
    "config_tls_rules": ("errors", "config", "addresses"),
    "http": ("errors",),
    "route": ("errors", "http"),
    "accounting": (*GROUND, "http", "route"),
    "verify": (*GROUND, "http", "route"),
    "store": (*GROUND, "http", "route"),
    "upstream": (*GROUND, "authorities", "secret_files", "http"),
    "fill": (*GROUND, "http", "route", "accounting", "verify", "store", "upstream"),
    "serve": (*GROUND, "http", "route", "accounting", "store", "fill"),
    "jobs": (*GROUND, "http", "route", "accounting", "verify", "store", "upstream", "fill"),
    "control": (*GROUND, "http", "route", "accounting", "store", "fill", "jobs"),
    "simulator": (*GROUND, "http"),
    "doctor": ("errors",),
    # It keeps the sockets and starts the others through a Protocol that `app` fulfils.
    "supervisor": (*GROUND, "child", "config_rules", "config_sources", "store"),
}
# These build concrete things and may import every room.
BUILDERS = (
    "__main__",
    "app",
    "app_books",
    "app_care",
    "app_control",
    "app_keeper",
    "app_upgrade",
    "app_upstreams",
    "loops",
    "cli",
)

# (room, room) -> the only modules of the second that the first may know.
DOORS: dict[tuple[str, str], tuple[str, ...]] = {
    # Counters are laid out by content class, which is a word of `route`; nothing else is needed.
    ("accounting", "route"): ("mirror.route.route",),
    # A worker reads the store and never writes it.
    ("serve", "store"): (
        "mirror.store.entry",
        "mirror.store.reader",
        "mirror.store.hot",
        "mirror.store.page",
    ),
    ("supervisor", "store"): ("mirror.store.page",),
    # The worker's end of the socket, and the words that travel on it.
    ("serve", "fill"): (
        "mirror.fill.client",
        "mirror.fill.bodies",
        "mirror.fill.plan",
        "mirror.fill.messages",
        "mirror.fill.frames",
    ),
}

PURE = (
    "mirror.http.*",
    "mirror.route.*",
    "mirror.verify.*",
    "mirror.accounting.layout",
    "mirror.accounting.log_lines",
    "mirror.accounting.provider_ranges",
    "mirror.accounting.records",
    "mirror.accounting.history",
    "mirror.accounting.costs",
    "mirror.accounting.days",
    "mirror.accounting.download_lines",
    "mirror.accounting.figures",
    "mirror.accounting.forecast",
    "mirror.accounting.money",
    "mirror.accounting.prices",
    "mirror.accounting.report",
    "mirror.accounting.report_charts",
    "mirror.accounting.report_document",
    "mirror.accounting.report_notes",
    "mirror.accounting.report_projection",
    "mirror.accounting.report_rows",
    "mirror.accounting.report_sections",
    "mirror.accounting.report_text",
    "mirror.accounting.report_words",
    "mirror.accounting.sampling",
    "mirror.accounting.small_store",
    "mirror.accounting.by_rank",
    "mirror.accounting.curve",
    "mirror.accounting.frequent",
    "mirror.accounting.uses",
    "mirror.jobs.pace",
    "mirror.store.entry",
    "mirror.store.eviction",
    "mirror.store.ranks_in_memory",
    "mirror.store.extents",
    "mirror.upstream.backoff",
    "mirror.upstream.breaker",
    "mirror.upstream.budgets",
    "mirror.upstream.preference",
    "mirror.fill.frames",
    "mirror.fill.messages",
    "mirror.fill.plan",
    "mirror.serve.client_address",
    "mirror.serve.crowd",
    "mirror.serve.miss_queue",
    "mirror.serve.paced",
    "mirror.serve.request_window",
    "mirror.doctor.certificates",
    "mirror.doctor.clocks",
    "mirror.doctor.disks",
    "mirror.doctor.entrances",
    "mirror.doctor.findings",
    "mirror.doctor.machine_limits",
    "mirror.doctor.permissions",
    "mirror.doctor.running",
    "mirror.doctor.said",
    "mirror.doctor.store_health",
    "mirror.doctor.upstreams",
    "mirror.errors",
    "mirror.acceptances",
)
IMPURE_LIBRARY = frozenset(
    # the rule's own five, and what would bring them in under another name
    ("asyncio", "os", "time", "socket", "random")
) | frozenset(
    ("concurrent", "fcntl", "mmap", "multiprocessing", "secrets", "select", "selectors")
).union(("shutil", "signal", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "uuid"))

# room (or module) -> third-party packages; the longest matching name decides.
FOREIGN: dict[str, tuple[str, ...]] = {
    "config": ("msgspec",),  # TOML -> frozen values, unknown keys refused
    "config_sources": ("msgspec",),
    "config_rules": ("msgspec",),
    "events": ("structlog", "orjson"),
    "http": ("hpack",),
    "route": (),
    "accounting": ("orjson",),
    "accounting.report_page": ("jinja2", "markupsafe"),  # no worker loads it
    "verify": ("cryptography", "msgspec", "orjson"),  # signatures; index lines at parser speed
    "store": ("apsw", "orjson", "msgspec"),
    "upstream": ("aiohttp", "yarl"),
    # The one place for S3; imported by `upstream.askers` inside a function: docs/adr/0007.
    "upstream.s3_client": ("aiobotocore", "aiohttp", "botocore", "yarl"),
    "upstream.s3_origin": ("botocore",),
    "fill": ("msgspec", "orjson"),
    "fill.frames": (),
    "fill.plan": (),
    "fill.messages": ("msgspec",),  # the wire format is msgpack: docs/adr/0002
    "fill.client": ("msgspec",),
    "serve": ("httptools", "orjson"),
    "jobs": (),
    "control": ("aiohttp", "orjson", "msgspec", "prometheus_client"),
    "doctor": (),
    "simulator": ("aiohttp", "cryptography", "orjson", "msgspec", "uvloop"),
    "app": ("uvloop", "aiohttp", "structlog"),
    "supervisor": ("msgspec",),  # compares two configurations
    "cli": ("click", "rich", "aiohttp", "orjson", "msgspec", "uvloop"),
    # The one command that makes certificates; imported by `cli.dev_cert` inside a function.
    "cli.dev_certificates": ("cryptography",),
    # Imported by `cli.doctor_server` inside functions, as that one.
    "cli.doctor_certificates": ("cryptography",),
    "cli.doctor_upstreams": ("aiohttp", "msgspec", "yarl"),
}

FORBIDDEN_IN_WORKERS = frozenset(
    ("aiohttp", "botocore", "aiobotocore", "cryptography", "prometheus_client", "jinja2", "rich")
)
# Workers are forked: what the supervisor and the `serve` command load, workers have.
WORKER_SIDE = (
    "mirror.serve.*",
    "mirror.fill.client",
    "mirror.fill.plan",
    "mirror.fill.frames",
    "mirror.fill.messages",
    "mirror.store.reader",
    "mirror.store.hot",
    "mirror.store.page",
    "mirror.accounting.counters",
    "mirror.accounting.layout",
    "mirror.app",
    "mirror.supervisor.*",
    "mirror.cli.main",
    "mirror.cli.serve",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    target: str  # dotted; for `from a import b` both `a` and `a.b` are tried
    line: int
    is_loaded: bool  # at module level and not only for type checking


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    name: str
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else ""


def read_tree(root: Path) -> dict[str, Module]:
    """Read every module of the package folder `root` (named `mirror`)."""
    files = {_module_name(root, path): path for path in sorted(root.rglob("*.py"))}
    known = frozenset(files)
    return {name: _read_module(name, path, known) for name, path in files.items()}


def violations(modules: dict[str, Module]) -> list[str]:
    """Return one sentence per import that the plan does not allow, sorted."""
    found = [
        sentence
        for module in modules.values()
        for check in (_check_rooms, _check_pure, _check_foreign)
        for sentence in check(module)
    ]
    return sorted({*found, *_check_workers(modules)})


def _module_name(root: Path, path: Path) -> str:
    parts = [root.name, *path.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _read_module(name: str, path: Path, known: frozenset[str]) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return Module(name=name, imports=tuple(_imports(tree, known, is_loaded=True)))


def _imports(node: ast.AST, known: frozenset[str], *, is_loaded: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(target=alias.name, line=child.lineno, is_loaded=is_loaded)
        elif isinstance(child, ast.ImportFrom):
            base = "." * child.level + (child.module or "")
            for target in _from_targets(base, child.names, known):
                yield Import(target=target, line=child.lineno, is_loaded=is_loaded)
        elif isinstance(child, ast.If) and _is_type_checking(child.test):
            for part in child.body:
                yield from _imports(ast.Module([part], []), known, is_loaded=False)
            for part in child.orelse:
                yield from _imports(ast.Module([part], []), known, is_loaded=is_loaded)
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, known, is_loaded=is_loaded and not is_function)


def _from_targets(base: str, names: list[ast.alias], known: frozenset[str]) -> set[str]:
    """`from mirror.http import dates` imports the module `mirror.http.dates`."""
    return {f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in names}


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def _is_ours(target: str) -> bool:
    return target == "mirror" or target.startswith("mirror.")


def _room_of(target: str) -> str:
    parts = target.split(".")
    return parts[1] if len(parts) > 1 else ""


def _check_rooms(module: Module) -> Iterator[str]:
    if module.room in BUILDERS or not module.room:
        return
    allowed = ROOMS.get(module.room)
    if allowed is None:
        yield f"{module.name}: the room {module.room} is not in the plan"
        return
    for item in module.imports:
        if item.target.startswith("."):
            yield f"{module.name}:{item.line}: relative import {item.target}"
        if not _is_ours(item.target) or item.target == "mirror":
            continue  # the package itself holds only the version
        room = _room_of(item.target)
        if room == module.room:
            continue
        doors = DOORS.get((module.room, room))
        if room not in allowed:
            yield f"{module.name}:{item.line}: {module.room} must not import {item.target}"
        elif doors is not None and item.target not in doors:
            yield f"{module.name}:{item.line}: {module.room} must not go past {room}'s doors" + (
                f" to {item.target}"
            )


def is_pure(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in PURE)


def _check_pure(module: Module) -> Iterator[str]:
    if not is_pure(module.name):
        return
    for item in module.imports:
        is_ours = _is_ours(item.target) and item.target != "mirror"
        top = item.target.partition(".")[0]
        if top in IMPURE_LIBRARY or (is_ours and not is_pure(item.target)):
            yield f"{module.name}:{item.line}: a pure file must not import {item.target}"


def _check_foreign(module: Module) -> Iterator[str]:
    allowed = _foreign_allowed(module.name.removeprefix("mirror").lstrip("."))
    for item in module.imports:
        top = item.target.partition(".")[0]
        if not top or top == "mirror" or top in sys.stdlib_module_names or top in allowed:
            continue
        yield f"{module.name}:{item.line}: {module.room or 'mirror'} must not import {top}"


def _foreign_allowed(name: str) -> tuple[str, ...]:
    while name:
        if name in FOREIGN:
            return FOREIGN[name]
        name = name.rpartition(".")[0]
    return ()


def _check_workers(modules: dict[str, Module]) -> Iterator[str]:
    for name in modules:
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in WORKER_SIDE):
            for chain in _forbidden_chains(name, modules):
                yield f"{name}: a worker would load {' -> '.join(chain)}"


def _forbidden_chains(start: str, modules: dict[str, Module]) -> Iterator[tuple[str, ...]]:
    """Walk what loading `start` loads; yield the first chain to each forbidden package."""
    queue: list[tuple[str, ...]] = [(start,)]
    seen = {start}
    while queue:
        chain = queue.pop(0)
        for item in modules[chain[-1]].imports:
            if not item.is_loaded:
                continue
            top = item.target.partition(".")[0]
            if top in FORBIDDEN_IN_WORKERS:
                yield (*chain, item.target)
            for loaded in _with_packages(item.target):
                if loaded in modules and loaded not in seen:
                    seen.add(loaded)
                    queue.append((*chain, loaded))


def _with_packages(target: str) -> Iterator[str]:
    """Loading `a.b.c` loads `a` and `a.b` too."""
    parts = target.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count])

"""Where configuration values come from: flags, environment, file, defaults.

Rules:
1. Precedence: flag > environment (`RUST_MIRROR__SECTION__KEY`) > file > default.
2. Every error is a `ConfigError` naming the key, the value and what is allowed; an unknown key
   names the nearest known one.
3. Without `--config`: root reads `/etc/rust-mirror/mirror.toml` when it exists and uses the system
   directories; an ordinary user reads `$XDG_CONFIG_HOME/rust-mirror/mirror.toml` when it exists
   and uses the XDG cache and state directories.
4. A relative path counts from the working directory and is made absolute here, because worker and
   keeper exchange paths.

Does not: judge values beyond their types; `config_rules` does.
Runs in: supervisor and commands.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from mirror.config import ByteSize, ByteSizeOrZero, Config, Duration, DurationOrZero, Section
from mirror.config_rules import NOT_AVAILABLE, check
from mirror.errors import ConfigError
from mirror.units import (
    DURATION_FORM,
    SIZE_FORM,
    format_duration,
    format_size,
    parse_duration_s,
    parse_size_bytes,
)

ENVIRONMENT_PREFIX = "RUST_MIRROR__"
SYSTEM_FILE = Path("/etc/rust-mirror/mirror.toml")

S = TypeVar("S", bound=Section)

# Refused before their type is looked at: their future form is not this version's business.
_UNAVAILABLE = frozenset({"origin"})
_PATH_KEYS = (
    "serve.tls.certificate",
    "serve.tls.private_key",
    "serve.tls.client_ca",
    "store.path",
    "state.path",
    "upstream.ca_file",
    "trust.release_key_file",
    "log.access",
    "accounting.groups",
    "accounting.prices",
    "upstream.releases.s3.secret_access_key_file",
    "upstream.crates.s3.secret_access_key_file",
    "upstream.index.s3.secret_access_key_file",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A checked configuration; `origins` says for each key set by somebody who set it."""

    config: Config
    origins: Mapping[str, str]
    file: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """One raw value; `text` ones come from flags and environment and are parsed by type."""

    value: object
    origin: str
    is_text: bool


def load(
    path: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, str],
    *,
    user_id: int | None = None,
) -> Config:
    """Return the checked configuration; see `load_with_origins`."""
    return load_with_origins(path, environ, flags, user_id=user_id).config


def load_with_origins(
    path: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, str],
    *,
    user_id: int | None = None,
) -> Loaded:
    """Merge the four sources and check the result.

    `flags` maps dotted keys to text. `user_id` None: of this process.
    Raises: ConfigError for an unreadable file, an unknown key, a wrong value.
    """
    is_root = (os.geteuid() if user_id is None else user_id) == 0
    file = path if path is not None else _found_file(environ, is_root)
    given: dict[str, _Given] = {}
    if path is None and not is_root:
        given.update(_xdg_directories(environ))
    if file is not None:
        given.update(_from_file(file))
    given.update(_from_environment(environ))
    for key, text in flags.items():
        given[key] = _Given(value=text, origin="flag", is_text=True)
    _refuse_unknown(given)
    config = _build(Config, "", given)
    check(config)
    origins = {key: item.origin for key, item in given.items()}
    return Loaded(config=config, origins=origins, file=file)


def known_keys() -> dict[str, object]:
    """Return every dotted key with its built-in default, in the order of the file."""
    return dict(leaves(Config()))


def leaves(section: Section, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the dotted keys of `section` with their values."""
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, Section):
            yield from leaves(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def keep_values(config: Config, running: Config, keys: Iterable[str]) -> tuple[Config, list[str]]:
    """Return `config` with the values of `keys` from `running`, and which of them differed.

    `keys` are of the form "section.name".
    """
    differing = []
    for key in keys:
        section, _, name = key.partition(".")
        kept = getattr(getattr(running, section), name)
        if getattr(getattr(config, section), name) != kept:
            differing.append(key)
            part = msgspec.structs.replace(getattr(config, section), **{name: kept})
            config = msgspec.structs.replace(config, **{section: part})
    return config, differing


def to_toml(config: Config, origins: Mapping[str, str] | None = None) -> str:
    """Return `config` as a file that loads to the same values; `origins` become comments."""
    lines: list[str] = []
    table = ""
    for key, value in sorted(leaves(config), key=lambda leaf: _table_order(leaf[0])):
        parent, _, name = key.rpartition(".")
        if not parent:
            continue  # `origin` is an array of tables and empty in this version
        if parent != table:
            lines += ["", f"[{parent}]"] if lines else [f"[{parent}]"]
            table = parent
        line = f"{name} = {_toml_value(value)}"
        if origins is not None:
            line += f"  # {origins.get(key, 'default')}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _table_order(key: str) -> tuple[int, str]:
    """Sort keys so that each table is written once, in the order of the declaration."""
    tables = list(dict.fromkeys(known.rpartition(".")[0] for known in known_keys()))
    return tables.index(key.rpartition(".")[0]), ""


def _found_file(environ: Mapping[str, str], is_root: bool) -> Path | None:
    if is_root:
        return SYSTEM_FILE if SYSTEM_FILE.is_file() else None
    home = _xdg(environ, "XDG_CONFIG_HOME", ".config")
    if home is None:
        return None
    file = home / "rust-mirror" / "mirror.toml"
    # Not Path.is_file, which raises in a home of somebody else (`sudo -u` that keeps HOME).
    return file if os.path.isfile(file) else None


def _xdg_directories(environ: Mapping[str, str]) -> Iterator[tuple[str, _Given]]:
    for key, variable, below_home in (
        ("store.path", "XDG_CACHE_HOME", ".cache"),
        ("state.path", "XDG_STATE_HOME", ".local/state"),
    ):
        base = _xdg(environ, variable, below_home)
        if base is not None:
            value = str(base / "rust-mirror")
            is_set = environ.get(variable, "").startswith("/")
            origin = variable if is_set else f"~/{below_home} (no {variable})"
            yield key, _Given(value=value, origin=origin, is_text=True)


def _xdg(environ: Mapping[str, str], variable: str, below_home: str) -> Path | None:
    """Return the XDG base directory; a relative one is ignored, as its specification says."""
    base = environ.get(variable, "")
    if base.startswith("/"):
        return Path(base)
    home = environ.get("HOME", "")
    return Path(home) / below_home if home.startswith("/") else None


def _from_file(file: Path) -> Iterator[tuple[str, _Given]]:
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError("--config", str(file), f"a readable file ({exc.strerror})") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError("--config", str(file), f"a TOML file: {exc}") from exc
    yield from _flatten(tree, "", str(file), known_keys())


def _flatten(
    tree: Mapping[str, object], prefix: str, origin: str, known: Mapping[str, object]
) -> Iterator[tuple[str, _Given]]:
    for name, value in tree.items():
        key = prefix + name
        is_section = any(other.startswith(f"{key}.") for other in known)
        if is_section and not isinstance(value, Mapping):
            raise ConfigError(key, value, f"a table: write [{key}]")
        if isinstance(value, Mapping) and key not in known:
            if not is_section:
                raise ConfigError(key, dict(value), _unknown(key, known))
            yield from _flatten(value, f"{key}.", origin, known)
        else:
            yield key, _Given(value=value, origin=origin, is_text=False)


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, _Given]]:
    known = known_keys()
    for variable, text in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
        if key not in known:
            raise ConfigError(variable, text, _unknown(key, known), is_shown=False)
        yield key, _Given(value=text, origin=variable, is_text=True)


def _refuse_unknown(given: Mapping[str, _Given]) -> None:
    known = known_keys()
    for key, item in given.items():
        if key not in known:
            raise ConfigError(key, item.value, _unknown(key, known), is_shown=False)


def _unknown(key: str, known: Mapping[str, object]) -> str:
    names = list(known) + sorted({name.rpartition(".")[0] for name in known} - {""})
    near = difflib.get_close_matches(key, names, n=1)
    if near:
        return f"not a known key; did you mean {near[0]}?"
    parent = key.rpartition(".")[0]
    siblings = [name.removeprefix(f"{parent}.") for name in known if name.startswith(f"{parent}.")]
    tables = sorted({name.partition(".")[0] for name in known})
    return f"not a known key; known here: {', '.join(siblings or tables)}"


def _build(section: type[S], prefix: str, given: Mapping[str, _Given]) -> S:
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(section):
        key = prefix + field.name
        if isinstance(field.type, type) and issubclass(field.type, Section):
            values[field.name] = _build(field.type, f"{key}.", given)
        elif key in given:
            values[field.name] = _decode(key, field.type, given[key])
    return section(**values)


def _decode(key: str, kind: object, item: _Given) -> object:
    value = _from_text(kind, item.value) if item.is_text else item.value
    if key in _UNAVAILABLE:
        if value:
            raise ConfigError(key, value, NOT_AVAILABLE)
        return ()
    try:
        decoded = _typed(kind, value)
    except ValueError as exc:
        raise ConfigError(key, item.value, str(exc)) from exc
    if key in _PATH_KEYS and decoded and "\0" not in str(decoded):
        return os.path.abspath(str(decoded))
    return decoded


def _from_text(kind: object, value: object) -> object:
    """Turn the text of a flag or variable into what the file would hold for this type."""
    text = str(value)
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    if kind is int:
        return int(text) if text.isascii() and text.isdigit() else text
    if kind in (str, ByteSize, ByteSizeOrZero, Duration, DurationOrZero):
        return text
    if text.startswith("["):
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            pass  # "[::1]:8080" begins like a list
    return [part.strip() for part in text.split(",") if part.strip()]


def _typed(kind: object, value: object) -> object:
    """Check and convert one value. Raises ValueError with what is allowed."""
    if kind is ByteSize or kind is ByteSizeOrZero:
        is_count = isinstance(value, int) and not isinstance(value, bool)
        if not is_count and not isinstance(value, str):
            raise ValueError(SIZE_FORM)
        if kind is ByteSizeOrZero:
            return ByteSizeOrZero(parse_size_bytes(str(value), may_be_zero=True))
        return ByteSize(parse_size_bytes(str(value)))
    if kind is Duration or kind is DurationOrZero:
        if not isinstance(value, str):
            raise ValueError(DURATION_FORM)
        if kind is DurationOrZero:
            return DurationOrZero(parse_duration_s(value, may_be_zero=True))
        return Duration(parse_duration_s(value))
    if kind is bool or kind is int:
        if type(value) is not kind:
            raise ValueError("true or false" if kind is bool else "a whole number")
        return value
    if kind is str:
        if not isinstance(value, str):
            raise ValueError("text in quotes")
        return value
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError('a list of texts such as ["a", "b"]')
    return tuple(value)


def _toml_value(value: object) -> str:
    if isinstance(value, ByteSize):
        return _quoted(format_size(value))
    if isinstance(value, Duration):
        return _quoted(format_duration(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_quoted(str(item)) for item in value) + "]"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """Return a TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'

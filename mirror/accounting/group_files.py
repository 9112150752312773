"""The file of client groups (`[accounting] groups`), read and checked.

    [[group]]
    name = "azure-eastus"
    networks = ["10.20.0.0/16"]
    ranges_file = "ServiceTags_Public.json"    # relative: beside this file
    ranges = ["AzureCloud.eastus"]
    header = "X-Runner-Group"                  # one name in the whole file
    header_values = ["gha-large"]
    certificate_subjects = ["CN=runner-*,O=Example"]    # `*`: any text

Rules:
1. Names are labels of metrics and rows of the ledger: short, printable, bounded in number.
2. Every refusal names the file, the table and what to do. Nothing half-read is used.
3. A group that could never match anybody is refused: it is a mistake.

Does not: fetch providers' files (a timer of the operator's does), or look up (`groups`).
Runs in: supervisor and commands.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any, Final

from mirror.accounting.groups import (
    ATTRIBUTES,
    Group,
    GroupTable,
    Network,
    SubjectPattern,
    attributes_of,
)
from mirror.accounting.layout import OTHER
from mirror.accounting.provider_ranges import Ranges, read_ranges
from mirror.errors import ConfigError

KEY: Final = "accounting.groups"
MAX_GROUPS: Final = 64  # each is a label of metrics: 64 groups make about 300 series
MAX_NETWORKS: Final = 200_000  # all of Azure's tags are about 100,000
MAX_FILE_BYTES: Final = 32 << 20  # Azure's, the largest, has 5 MiB
MAX_TEXTS: Final = 1000  # of one key
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/()+-]{0,63}")
_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_LISTS: Final = ("networks", "ranges", "header_values", "certificate_subjects")
_KEYS: Final = ("name", *_LISTS, "ranges_file", "header")


def load_groups(path: str) -> GroupTable:
    """Return the table of the file at `path`; "" is no groups.

    Raises: ConfigError that names the file, the table and the remedy.
    """
    if not path:
        return GroupTable()
    try:
        return _GroupFile(path).table()
    except ValueError as exc:
        raise ConfigError(KEY, path, str(exc)) from exc


class _GroupFile:
    """One reading; errors are ValueErrors whose text says where and what to do."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._ranges_of: dict[str, Ranges] = {}  # of providers' files: several groups share one
        self._networks_total = 0
        self._header = ""

    def table(self) -> GroupTable:
        tables = self._tables()
        groups: list[Group] = []
        for number, table in enumerate(tables, 1):
            where = f"[[group]] {number}"
            try:
                if not isinstance(table, Mapping):
                    raise ValueError("write it as a table: [[group]]")
                where += f" ({str(table.get('name', 'without name'))[:64]})"
                groups.append(self._group(table, [group.name for group in groups]))
            except ValueError as exc:
                raise ValueError(f"{where}: {exc}") from exc
        return GroupTable(groups, header=self._header)

    def _tables(self) -> list[Any]:
        try:
            document = tomllib.loads(_content(self._path).decode("utf-8"))
        except UnicodeDecodeError as exc:
            raise ValueError("is not UTF-8 text: save it as such") from exc
        except (tomllib.TOMLDecodeError, RecursionError) as exc:
            raise ValueError(f"is not TOML: {exc}") from exc
        tables = document.pop("group", [])
        if document:
            raise ValueError(f"has the key {next(iter(document))}; only [[group]] tables are known")
        if not isinstance(tables, list):
            raise ValueError("write each group as [[group]], in two brackets")
        if len(tables) > MAX_GROUPS:
            raise ValueError(f"has {len(tables)} groups; at most {MAX_GROUPS}: merge some")
        return tables

    def _group(self, table: Mapping[str, Any], names: list[str]) -> Group:
        _refuse_unknown(table)
        group = Group(
            name=_name(table.get("name"), names),
            networks=(*_networks(_texts(table, "networks")), *self._ranges(table)),
            header_values=self._header_values(table),
            subjects=tuple(_subject(text) for text in _texts(table, "certificate_subjects")),
        )
        self._networks_total += len(group.networks)
        if self._networks_total > MAX_NETWORKS:
            raise ValueError(f"more than {MAX_NETWORKS} networks: select fewer `ranges`")
        if not (group.networks or group.header_values or group.subjects):
            raise ValueError(
                "nobody can belong to it: set networks, ranges_file, header_values or "
                "certificate_subjects"
            )
        return group

    def _ranges(self, table: Mapping[str, Any]) -> tuple[Network, ...]:
        name, selectors = _text(table, "ranges_file"), _texts(table, "ranges")
        if not name:
            if selectors:
                raise ValueError("ranges: say in ranges_file which file has them")
            return ()
        path = os.path.join(os.path.dirname(self._path), name)
        try:
            if path not in self._ranges_of:
                self._ranges_of[path] = read_ranges(_content(path))
            return self._ranges_of[path].select(selectors, MAX_NETWORKS - self._networks_total)
        except ValueError as exc:
            raise ValueError(f"ranges_file {path} {exc}") from exc

    def _header_values(self, table: Mapping[str, Any]) -> tuple[str, ...]:
        header, values = _text(table, "header"), _texts(table, "header_values")
        if bool(header) != bool(values):
            raise ValueError("header and header_values belong together: set both")
        if not header:
            return ()
        if not _FIELD_NAME.fullmatch(header):
            raise ValueError(f'header = {header!r}: a field name such as "X-Runner-Group"')
        if self._header and header.lower() != self._header.lower():
            raise ValueError(
                f"header = {header!r}: all groups use one field; {self._header!r} is set"
            )
        self._header = header
        return tuple(value.strip() for value in values)


def _content(path: str) -> bytes:
    try:
        with open(path, "rb", opener=_opener) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("is not a regular file")
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        raise ValueError(f"cannot be read: {exc.strerror or exc}") from exc
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"is larger than {MAX_FILE_BYTES >> 20} MiB: not a file of ranges")
    return content


def _opener(path: str, flags: int) -> int:
    """A pipe in the file's place does not hold up the start."""
    return os.open(path, flags | os.O_NONBLOCK)


def _refuse_unknown(table: Mapping[str, Any]) -> None:
    for key in table:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            meant = f"did you mean {near[0]}?" if near else f"known: {', '.join(_KEYS)}"
            raise ValueError(f"{key} is not a known key; {meant}")


def _name(value: object, taken: list[str]) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(
            "name: up to 64 letters, digits, spaces and ._/()+-, first one of the former"
        )
    if value == OTHER or value in taken:
        reason = "that is what no group names" if value == OTHER else "it is there already"
        raise ValueError(f"name = {value!r}: choose another one, {reason}")
    return value


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{key}: text in quotes")
    return value


def _texts(table: Mapping[str, Any], key: str) -> list[str]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError(f'{key}: a list of texts such as ["a", "b"]')
    if len(value) > MAX_TEXTS:
        raise ValueError(f"{key}: at most {MAX_TEXTS}; more networks belong into a ranges_file")
    return value


def _networks(texts: list[str]) -> list[Network]:
    networks: list[Network] = []
    for text in texts:
        try:
            networks.append(ip_network(text))
        except ValueError as exc:
            allowed = 'networks such as "10.0.0.0/8" or "fd00::/8", without host bits'
            raise ValueError(f"networks = {text!r}: {allowed}") from exc
    return networks


def _subject(text: str) -> SubjectPattern:
    wanted = []
    for name, value in attributes_of(text):
        if name not in ATTRIBUTES or not value:
            known = ", ".join(sorted(ATTRIBUTES))
            form = 'as "CN=runner-*,O=Example"'
            raise ValueError(f"certificate_subjects = {text!r}: {form}; known are {known}")
        first, *others = map(re.escape, value.split("*"))
        # Atomic: a subject that almost matches many `*` is not tried in each way there is.
        pieces = [first, *(f"(?>.*?{piece})" for piece in others[:-1])]
        pieces += [f".*{piece}" for piece in others[-1:]]
        wanted.append((name, re.compile("".join(pieces), re.DOTALL)))
    return SubjectPattern(wanted=tuple(wanted))

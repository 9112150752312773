"""What a configuration makes of accounting: its client groups, and the counters' layout.

Rules:
1. The files of groups are read once per configuration, where it is loaded: a process that restarts
   later gets the groups it had, whatever has become of the files.
2. Every process of one configuration counts in the same layout.

Does not: read files itself (`group_files`).
Runs in: supervisor (reads, before it forks), worker and keeper (inherit).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

from mirror.accounting.group_files import load_groups
from mirror.accounting.groups import GroupTable
from mirror.accounting.layout import Layout, layout_of
from mirror.accounting.traffic import upstream_urls
from mirror.config import Config


class ConfiguredGroups:
    """The tables of the configurations that live; a table goes when its configuration does."""

    def __init__(self) -> None:
        self._tables: dict[int, GroupTable] = {}  # by the id of the section, while that lives

    def __len__(self) -> int:
        return len(self._tables)

    def __repr__(self) -> str:
        return f"<ConfiguredGroups {list(self._tables.values())}>"

    def read(self, config: Config) -> GroupTable:
        """Read the groups of `config`. Raises: ConfigError."""
        # By identity: two configurations may name the same file, which changed in between.
        section = config.accounting
        table = load_groups(section.groups)
        if id(section) not in self._tables:
            weakref.finalize(section, self._tables.pop, id(section), None).atexit = False
        self._tables[id(section)] = table
        return table

    def read_with(self, load: Callable[[], Config]) -> Callable[[], Config]:
        """Return a `load` that reads the groups too, and raises ConfigError as it does."""

        def load_and_read() -> Config:
            config = load()
            self.read(config)
            return config

        return load_and_read

    def of(self, config: Config) -> GroupTable:
        """Return what `read` made of `config`."""
        return self._tables[id(config.accounting)]


def configured_layout(config: Config, groups: GroupTable) -> Layout:
    """Return the layout of all counters that are in use under `config`."""
    return layout_of(groups.names, upstream_urls(config.upstream))

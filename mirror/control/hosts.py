"""Which Host names the TCP control listener answers to.

A page in a browser can make a name of its own resolve to 127.0.0.1 and then read what listens there
(DNS rebinding). The Host field still carries that name, so names that nobody allowed are refused.

Runs in: keeper. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_ALWAYS = frozenset(("localhost", "127.0.0.1", "[::1]"))
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")


class AllowedHosts:
    """The names, lower-case and without ports."""

    def __init__(self, listen_host: str, further: Iterable[str]) -> None:
        names = {name.lower() for name in (listen_host, *further) if name}
        self._names = _ALWAYS | names

    def __contains__(self, host_field: object) -> bool:
        """Say whether a request with this Host field is answered; the port is not compared."""
        found = _AUTHORITY.fullmatch(str(host_field).lower())
        return found is not None and found[1] in self._names

"""What of the configuration cannot change while sockets and records live.

Rules:
1. Addresses and directories are those of the first start: neither a reload nor another version of
   the program, which takes over sockets and children, moves them.
2. They cross from program to program as plain values (`handover`).

Runs in: supervisor.
"""

from __future__ import annotations

import msgspec

from mirror.config import Config
from mirror.config_sources import keep_values
from mirror.errors import ConfigError
from mirror.supervisor.listeners import Listeners
from mirror.supervisor.tls_context import Credentials

_FIXED = ("serve.listen", "serve.tls_listen", "control.listen", "store.path", "state.path")
# The memory that workers count clients in; another version of the program makes its own.
_SIZED = ("limits.tracked_clients",)


def keep_fixed(config: Config, running: Config) -> tuple[Config, list[str]]:
    """Return `config` with what is fixed in `running`, and the keys that differed."""
    return keep_values(config, running, (*_FIXED, *_SIZED))


def fixed_values(config: Config) -> dict[str, str | list[str]]:
    """Return what is fixed, as plain values by key."""
    values: dict[str, str | list[str]] = {}
    for key in _FIXED:
        section, _, name = key.partition(".")
        value = getattr(getattr(config, section), name)
        values[key] = value if isinstance(value, str) else list(value)
    return values


def with_fixed(config: Config, values: dict[str, str | list[str]]) -> Config:
    """Return `config` with `values` of `fixed_values`."""
    for key, value in values.items():
        section, _, name = key.partition(".")
        part = msgspec.structs.replace(
            getattr(config, section), **{name: value if isinstance(value, str) else tuple(value)}
        )
        config = msgspec.structs.replace(config, **{section: part})
    return config


def check_listeners(listeners: Listeners, tls: Credentials | None) -> None:
    """Raises ConfigError when connections to a socket would need a certificate that is absent.

    The rules of the configuration do not know the sockets that were inherited.
    """
    if listeners.bound_tls and tls is None:
        allowed = f"a PEM file: {', '.join(listeners.bound_tls)} is for TLS"
        raise ConfigError("serve.tls.certificate", "", allowed)

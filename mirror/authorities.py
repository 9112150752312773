"""The certificate authorities that upstreams are checked against.

Rule: `ca_file` adds to the system's authorities, it does not replace them.

Outside the room `upstream` because the supervisor asks too, before it lets a keeper try a reloaded
configuration, and must not load what only the keeper needs.
Runs in: keeper, supervisor, commands.
"""

from __future__ import annotations

import ssl

from mirror.errors import ConfigError


def tls_context(ca_file: str) -> ssl.SSLContext:
    """Return the context for upstreams. Raises: ConfigError when `ca_file` cannot be used."""
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as exc:
            # An SSLError's own words are the library's; what it means here is one thing.
            reason = "it holds no PEM certificate"
            if not isinstance(exc, ssl.SSLError):
                reason = exc.strerror or "it cannot be read"
            raise ConfigError(
                "upstream.ca_file", ca_file, f"a readable file of PEM certificates ({reason})"
            ) from exc
    return context

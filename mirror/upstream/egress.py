"""Ways out: the egress proxy and the certificate authorities.

Rules:
1. `[upstream] proxy` wins over HTTPS_PROXY and HTTP_PROXY; NO_PROXY is honoured for those.
2. A loopback address never goes through a proxy: it would be the proxy's own loopback.
3. `ca_file` adds to the system's authorities, it does not replace them.

The proxy variables are the one thing read from the environment outside `config`: they are the
convention of every HTTP client. aiohttp's own switch for them is not used, because it also sends
the passwords of ~/.netrc to upstreams.
Runs in: keeper.
"""

from __future__ import annotations

import ipaddress
import ssl
import urllib.request

from yarl import URL

from mirror.errors import ConfigError


def proxy_for(url: URL, configured: str) -> str | None:
    """Return the proxy's URL for requests to `url`, or None for a direct connection."""
    host = url.host or ""
    if _is_loopback(host):
        return None
    if configured:
        return configured
    if urllib.request.proxy_bypass_environment(host):  # type: ignore[attr-defined,unused-ignore]
        return None
    return urllib.request.getproxies_environment().get(url.scheme)


def tls_context(ca_file: str) -> ssl.SSLContext:
    """Return the context for upstreams. Raises: ConfigError when `ca_file` cannot be used."""
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as exc:
            reason = exc.strerror or "no PEM certificate in it"
            raise ConfigError("upstream.ca_file", ca_file, f"cannot be read: {reason}") from exc
    return context


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

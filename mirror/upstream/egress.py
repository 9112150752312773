"""The way out: the egress proxy.

Rules:
1. `[upstream] proxy` wins over HTTPS_PROXY and HTTP_PROXY; NO_PROXY is honoured for those.
2. A loopback address never goes through a proxy: it would be the proxy's own loopback.

The proxy variables are the one thing read from the environment outside `config`: they are the
convention of every HTTP client. aiohttp's own switch for them is not used, because it also sends
the passwords of ~/.netrc to upstreams.
Runs in: keeper.
"""

from __future__ import annotations

import ipaddress
import urllib.request

from yarl import URL


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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

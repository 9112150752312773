"""What the keys of TLS must satisfy together.

Rules:
1. Certificate and key belong together, and TLS listeners need both.
2. A CA for client certificates that nobody is asked for would be believed in, and protect nothing;
   so would one that plaintext passes by, but for clients on this machine.
3. Whether the files can be used is looked at where they are opened (`supervisor.tls_context`).

Runs in: supervisor and commands. Pure.
"""

from __future__ import annotations

import ipaddress

from mirror.addresses import parse_listen
from mirror.config import Serve
from mirror.errors import ConfigError


def check_tls(serve: Serve) -> None:
    """Raises ConfigError for the first key that breaks a rule."""
    if not serve.listen and not serve.tls_listen:
        raise ConfigError("serve.listen", [], "at least one address, here or in serve.tls_listen")
    _check_paths(serve)
    _check_pair(serve)
    _check_clients(serve)
    if serve.plaintext == "redirect":
        _check_redirect(serve)


def _check_paths(serve: Serve) -> None:
    for name in ("certificate", "private_key", "client_ca"):
        path = getattr(serve.tls, name)
        if "\0" in path:
            raise ConfigError(f"serve.tls.{name}", path, "the path of a file")


def _check_pair(serve: Serve) -> None:
    tls = serve.tls
    for name, other in (("certificate", "private_key"), ("private_key", "certificate")):
        if not getattr(tls, name) and (getattr(tls, other) or serve.tls_listen):
            allowed = (
                "a PEM file: TLS needs serve.tls.certificate and serve.tls.private_key "
                "(`rust-mirror dev-cert` makes both for trials)"
            )
            raise ConfigError(f"serve.tls.{name}", "", allowed)


def _check_clients(serve: Serve) -> None:
    tls = serve.tls
    if tls.client_certificates != "off" and not tls.client_ca:
        allowed = "a PEM file of CAs: client certificates are checked against it"
        raise ConfigError("serve.tls.client_ca", "", allowed)
    if tls.client_certificates == "off" and tls.client_ca:
        allowed = '"optional" or "required" while serve.tls.client_ca is set'
        raise ConfigError("serve.tls.client_certificates", "off", allowed)
    hosts = [parse_listen(text).host for text in serve.listen]
    is_open = any(not ipaddress.ip_address(host).is_loopback for host in hosts)
    if tls.client_certificates == "required" and serve.plaintext == "serve" and is_open:
        allowed = (
            '"refuse" or "redirect" (or serve.listen on loopback alone) while '
            "serve.tls.client_certificates are required: plaintext asks for none"
        )
        raise ConfigError("serve.plaintext", serve.plaintext, allowed)


def _check_redirect(serve: Serve) -> None:
    if serve.public_url and not serve.public_url.startswith("https:"):
        allowed = 'an https:// URL, or empty, while serve.plaintext is "redirect"'
        raise ConfigError("serve.public_url", serve.public_url, allowed)
    if not serve.public_url and not serve.tls_listen:
        allowed = '"serve" or "refuse" without serve.tls_listen and serve.public_url'
        raise ConfigError("serve.plaintext", serve.plaintext, allowed)

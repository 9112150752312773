"""`rust-mirror dev-cert`: a CA and a server certificate for trials.

Does not import `cryptography` before it is needed: `--help` must work without.
Runs in: commands.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path

import click

from mirror.http.authority import parse_authority

_DEFAULT_PORT = 8443
_LONGEST_DAYS = 825  # the longest that Apple's clients accept of a CA added by hand


@click.command("dev-cert")
@click.option(
    "--out",
    "folder",
    metavar="DIR",
    default="dev-cert",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the files go; made when it is absent.",
)
@click.option(
    "--host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="A name or address that clients use for the mirror. May be repeated; without it "
    "localhost, this machine's name, 127.0.0.1 and ::1.",
)
@click.option(
    "--days",
    default=90,
    show_default=True,
    type=click.IntRange(1, _LONGEST_DAYS),
    help="How long the server certificate is valid.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Replace a server certificate and key that are there; their CA stays.",
)
def dev_cert(folder: Path, hosts: tuple[str, ...], days: int, force: bool) -> int:
    """Make a certificate authority and a server certificate for trials.

    Clients trust the authority (ca.pem), the mirror shows the server certificate: rustup
    refuses a certificate that is both. A running mirror takes a replaced one by itself.

    Not for production: whoever reads ca-key.pem can pose as any host to clients that trust
    ca.pem. Keep it here, or delete it once the certificate is made.

    \b
    Examples:
      rust-mirror dev-cert
      rust-mirror dev-cert --out /etc/rust-mirror/tls --host mirror.example --host 10.0.0.7
      rust-mirror dev-cert --force --days 825
    \b
    Exit codes: 0 made; 1 the files are there already or cannot be written; 2 wrong usage.
    """
    names = _checked(hosts) if hosts else _names_of_this_machine()
    from mirror.cli.dev_certificates import make

    made = make(folder.absolute(), names, days, replaces=force)
    state = "Made" if made.is_new_authority else "Used again"
    click.echo(f"{state}: {made.authority} (clients trust it) and its key {made.authority_key}")
    click.echo(f"Made: {made.certificate} and its key {made.private_key}")
    click.echo(f"  for {', '.join(names)}; valid until {made.not_after:%Y-%m-%d}")
    click.echo(_instructions(made.authority, made.certificate, made.private_key, names[0]))
    return 0


def _checked(hosts: Sequence[str]) -> list[str]:
    """Raises click.BadParameter for what is neither a DNS name nor an address."""
    names = []
    for host in hosts:
        text = f"[{host}]" if ":" in host and not host.startswith("[") else host
        authority = parse_authority(text.encode("ascii", "replace"))
        if authority is None or authority.port is not None:
            allowed = 'a DNS name or an IP address without scheme or port, such as "mirror.example"'
            raise click.BadParameter(f"{host!r}: {allowed}", param_hint="--host")
        names.append(authority.host.strip("[]"))
    return list(dict.fromkeys(names))


def _names_of_this_machine() -> list[str]:
    names = ["localhost"]
    own = parse_authority(socket.gethostname().encode("ascii", "replace"))
    if own is not None and not _is_address(own.host):
        names.append(own.host)
    return list(dict.fromkeys([*names, "127.0.0.1", "::1"]))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def _instructions(authority: Path, certificate: Path, private_key: Path, host: str) -> str:
    shown = f"[{host}]" if ":" in host else host
    url = f"https://{shown}:{_DEFAULT_PORT}"
    return f"""
The mirror's configuration:

  [serve]
  tls_listen = ["0.0.0.0:{_DEFAULT_PORT}"]

  [serve.tls]
  certificate = "{certificate}"
  private_key = "{private_key}"

Its clients, with a copy of {authority.name}:

  export RUSTUP_DIST_SERVER={url}
  export RUSTUP_UPDATE_ROOT={url}/rustup
  export SSL_CERT_FILE={authority}        # rustup: instead of the system's authorities
  export CARGO_HTTP_CAINFO={authority}    # cargo: instead of the system's authorities

  # $CARGO_HOME/config.toml
  [source.crates-io]
  replace-with = "mirror"
  [source.mirror]
  registry = "sparse+{url}/index/"
"""

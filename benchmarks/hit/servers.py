"""The servers beside each other: the mirror, nginx (as a cache and static), Varnish.

Rules:
1. Each is pinned to core 0 with one worker; all run, one at a time is loaded.
2. Their configurations are the files beside this one; `${…}` is filled in here and nowhere else.
3. All have the same certificate (P-256), the same origin and the same objects.

Runs in: benchmark.
"""

from __future__ import annotations

import contextlib
import enum
import os
import resource
import shutil
import string
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Running, await_answer, descendants, free_port, started
from mirror.cli.dev_certificates import Made, make

SERVER_CORE = 0
MIRROR, NGINX, STATIC, VARNISH = "mirror", "nginx", "nginx static", "varnish"
# What to install, by the program that is looked for.
PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client", "nginx": "nginx-core", "varnishd": "varnish"}
_HERE = Path(__file__).parent
_OPEN_FILES = 60_000
_VARNISH_MEMORY = "6g"


class Protocol(enum.StrEnum):
    HTTP1 = "h1"
    H2C = "h2c"
    TLS_HTTP1 = "TLS h1"
    TLS_H2 = "TLS h2"

    @property
    def is_http2(self) -> bool:
        return self in {Protocol.H2C, Protocol.TLS_H2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    name: str
    bases: Mapping[Protocol, str]  # a protocol that it does not speak is absent
    running: Running
    access_log: Path | None = None

    def forget_log(self) -> None:
        """Remove the access log, which the mirror then begins anew: ten cases write gigabytes."""
        if self.access_log is not None:
            self.access_log.unlink(missing_ok=True)

    def pids(self) -> list[int]:
        """Return all processes of this server, as they are now."""
        return [self.running.pid, *descendants(self.running.pid)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the servers have in common."""

    folder: Path
    root: Path
    origin: str
    made: Made
    environment: dict[str, str]  # added to the mirror's


def missing_programs() -> dict[str, str]:
    """Return program -> Debian package of what is not on PATH."""
    return {name: package for name, package in PACKAGES.items() if shutil.which(name) is None}


def certificate(folder: Path) -> Made:
    """Make the certificate of all servers: P-256, for this machine only."""
    return make(folder, ("localhost", "127.0.0.1"), 30, replaces=False)


@contextlib.contextmanager
def servers(site: Site) -> Iterator[list[Server]]:
    """Run every cache that is installed for the length of the block."""
    with and_static(site) as found:
        yield [server for server in found if server.name != STATIC]


@contextlib.contextmanager
def and_static(site: Site) -> Iterator[list[Server]]:
    """Run every server that is installed, nginx without a cache between among them."""
    missing = missing_programs()
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(mirror_alone(site))
        if "nginx" not in missing:
            found += stack.enter_context(_nginx(site))
        if "varnishd" not in missing:
            found += stack.enter_context(_varnish(site))
        yield found


@contextlib.contextmanager
def mirror_alone(site: Site) -> Iterator[list[Server]]:
    """Run the mirror for the length of the block."""
    folder = site.folder / "mirror"
    folder.mkdir()
    ports = {"port": free_port(), "tls_port": free_port()}
    config = _filled("mirror.toml", folder, {
        "folder": folder, "origin": site.origin,
        "certificate": site.made.certificate, "private_key": site.made.private_key, **ports,
    })  # fmt: skip
    command: list[str | Path] = [
        Path(sys.executable).parent / "rust-mirror", "serve", "--config", config,
    ]  # fmt: skip
    with started(
        "mirror", command, folder, core=SERVER_CORE, environment=site.environment
    ) as running:
        plain, tls = f"http://127.0.0.1:{ports['port']}", f"https://127.0.0.1:{ports['tls_port']}"
        await_answer(f"{plain}/readyz", running)
        bases = {
            Protocol.HTTP1: plain, Protocol.H2C: plain,
            Protocol.TLS_HTTP1: tls, Protocol.TLS_H2: tls,
        }  # fmt: skip
        log = folder / "access.log"
        yield [Server(name=MIRROR, bases=bases, running=running, access_log=log)]


@contextlib.contextmanager
def _nginx(site: Site) -> Iterator[list[Server]]:
    folder = site.folder / "nginx"
    folder.mkdir()
    ports = {kind + protocol.name.lower(): free_port() for kind in ("port_", "static_")
             for protocol in Protocol}  # fmt: skip
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = min(_OPEN_FILES, hard) if hard > 0 else _OPEN_FILES
    config = _filled("nginx.conf", folder, {
        "folder": folder, "origin": site.origin.partition("//")[2], "root": site.root,
        "certificate": site.made.certificate, "private_key": site.made.private_key,
        "open_files": limit,
        # A master started by root gives its workers away to another user, who may not enter here.
        "user": "user root;" if os.geteuid() == 0 else "", **ports,
    })  # fmt: skip
    command: list[str | Path] = [
        "nginx", "-p", folder, "-c", config, "-e", folder / "nginx-start.log",
    ]  # fmt: skip
    with started("nginx", command, folder, core=SERVER_CORE) as running:
        await_answer(f"http://127.0.0.1:{ports['static_http1']}/ready", running)
        yield [
            Server(name=name, bases=_nginx_bases(ports, kind), running=running)
            for name, kind in ((NGINX, "port_"), (STATIC, "static_"))
        ]


def _nginx_bases(ports: Mapping[str, int], kind: str) -> dict[Protocol, str]:
    return {
        protocol: f"http{'s' if protocol.name.startswith('TLS') else ''}://127.0.0.1:"
        f"{ports[kind + protocol.name.lower()]}"
        for protocol in Protocol
    }


@contextlib.contextmanager
def _varnish(site: Site) -> Iterator[list[Server]]:
    folder = site.folder / "varnish"
    folder.mkdir()
    port = free_port()
    host, _, origin_port = site.origin.partition("//")[2].partition(":")
    vcl = _filled("varnish.vcl", folder, {"origin_host": host, "origin_port": origin_port})
    command: list[str | Path] = [
        "varnishd", "-F", "-n", folder / "varnish", "-j", "none", "-f", vcl,
        "-a", f"127.0.0.1:{port}", "-T", "none", "-s", f"malloc,{_VARNISH_MEMORY}",
        "-p", "thread_pools=1", "-p", "thread_pool_min=50",
    ]  # fmt: skip
    with started("varnish", command, folder, core=SERVER_CORE) as running:
        base = f"http://127.0.0.1:{port}"
        await_answer(f"{base}/ready", running)
        yield [Server(name=VARNISH, bases={Protocol.HTTP1: base}, running=running)]


def _filled(name: str, folder: Path, values: Mapping[str, object]) -> Path:
    """Fill in the `${…}` of a file beside this one; unknown `$names` are the server's own."""
    template = (_HERE / name).read_text()
    path = folder / name
    path.write_text(string.Template(template).safe_substitute(values))
    return path

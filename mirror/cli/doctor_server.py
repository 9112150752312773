"""`rust-mirror doctor` without --client: whether this machine and its mirror are well.

Rules:
1. It works with and without a running mirror. What this user may not look at is told as that.
2. Every look has a deadline; all are under way at once (`doctor_checks`).
3. Nothing is changed, but for a trial file that is removed at once; no object is downloaded.
4. Exit code 0: nothing is to be done; 1: something is.

Units: seconds.
Runs in: commands.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import click

import mirror
from mirror.cli import doctor_machine, doctor_store
from mirror.cli.doctor_checks import Check, run_checks
from mirror.cli.status import NoMirrorError, read_status
from mirror.cli.upstream_manners import instance_token
from mirror.config import Config
from mirror.config_sources import Loaded
from mirror.doctor.clocks import judge_clock
from mirror.doctor.disks import (
    Room,
    judge_room,
    judge_state_room,
    judge_together,
    judge_trial,
    judge_volume,
)
from mirror.doctor.entrances import (
    Doors,
    Visit,
    judge_doors,
    judge_listening,
    judge_public_url,
    own_ports,
)
from mirror.doctor.findings import Finding, Verdict
from mirror.doctor.machine_limits import Wanted, judge_limits
from mirror.doctor.permissions import judge_owners
from mirror.doctor.running import (
    Versions,
    judge_absence,
    judge_elsewhere,
    judge_sandbox,
    judge_status,
    judge_versions,
)
from mirror.doctor.store_health import (
    Contents,
    judge_contents,
    judge_index,
    judge_state,
    judge_told,
)
from mirror.doctor.upstreams import judge_contact, judge_upstreams
from mirror.errors import MirrorError
from mirror.store.examining import sqlite_version
from mirror.supervisor.listeners import BACKLOG
from mirror.supervisor.supervisor import worker_count

_NETWORK_LIMIT_S = 8.0  # a look with several steps; each step has a shorter one of its own
_STORE_LIMIT_S = 10.0
_BAD = (Verdict.WRONG, Verdict.RISK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What is examined. `is_running` None: this user could not find out."""

    config: Config
    config_file: str
    is_running: bool | None
    token: str
    status: dict[str, Any] = field(default_factory=dict)
    trouble: str = ""

    @property
    def pid(self) -> int | None:
        """A process of the mirror: the keeper, else a worker."""
        pids = [each["pid"] for each in self.status.get("processes", ()) if each["is_alive"]]
        return pids[0] if pids else None

    def doors(self) -> Doors:
        serve = self.config.serve
        return Doors(
            public_url=serve.public_url,
            listen=serve.listen,
            tls_listen=serve.tls_listen,
            trusted_proxies=serve.trusted_proxies,
            proxy_protocol=serve.proxy_protocol,
            is_running=self.is_running,
        )


def examine_server(loaded: Loaded, *, is_offline: bool, as_json: bool) -> int:
    """Look at everything, print what was found, and return the exit code."""
    server = _server(loaded)
    with _progress(is_quiet=as_json) as show:
        findings = run_checks(list(_checks(server, is_offline=is_offline)), show)
    is_well = not any(finding.verdict in _BAD for finding in findings)
    if as_json:
        click.echo(json.dumps(_document(server, findings, is_well=is_well), indent=2))
    else:
        from mirror.cli.doctor_page import print_server

        print_server(findings, server.config.store.path, server.config.state.path)
    return 0 if is_well else 1


def _server(loaded: Loaded) -> Server:
    config, file = loaded.config, str(loaded.file or "")
    token = instance_token(config.state.path)
    try:
        status = read_status(config)
    except NoMirrorError:
        return Server(config=config, config_file=file, is_running=False, token=token)
    except MirrorError as exc:
        return Server(
            config=config, config_file=file, is_running=None, token=token, trouble=exc.message
        )
    except (ValueError, KeyError) as exc:  # another version's answer, cut or changed
        return Server(
            config=config, config_file=file, is_running=None, token=token, trouble=str(exc)
        )
    return Server(config=config, config_file=file, is_running=True, token=token, status=status)


def _checks(server: Server, *, is_offline: bool) -> Iterator[Check]:
    yield Check(name="running mirror", look=lambda: _running(server))
    yield Check(name="store disk", look=lambda: _disk(server, "store"))
    yield Check(name="state disk", look=lambda: _disk(server, "state"))
    yield Check(name="store room", look=lambda: _room(server), limit_s=_STORE_LIMIT_S)
    yield Check(name="permissions", look=lambda: _permissions(server))
    yield Check(name="sandbox", look=lambda: _sandbox(server))
    yield Check(name="limits", look=lambda: _limits(server))
    yield Check(name="store", look=lambda: _store(server), limit_s=_STORE_LIMIT_S)
    if server.config.serve.tls.certificate:
        yield Check(name="certificate", look=lambda: _certificate(server))
    yield Check(name="proxies", look=lambda: judge_doors(server.doors()))
    yield from _own_addresses(server)
    if is_offline:
        yield Check(name="clock", look=lambda: _clock({}))
        yield Check(name="public_url", look=lambda: judge_public_url(server.doors(), None))
        return
    yield Check(name="public_url", look=lambda: _public(server), limit_s=_NETWORK_LIMIT_S)
    yield Check(name="upstreams", look=lambda: _upstreams(server), limit_s=_NETWORK_LIMIT_S)


def _running(server: Server) -> Iterator[Finding]:
    running = str(server.status.get("version", ""))
    yield from judge_versions(
        Versions(
            installed=mirror.__version__,
            running=running,
            python=tuple(sys.version_info[:3]),
            sqlite=sqlite_version(),
        )
    )
    if server.is_running:
        yield from judge_status(server.status)
        yield from judge_told(server.status, server.config.scrub.every)
    else:
        yield judge_absence(server.trouble)


def _disk(server: Server, noun: str) -> Iterator[Finding]:
    path = server.config.store.path if noun == "store" else server.config.state.path
    volume = doctor_machine.volume_of(noun, path)
    yield from judge_volume(volume)
    if noun == "state":
        yield from judge_state_room(volume)
    if doctor_machine.is_directory(path):
        yield judge_trial(noun, path, *doctor_machine.write_trial(path))


def _room(server: Server) -> Iterator[Finding]:
    settings = server.config.store
    told = server.status.get("store", {}).get("used_bytes")
    used = told if isinstance(told, int) else doctor_store.used_bytes(server.config)
    room = Room(
        budget_bytes=settings.budget,
        used_bytes=used,
        floor_bytes=settings.free_floor,
        floor_inodes=settings.free_inodes,
    )
    store = doctor_machine.volume_of("store", settings.path)
    state = doctor_machine.volume_of("state", server.config.state.path)
    yield from judge_room(store, room)
    yield from judge_together((store, state), settings.free_floor)


def _permissions(server: Server) -> Iterator[Finding]:
    user = doctor_machine.user_of(server.pid, server.config.state.path)
    yield from judge_owners(doctor_machine.owners(server.config, server.config_file), user)


def _sandbox(server: Server) -> Iterator[Finding]:
    """Raises: OSError where the processes are another user's."""
    if server.pid is None:
        return
    paths = {"store": server.config.store.path, "state": server.config.state.path}
    for noun, path in paths.items():
        options = doctor_machine.mount_of(path, server.pid).options
        yield from judge_sandbox(noun, path, options)
    yield from judge_elsewhere(doctor_machine.elsewhere(server.pid, tuple(paths.values())))


def _limits(server: Server) -> Iterator[Finding]:
    serve = server.config.serve
    wanted = Wanted(
        workers=worker_count(server.config),
        max_connections=serve.max_connections,
        has_tls=bool(serve.tls_listen),
        hot_memory_bytes=serve.hot_memory,
        backlog=BACKLOG,
    )
    yield from judge_limits(wanted, doctor_machine.granted(server.pid))


def _store(server: Server) -> Iterator[Finding]:
    contents: Contents = doctor_store.read_contents(server.config)
    yield from judge_contents(contents, server.config.store.quarantine_budget)
    yield judge_index(doctor_store.read_index(server.config), has_blobs=contents.has_blobs)
    yield judge_state(doctor_store.read_state(server.config), has_blobs=contents.has_blobs)


def _certificate(server: Server) -> Iterator[Finding]:
    from mirror.cli.doctor_certificates import read_chain
    from mirror.doctor.certificates import judge_chain
    from mirror.supervisor.tls_context import load_credentials

    serve = server.config.serve
    yield from judge_chain(read_chain(serve, serve.tls_listen), time.time())
    load_credentials(serve)  # what OpenSSL itself refuses


def _own_addresses(server: Server) -> Iterator[Check]:
    serve = server.config.serve
    for key, addresses in (("serve.listen", serve.listen), ("serve.tls_listen", serve.tls_listen)):
        for address in addresses:
            if address.endswith(":0"):
                continue  # the kernel has chosen another one
            look = _Knock(server, address, key)
            yield Check(name=f"listening at {address}", look=look, limit_s=_NETWORK_LIMIT_S)


@dataclass(frozen=True, slots=True)
class _Knock:
    """Comes to one address of the mirror."""

    server: Server
    address: str
    key: str

    def __call__(self) -> Iterator[Finding]:
        from mirror.cli.doctor_doors import connect_address, visit_address

        serve, is_tls = self.server.config.serve, self.key == "serve.tls_listen"
        asks_for_more = serve.tls.client_certificates == "required" if is_tls else False
        if asks_for_more or (serve.proxy_protocol and not is_tls):
            found: Visit = connect_address(self.address)
        else:
            found = visit_address(self.address, self.server.token, is_tls=is_tls)
        yield judge_listening(self.address, self.key, found, self.server.is_running)


def _public(server: Server) -> Iterator[Finding]:
    import ssl

    from mirror.cli.doctor_doors import visit

    found = None
    if url := server.config.serve.public_url:
        found = visit(f"{url.rstrip('/')}/livez", server.token, ssl.create_default_context())
    yield from judge_public_url(server.doors(), found)


def _upstreams(server: Server) -> Iterator[Finding]:
    from mirror.cli.doctor_upstreams import inquire, offsets

    serve, status = server.config.serve, server.status
    ports = own_ports((*serve.listen, *serve.tls_listen, *status.get("listen", ())))
    inquiries = inquire(server.config, ports)
    loops = {each.url: each.loop for each in inquiries if each.loop}
    yield from judge_upstreams([each.asked() for each in inquiries], loops)
    yield from judge_contact(server.config.upstream.contact)
    yield from _clock(offsets(inquiries))


def _clock(offsets: dict[str, float]) -> Iterator[Finding]:
    yield from judge_clock(time.time(), doctor_machine.is_synchronised(), offsets)


def _progress(*, is_quiet: bool) -> Any:
    from mirror.cli.doctor_page import looking

    return looking(is_quiet=is_quiet)


def _document(server: Server, findings: list[Finding], *, is_well: bool) -> dict[str, object]:
    return {
        "is_well": is_well,
        "is_running": server.is_running,
        "version": mirror.__version__,
        "config_file": server.config_file or None,
        "store": server.config.store.path,
        "state": server.config.state.path,
        "findings": [{**asdict(each), "verdict": each.verdict.value} for each in findings],
    }

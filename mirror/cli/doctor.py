"""`rust-mirror doctor`: whether the mirror of this machine is well (`doctor_server`).

With --client: what on this machine still goes upstream, and why.

Rules of --client:
1. It reads what rustup and cargo would read here: this environment, this folder. A value that
   another job step or a container sets is not seen.
2. Exit code 0: everything that can be told goes to the mirror; 1: something goes past it, or the
   mirror cannot be used.
3. Nothing is changed, and nothing is fetched that the mirror does not have.

Runs in: commands.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from mirror.cli.options import config_options, sources_of
from mirror.doctor.cargo import downloaders, judge_cargo, judge_tools
from mirror.doctor.cargo_files import CargoFiles, read_cargo_files, tool_home
from mirror.doctor.findings import Base, Finding, Verdict, parse_base, shown, worst
from mirror.doctor.lockfile import Locked, read_lockfile
from mirror.doctor.probing import (
    Prober,
    cargo_ca_file,
    crates_not_stored,
    download_template,
    judge_template,
    probe_mirror,
    probe_release,
    rustup_ca_file,
)
from mirror.doctor.proxies import judge_proxies
from mirror.doctor.replacement import source_of_crates
from mirror.doctor.rustup import dist_url, judge_rustup
from mirror.doctor.rustup_settings import read_self_update
from mirror.errors import ConfigError, MirrorError

LOCKFILE_MAX_BYTES = 64 << 20  # the largest known are below 1 MB
_SHOWN = 10  # packages named in a sentence; --json names all


@dataclass(slots=True, kw_only=True)
class Examination:
    """What is examined, and what was found so far; `absent` are locked crates not stored."""

    environ: Mapping[str, str]
    files: CargoFiles
    mirror: Base | None
    findings: list[Finding] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    asked: int = 0


@click.command()
@config_options
@click.option("--client", is_flag=True, help="Examine this machine's rustup and cargo instead.")
@click.option("--mirror", "mirror_url", metavar="URL", help="--client: where the mirror is.")
@click.option(
    "--lockfile",
    metavar="FILE",
    type=click.Path(path_type=Path, readable=False),
    help="--client: a Cargo.lock; which of its crates has the mirror stored?",
)
@click.option(
    "--directory",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="--client: where cargo would be started (default: here).",
)
@click.option("--offline", is_flag=True, help="Ask no upstream; with --client ask nobody.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(
    config_file: Path | None,
    settings: tuple[str, ...],
    client: bool,
    mirror_url: str | None,
    lockfile: Path | None,
    directory: Path | None,
    offline: bool,
    as_json: bool,
) -> int:
    """Find what is wrong with this mirror's machine, or what passes the mirror by.

    On the mirror's machine it looks at disks, permissions, limits, clock, certificates, public_url,
    upstreams, store and state, and says what to do about each finding. Run it as root or as the
    mirror's user, with the configuration of the mirror, whether one runs or not. It changes
    nothing; --offline leaves public_url and the upstreams out.

    With --client run it on a CI runner, in the job's own environment. It explains where rustup and
    cargo fetch from, by which variable or file, and what still goes upstream.

    Exit codes: 0 nothing is to be done; 1 something is (--client: something goes past the mirror);
    2 wrong usage.

    \b
    Examples:
      rust-mirror doctor
      rust-mirror doctor --config /etc/rust-mirror/mirror.toml --offline
      rust-mirror doctor --json | jq '.findings[] | select(.verdict == "wrong")'
      rust-mirror doctor --client
      rust-mirror doctor --client --mirror https://mirror.example --lockfile Cargo.lock
      rust-mirror doctor --client --offline --json
    """
    if not client:
        if mirror_url is not None or lockfile is not None or directory is not None:
            raise click.UsageError("--mirror, --lockfile and --directory go with --client")
        from mirror.cli.doctor_server import examine_server

        loaded = sources_of(config_file, settings).load_with_origins()
        return examine_server(loaded, is_offline=offline, as_json=as_json)
    if config_file is not None or settings:
        raise click.UsageError("--config and --set are the mirror's: not with --client")
    if offline and lockfile is not None:
        raise click.UsageError("--lockfile asks the mirror, which --offline forbids")
    return _examine_client(directory or Path(), mirror_url, lockfile, offline, as_json)


def _examine_client(
    directory: Path, mirror_url: str | None, lockfile: Path | None, offline: bool, as_json: bool
) -> int:
    locked = None if lockfile is None else _read(lockfile)
    examination = examine(directory, os.environ, mirror_url)
    if not offline:
        _probe(examination, locked, is_quiet=as_json)
    if as_json:
        click.echo(json.dumps(_document(examination), indent=2))
    else:
        from mirror.cli.doctor_page import print_findings

        print_findings(examination.findings, examination.mirror)
    return 1 if worst(examination.findings) is Verdict.PAST else 0


def examine(directory: Path, environ: Mapping[str, str], mirror_url: str | None) -> Examination:
    """Judge the configuration that holds in `directory`. Raises: ConfigError for a wrong URL."""
    folder = directory.resolve()
    files = read_cargo_files(folder, environ)
    mirror = _mirror(mirror_url, files, environ)
    examination = Examination(environ=environ, files=files, mirror=mirror)
    # cargo looks for its subcommands there too.
    path = f"{tool_home(folder, environ, 'cargo') / 'bin'}:{environ.get('PATH', os.defpath)}"
    found = {name: where for name in downloaders() if (where := shutil.which(name, path=path))}
    self_update = read_self_update(tool_home(folder, environ, "rustup"))
    examination.findings += [
        *judge_rustup(environ, mirror, self_update=self_update),
        *judge_cargo(files, environ, mirror),
        *judge_proxies(files, environ, mirror),
        *judge_tools(found),
    ]
    return examination


def _mirror(given: str | None, files: CargoFiles, environ: Mapping[str, str]) -> Base | None:
    """Return the mirror that is named; else the one that rustup or cargo is pointed at."""
    if given is not None:
        base = parse_base(given)
        if base is None:
            allowed = 'an http:// or https:// URL such as "https://mirror.example"'
            raise ConfigError("--mirror", shown(given), allowed)
        return base
    url, variable = dist_url(environ)
    if variable:
        return parse_base(url)
    registry = parse_base(source_of_crates(files, environ).registry)
    if registry is None:
        return None
    path = registry.path.removesuffix("/index").removesuffix("/crates.io-index")
    return Base(scheme=registry.scheme, host=registry.host, port=registry.port, path=path)


def _read(lockfile: Path) -> Locked:
    """Raises: MirrorError."""
    try:
        with lockfile.open("rb") as file:
            content = file.read(LOCKFILE_MAX_BYTES)
        return read_lockfile(content.decode())
    except (OSError, ValueError, RecursionError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise MirrorError(
            f"{lockfile}: {reason}",
            source=str(lockfile),
            retryable=False,
            status=500,
            hint="name a Cargo.lock",
        ) from exc


def _probe(examination: Examination, locked: Locked | None, *, is_quiet: bool) -> None:
    mirror, environ = examination.mirror, examination.environ
    if mirror is None:
        return
    prober = _prober(*cargo_ca_file(environ, examination.files))
    examination.findings += probe_mirror(prober, mirror)
    if worst(examination.findings[-1:]) is Verdict.PAST:
        return
    dist = dist_url(environ)[0]
    if mirror.holds(dist):
        examination.findings += probe_release(_prober(*rustup_ca_file(environ)), dist)
    _probe_registry(examination, prober, mirror, locked, is_quiet=is_quiet)


def _prober(ca_file: str, seen: str) -> Prober:
    try:
        return Prober(ca_file)
    except OSError as exc:
        raise ConfigError(seen, ca_file, f"PEM certificates ({exc})") from exc


def _probe_registry(
    examination: Examination, prober: Prober, mirror: Base, locked: Locked | None, *, is_quiet: bool
) -> None:
    registry = source_of_crates(examination.files, examination.environ).registry
    if not mirror.holds(registry):
        registry = f"{mirror}/index/"
    template = download_template(prober, registry)
    if isinstance(template, Finding):
        examination.findings.append(template)
        return
    examination.findings += judge_template(template, mirror)
    if locked is None:
        return
    from mirror.cli.doctor_page import progress

    with progress(len(locked.crates), is_quiet=is_quiet) as advance:
        absent, troubles = crates_not_stored(prober, template, locked.crates, on_asked=advance)
    examination.absent, examination.asked = [str(crate) for crate in absent], len(locked.crates)
    examination.findings += _locked(locked, examination.absent, troubles)


def _locked(locked: Locked, absent: list[str], troubles: list[str]) -> Iterator[Finding]:
    total = len(locked.crates)
    stored = f"{total - len(absent)} of {total} locked crates are stored at the mirror"
    if troubles:
        yield Finding(
            verdict=Verdict.NOTE,
            subject="Cargo.lock",
            sentence=f"could not be compared completely: {'; '.join(troubles[:3])}",
        )
    elif absent:
        named = ", ".join(absent[:_SHOWN]) + (", …" if len(absent) > _SHOWN else "")
        yield Finding(
            verdict=Verdict.NOTE,
            subject="Cargo.lock",
            sentence=f"{stored}; nobody has fetched these through it: {named}",
            remedy="if a job has built this lock file already, it went past the mirror",
        )
    else:
        yield Finding(verdict=Verdict.GOOD, subject="Cargo.lock", sentence=stored)
    for source, packages in sorted(locked.others.items()):
        named = ", ".join(packages[:_SHOWN]) + (", …" if len(packages) > _SHOWN else "")
        yield Finding(
            verdict=Verdict.NOTE,
            subject="Cargo.lock",
            sentence=f"has packages of another source, which no mirror of crates.io has: {named}",
            seen=shown(source),
        )


def _document(examination: Examination) -> dict[str, object]:
    return {
        "mirror": None if examination.mirror is None else str(examination.mirror),
        "passes_by": worst(examination.findings) is Verdict.PAST,
        "findings": [
            {**asdict(each), "verdict": each.verdict.value} for each in examination.findings
        ],
        "cargo_files": [str(path) for path in examination.files.read],
        "locked_crates": examination.asked,
        "locked_crates_not_stored": examination.absent,
    }

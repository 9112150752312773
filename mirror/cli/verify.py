"""`rust-mirror verify`.

Rules:
1. It reads the store only, beside a running mirror or without one, and writes nothing.
2. Exit code 0: all is good; 1: something is wrong, or not stored; 2: wrong usage.
3. What nobody upstream signs or vouches for is told, and is no error.

Runs in: commands.
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from mirror.cli.options import config_options, sources_of
from mirror.config import Config


@click.command()
@config_options
@click.argument("names", nargs=-1, metavar="[KEY]...")
@click.option("--all", "is_all", is_flag=True, help="Check everything that is stored.")
@click.option(
    "--against-upstream",
    "is_upstream",
    is_flag=True,
    help="Compare with the configured upstreams (size, checksum, version) without downloading; "
    "without KEY all of it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(
    config_file: Path | None,
    settings: tuple[str, ...],
    names: tuple[str, ...],
    is_all: bool,
    is_upstream: bool,
    as_json: bool,
) -> int:
    """Check stored objects again, and say what vouches for them.

    KEY is a key, a path, a URL of an upstream or of this mirror, a crate with its version, or a
    crate's name for its index file. Each step of the chain is checked again: the bytes on disk, the
    document that states their digest, the signature over that, the pinned key.

    --all reads every file once (its pages do not stay in memory) and compares every object with
    what vouches for it. A mirror may run meanwhile. Nothing is written: what the mirror finds
    damaged it quarantines and fetches anew by itself.

    Not everything can be proved: "weak" is what nobody signs or vouches for (index files, what only
    a .sha256 beside it vouches for), "lost" what vouched is no longer stored. Neither is an error.
    A crate is good when the index file states its digest; that file itself is weak.

    Exit codes: 0 all is good; 1 something is wrong or not stored; 2 wrong usage.

    \b
    Examples:
      rust-mirror verify /dist/channel-rust-stable.toml
      rust-mirror verify serde 1.0.0
      rust-mirror verify https://static.crates.io/crates/serde/serde-1.0.0.crate
      rust-mirror verify --all
      rust-mirror verify --all --json | jq .wrong
      rust-mirror verify --against-upstream
    """
    if is_all and names:
        raise click.UsageError("name objects, or say --all: not both")
    if not (is_all or names or is_upstream):
        raise click.UsageError("name an object, or say --all (see --help)")
    config = sources_of(config_file, settings).load()
    if is_upstream:
        from mirror.cli.verify_upstream import compare

        return compare(config, names, as_json=as_json)
    return _check_all(config, as_json=as_json) if is_all else _explain(config, names, as_json)


def _check_all(config: Config, *, as_json: bool) -> int:
    from mirror.cli.verify_page import print_report, report_json
    from mirror.cli.verify_progress import Progress
    from mirror.jobs.shelf import open_shelf
    from mirror.jobs.store_check import StoreCheck
    from mirror.jobs.vouching import Vouching
    from mirror.store.layout import Layout

    with open_shelf(config.store.path) as shelf:
        vouching = Vouching(shelf, config, is_whole=False)
        check = StoreCheck(shelf, vouching, Layout(root=config.store.path), now=time.time())
        with Progress(is_shown=not as_json) as progress:
            report = check.run(progress)
    if as_json:
        click.echo(report_json(report))
    else:
        print_report(report)
    return 0 if report.is_good else 1


def _explain(config: Config, names: tuple[str, ...], as_json: bool) -> int:
    from mirror.cli.verify_names import join_crates, keys_of
    from mirror.cli.verify_page import chains_json, print_chain, print_not_stored
    from mirror.jobs.shelf import open_shelf
    from mirror.jobs.store_check import StoreCheck
    from mirror.jobs.vouching import Vouching
    from mirror.store.layout import Layout

    meant = {name: keys_of(name, config) for name in join_crates(names)}
    with open_shelf(config.store.path) as shelf:
        vouching = Vouching(shelf, config, is_whole=True)
        check = StoreCheck(shelf, vouching, Layout(root=config.store.path), now=time.time())
        found = {
            name: next((s for key in keys if (s := shelf.index.lookup(key))), None)
            for name, keys in meant.items()
        }
        chains = {name: None if s is None else check.chain(s.entry) for name, s in found.items()}
    if as_json:
        click.echo(chains_json(chains, meant))
    for name, chain in () if as_json else chains.items():
        if chain is None:
            print_not_stored(name, meant[name])
        else:
            print_chain(chain)
    is_good = all(chain is not None and chain.is_sound for chain in chains.values())
    return 0 if is_good else 1

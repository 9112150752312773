"""`rust-mirror purge`.

Rules:
1. Nothing goes without --yes.
2. Exit code 0: it went (or would go); 1: nothing of it is stored, a worker does not know yet, or it
   could not be done; 2: wrong usage.

Runs in: commands.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from mirror.cli.acting import own_store, result_of, shown_progress
from mirror.cli.control_socket import tell_control
from mirror.cli.options import config_options, sources_of
from mirror.config import Config

_SITES = (("/crates/", "crates:"), ("/index/", "index:"), ("/dist", "releases:"))


@click.command()
@config_options
@click.argument("names", nargs=-1, metavar="[KEY]...")
@click.option("--prefix", "prefixes", multiple=True, metavar="P", help="All keys that begin so.")
@click.option("--yes", "is_meant", is_flag=True, help="Do it; without, only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def purge(
    config_file: Path | None,
    settings: tuple[str, ...],
    names: tuple[str, ...],
    prefixes: tuple[str, ...],
    is_meant: bool,
    as_json: bool,
) -> int:
    """Take stored objects away, so that they are fetched and verified anew.

    KEY is written as for `rust-mirror verify`: a key, a path, a URL, a crate with its version, or a
    crate's name for its index file. P is the beginning of a key (crates:/crates/serde/) or of a
    path (/crates/serde/). Of a channel its three files go together. Pins do not protect.

    It is durable when this returns, and every worker knows: what is asked for from then on comes
    from upstream. A fill that runs meanwhile goes on, and is stored. Without a running mirror the
    store is opened by this command.

    A file that another key names too stays: who asks for the purged key has it hashed whole,
    compared with what upstream states, and named anew. So does one that has had no key since the
    index was lost.

    Without --yes nothing happens: it says how many keys and bytes would go.

    Exit codes: 0 done, or said; 1 nothing of it is stored, or it could not be done; 2 wrong usage.

    \b
    Examples:
      rust-mirror purge serde 1.0.0
      rust-mirror purge /dist/channel-rust-nightly.toml --yes
      rust-mirror purge --prefix /dist/2026-03-05/ --yes
      rust-mirror purge --prefix crates:/crates/serde/ --json
    """
    if not names and not prefixes:
        raise click.UsageError("name objects, or a --prefix (see --help)")
    config = sources_of(config_file, settings).load()
    wish = _wish(config, names, prefixes)
    would = _run(config, wish | {"dry_run": True}, is_shown=False, total=0)
    if not is_meant or not would["keys"]:
        return _tell(would, as_json=as_json, is_done=False)
    done = _run(config, wish | {"dry_run": False}, is_shown=not as_json, total=would["keys"])
    return _tell(done, as_json=as_json, is_done=True)


def _wish(config: Config, names: tuple[str, ...], prefixes: tuple[str, ...]) -> dict[str, Any]:
    from mirror.cli.verify_names import join_crates, keys_of

    return {
        "names": [keys_of(name, config) for name in join_crates(names)],
        "prefixes": [_prefix(each) for each in prefixes],
    }


def _prefix(text: str) -> str:
    """Return the beginning of keys. Raises UsageError for what no key begins with."""
    for path, site in (*_SITES, ("/rustup", "releases:")):
        if text.startswith(path):
            return site + (text.removeprefix("/index") if site == "index:" else text)
    if any(text.startswith(f"{site}/") for _, site in _SITES) and text.isascii():
        return text
    raise click.UsageError(
        f"--prefix {text}: write the beginning of a key (crates:/crates/serde/) or of a path"
        " (/dist/2026-03-05/)"
    )


def _run(config: Config, wish: dict[str, Any], *, is_shown: bool, total: int) -> dict[str, Any]:
    with shown_progress("purged", total, is_shown=is_shown, text="{:,} keys".format) as show:
        answer = tell_control(config.state.path, "/purge", wish, show)
        if answer is not None:
            return result_of(answer, config.state.path)
        from mirror.jobs.purge import Purge, PurgeWish

        with own_store(config) as store:
            names = tuple(tuple(keys) for keys in wish["names"])
            purge_it = Purge(store.purger, PurgeWish(names=names, prefixes=tuple(wish["prefixes"])))
            sums = purge_it.look() if wish["dry_run"] else purge_it.carry_out(show)
            return dataclasses.asdict(sums)


def _tell(sums: dict[str, Any], *, as_json: bool, is_done: bool) -> int:
    unaware = sums.get("unaware_workers", [])
    if as_json:
        click.echo(json.dumps({"is_done": is_done, **sums}, indent=2))
    else:
        _print(sums, is_done=is_done)
    for slot in unaware:
        click.echo(f"warning: worker-{slot} does not know of it yet; see `status`", err=True)
    return 0 if sums["keys"] and not unaware else 1


def _print(sums: dict[str, Any], *, is_done: bool) -> None:
    from mirror.cli.tables import size_text

    if not sums["keys"]:
        click.echo("nothing of it is stored")
        return
    begins = "purged" if is_done else "would purge"
    absences = f" ({sums['absences']:,} of them absences)" if sums["absences"] else ""
    click.echo(
        f"{begins} {sums['keys']:,} keys{absences}, {sums['blobs']:,} files,"
        f" {size_text(sums['freed_bytes'])}"
    )
    if not is_done:
        click.echo("nothing happened; say --yes to do it")

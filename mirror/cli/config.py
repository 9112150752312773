"""`rust-mirror config show` and `config check`.

Runs in: commands.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from mirror.cli.options import config_options, sources_of
from mirror.config import S3, Config
from mirror.config_sources import to_toml


@click.group()
def config() -> None:
    """Show or check the configuration.

    \b
    Examples:
      rust-mirror config show
      rust-mirror config check --config mirror.toml
    """


@config.command()
@config_options
@click.option("--origin", is_flag=True, help="Say for each value where it comes from.")
def show(config_file: Path | None, settings: tuple[str, ...], origin: bool) -> int:
    """Print the effective configuration as a file."""
    loaded = sources_of(config_file, settings).load_with_origins()
    click.echo(to_toml(loaded.config, loaded.origins if origin else None), nl=False)
    return 0


@config.command()
@config_options
def check(config_file: Path | None, settings: tuple[str, ...]) -> int:
    """Check the configuration and the files that it names; exit code 1 when one is unusable."""
    # Here, because this brings in `cryptography`, which no worker may hold (workers are forked).
    from mirror.fill.release_key import check_key_file

    loaded = sources_of(config_file, settings).load_usable()
    from mirror.accounting.group_files import load_groups
    from mirror.accounting.price_file import load_prices
    from mirror.supervisor.tls_context import load_credentials

    groups = load_groups(loaded.config.accounting.groups)
    prices = load_prices(loaded.config.accounting.prices)
    check_key_file(loaded.config.trust)
    load_credentials(loaded.config.serve)
    click.echo(f"ok: {loaded.file or 'built-in defaults'}")
    upstream = loaded.config.upstream
    urls = (*upstream.releases.urls, *upstream.crates.urls, *upstream.index.urls)
    for advice in (*_advice(loaded.config), *prices.unknown_names(groups.names, urls)):
        click.echo(f"advice: {advice}", err=True)
    return 0


def _advice(config: Config) -> Iterator[str]:
    if not config.upstream.contact:
        yield "set upstream.contact, so that upstreams can reach you"
    for name in ("releases", "crates", "index"):
        section = getattr(config.upstream, name)
        if section.s3 != S3() and not any(url.startswith("s3://") for url in section.urls):
            yield f"upstream.{name}.s3 is not used: no URL of upstream.{name} begins with s3://"

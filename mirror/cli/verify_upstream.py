"""`rust-mirror verify --against-upstream`.

Rules:
1. The pools are those of the configuration; requests carry this mirror's own name in CDN-Loop, so
   that an upstream that leads back here is refused instead of compared with itself.

Runs in: commands (aiohttp is imported here; `serve` never imports this).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click
import orjson

from mirror.cli.upstream_manners import NoMeter, Silence, own_token
from mirror.cli.verify_names import join_crates, keys_of
from mirror.cli.verify_progress import Progress
from mirror.clock import SystemClock
from mirror.config import Config
from mirror.errors import StoreError
from mirror.jobs.shelf import Shelf, open_shelf
from mirror.jobs.upstream_check import UpstreamCheck, UpstreamReport, Verdict
from mirror.route.route import UpstreamName
from mirror.store.entry import Entry
from mirror.upstream.pools import open_pools

_SHOWN = 1000
# What an operator must see first.
_ORDER = (Verdict.ALARM, Verdict.UNREACHABLE, Verdict.DELETED, Verdict.NEWER, Verdict.UNCLEAR)


def compare(config: Config, names: Sequence[str], *, as_json: bool) -> int:
    """Compare what `names` mean, or everything; return the exit code."""
    keys = [keys_of(name, config) for name in join_crates(names)]
    with open_shelf(config.store.path) as shelf:
        entries = _named(shelf, keys) if keys else _all(shelf)
        with Progress(is_shown=not as_json) as progress:
            extent = shelf.index.extent()
            progress.begin_comparing(len(keys) or extent.entries)
            report = asyncio.run(_run(config, shelf, entries, progress))
    if as_json:
        click.echo(_json(report))
    else:
        _print(report)
    return 0 if report.is_good else 1


async def _run(
    config: Config, shelf: Shelf, entries: Iterator[Entry], progress: Progress
) -> UpstreamReport:
    pools = open_pools(
        config.upstream,
        own_token=own_token(config.state.path),
        meter=NoMeter(),
        clock=SystemClock(),
        log=Silence(),
    )
    try:
        upstreams = {name: pools[name.value] for name in UpstreamName}
        return await UpstreamCheck(upstreams, shelf).run(entries, progress)
    finally:
        await pools.aclose()


def _all(shelf: Shelf) -> Iterator[Entry]:
    last = ""
    while page := shelf.index.entries_after(last):
        yield from (row.entry for row in page)
        last = page[-1].entry.key


def _named(shelf: Shelf, keys: Sequence[Sequence[str]]) -> Iterator[Entry]:
    for meant in keys:
        stored = next((s for key in meant if (s := shelf.lookup(key))), None)
        if stored is None:
            raise StoreError(meant[0], "is not stored here", noun="object", retryable=False)
        yield stored.entry


def _print(report: UpstreamReport) -> None:
    from rich.console import Console

    from mirror.cli.verify_page import print_line

    console = Console(highlight=False)
    for verdict in _ORDER:
        for found in [item for item in report.told if item.verdict is verdict][:_SHOWN]:
            print_line(console, f"{verdict.value}: {found.key}: {found.reason}")
            if verdict is Verdict.ALARM:
                print_line(console, "  it must never change; the stored one is kept and served")
    counts = ", ".join(f"{count:,} {name}" for name, count in report.counts.items() if count)
    print_line(console, counts or "nothing is stored")


def _json(report: UpstreamReport) -> str:
    told = [
        {**asdict(found), "verdict": found.verdict.name.lower()}
        for verdict in _ORDER
        for found in report.told
        if found.verdict is verdict
    ]
    counts = {each.name.lower(): report.counts[each.value] for each in Verdict}
    document = {"is_good": report.is_good, "counts": counts, "objects": told}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()

"""What the scenarios of a CI day share: the simulator's objects as a catalogue, groups, the mirror.

Rules:
1. Groups are told apart as operators do: by network, by a trusted proxy's field, by none.
2. Each group's clients connect in one way or two, so that the ledger's dimension of groups is also
   one of transports: "plain" speaks nothing but HTTP/1.1 in plaintext.

Runs in: tests.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ci_clients import Place, network_of
from benchmarks.ci_traffic import (
    Catalogue,
    CratePair,
    Item,
    RunnerGroup,
    Toolchain,
    Transport,
)
from mirror.accounting.history import Step
from mirror.cli.history import open_history
from mirror.simulator.crate_graph import first_crates
from mirror.simulator.registry import index_path
from tests.scenario.edge import Edge
from tests.scenario.upstream_objects import DAY
from tests.tls_files import client_context, make_server, settings_of

PLAIN, CLOUD, FARM, OTHERS = range(4)
GROUP_NAMES = ("plain", "cloud", "farm", "other")
FARM_FIELD = "X-Runner-Group"
GROUPS = (
    RunnerGroup(name="plain", share=0.5, cold_ratio=0.4, abandons=False),
    RunnerGroup(
        name="cloud", share=0.3, cold_ratio=0.7, transports=(Transport.UPGRADE,), abandons=False
    ),
    RunnerGroup(
        name="farm",
        share=0.15,
        cold_ratio=0.1,
        transports=(Transport.TLS, Transport.TLS_HTTP2),
        abandons=False,
    ),
    RunnerGroup(
        name="other", share=0.05, cold_ratio=0.5, transports=(Transport.PLAIN, Transport.TLS)
    ),
)
FIELDS_OF_GROUP: tuple[dict[str, str], ...] = ({}, {}, {FARM_FIELD: "night-farm"}, {})
ARCHIVE_BYTES = (700_000, 1_500_000, 2_600_000)  # cargo, rust-std, rustc, forty times smaller


_GROUPS_FILE = f"""
[[group]]
name = "plain"
networks = ["{network_of(PLAIN)}"]

[[group]]
name = "cloud"
networks = ["{network_of(CLOUD)}"]

[[group]]
name = "farm"
header = "{FARM_FIELD}"
header_values = ["night-farm"]
"""
# Prices of nobody, so high that a compressed day costs something, with every kind of key.
_PRICES = """
version = 1
currency = "EUR"

[[price]]
name = "releases"
payer = "upstream"
upstreams = ["releases"]
gigabyte = "GiB"
free_gigabytes = 0.001
tiers = [{ up_to_gigabytes = 0.02, price = 912.345678 }, { price = 456.7 }]
per_10000_requests = 12.5
free_requests = 20

[[price]]
name = "crates and index"
payer = "upstream"
upstreams = ["crates", "index"]
others_gigabytes = 10
tiers = [{ up_to_gigabytes = 10.005, price = 99.999999 }, { price = 33.3 }]

[[price]]
name = "cloud's gateway"
payer = "us"
groups = ["cloud"]
tiers = [{ price = 45 }]

[[price]]
name = "our fetches"
payer = "us"
tiers = [{ price = 17.5 }]

[[price]]
name = "sending to the cloud"
payer = "us"
path = "egress"
groups = ["cloud"]
tiers = [{ price = 9.01 }]
per_10000_requests = 0.333333
"""


def simulated_catalogue(*, releases: int = 3, divisor: int = 1) -> Catalogue:
    """Return the simulator's first objects; archives are the `big` ones of its dist tree.

    `divisor` makes archives smaller.
    """
    newest = {package.name: package for package in first_crates(1)}
    pairs = tuple(
        CratePair(
            index=Item(target=f"/index{index_path(name)}", length_bytes=500),
            crate=Item(
                target=f"/crates/{name}/{name}-{package.version}.crate",
                length_bytes=len(package.payload) + 300,
            ),
        )
        for name, package in newest.items()
    )
    return Catalogue(
        crates=pairs,
        toolchains=tuple(_toolchain(number, divisor) for number in range(releases)),
        extras=(Item(target="/rustup/release-stable.toml", length_bytes=50),),
        absent=tuple(f"/index/ab/se/absent-{number}" for number in range(4)),
        config=Item(target="/index/config.json", length_bytes=80),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Where a mirror keeps its accounts in a scenario; `settings` make it do so."""

    folder: Path
    log: Path
    prices: Path
    authority: Path
    settings: dict[str, str]


def open_books(folder: Path) -> Books:
    """Write certificate, groups and prices into a folder."""
    made = make_server(folder / "certificate")
    log, prices, groups = (folder / name for name in ("access.jsonl", "prices.toml", "groups.toml"))
    prices.write_text(_PRICES)
    groups.write_text(_GROUPS_FILE)
    return Books(
        folder=folder,
        log=log,
        prices=prices,
        authority=made.authority,
        settings={
            **settings_of(made),
            "serve.trusted_proxies": network_of(FARM),
            "log.access": str(log),
            "accounting.groups": str(groups),
            "accounting.prices": str(prices),
            "accounting.downloads": "true",
        },
    )


def place_of(edge: Edge, books: Books) -> Place:
    return Place(
        port=edge.port,
        tls_port=edge.tls_port,
        trust=lambda: client_context(books.authority),
        fields_of_group=FIELDS_OF_GROUP,
    )


def report_of(edge: Edge, books: Books, *, by: str) -> dict[str, Any]:
    """Return what `rust-mirror report --format json` says of the last day."""
    command = [sys.executable, "-m", "mirror", "report", "--since", "1d", "--format", "json"]
    command += ["--by", by, "--top", "50", "--config", str(edge.root / "mirror.toml")]
    settings = {
        "state.path": edge.state,
        "store.path": edge.store,
        "accounting.prices": books.prices,
    }
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    printed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert printed.returncode == 0, printed.stderr
    document: dict[str, Any] = json.loads(printed.stdout)
    return document


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSums:
    """Everything that the ledger has: served by group, fetched by class."""

    served: dict[str, Counter[str]]
    fetched: dict[str, Counter[str]]


def ledger_of(edge: Edge) -> LedgerSums:
    """Read the ledger as commands do."""
    served: defaultdict[str, Counter[str]] = defaultdict(Counter)
    fetched: defaultdict[str, Counter[str]] = defaultdict(Counter)
    with open_history(str(edge.state)) as history:
        for line in history.served(0, float("inf"), Step.HOUR):
            served[line.group].update(line.columns)
        for each in history.fetched(0, float("inf"), Step.HOUR):
            fetched[each.content_class].update(each.columns)
    return LedgerSums(served=dict(served), fetched=dict(fetched))


def _toolchain(number: int, divisor: int) -> Toolchain:
    channel = ("stable", "beta", "1.94")[number % 3]
    head = f"/dist/channel-rust-{channel}.toml"
    return Toolchain(
        digest=Item(target=f"{head}.sha256", length_bytes=90),
        manifest=Item(target=head, length_bytes=15_000),
        archives=tuple(
            Item(target=f"/dist/{DAY}/big-{length}-ci.tar.gz", length_bytes=length)
            for length in (size // divisor + number for size in ARCHIVE_BYTES)
        ),
    )

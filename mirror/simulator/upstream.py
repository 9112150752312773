"""The simulated upstream: three hosts' objects and how they change.

Rules:
1. Everything the first tree holds follows from the options alone; only the signing key differs
   from run to run.
2. Releases carry noon of their day as Last-Modified, crates published later the current time.

Units: Unix seconds. Does not: serve (`listeners.py`) or count (`tally.py`).
Runs in: simulator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mirror.simulator.channel_flips import ChannelFlips
from mirror.simulator.crate_graph import YANKED_CRATE, YANKED_VERSION, first_crates
from mirror.simulator.crate_package import Dependency, PackageSpec
from mirror.simulator.dist_tree import DistTree
from mirror.simulator.openpgp_signer import Signer
from mirror.simulator.overlay import Overlay
from mirror.simulator.published import Published, Shelf, Site
from mirror.simulator.registry import Registry, crate_path
from mirror.simulator.releases import (
    Release,
    beta_release,
    first_releases,
    nightly_release,
    stable_release,
)
from mirror.simulator.rustup_files import FIRST_RUSTUP, RustupFiles

DEFAULT_HOST = "x86_64-unknown-linux-gnu"
UPSTREAM_DL = "https://static.crates.io/crates"
_FIRST_AT = 1_772_712_000  # noon of the first stable release's day


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """What the first tree depends on."""

    seed: int = 1
    host_triple: str = DEFAULT_HOST
    dl: str = "upstream"  # or "local": config.json names this simulator's crates listener
    rustup_binary: Path | None = None
    rustup_version: str = FIRST_RUSTUP
    payload_scale: int = 1
    gzip_index: bool = False  # index files are gzip-coded for clients that accept it

    def __post_init__(self) -> None:
        if self.dl not in ("upstream", "local"):
            raise ValueError(f"dl = {self.dl!r}: upstream or local")
        if self.payload_scale < 1:
            raise ValueError(f"payload_scale = {self.payload_scale}: 1 or more")


class SimulatedUpstream:
    """What the three hosts hold."""

    def __init__(self, options: SimulatorOptions) -> None:
        self.options = options
        self.signer = Signer()
        self._releases, self._crates, self._index = Shelf(), Shelf(), Shelf()
        self.dist = DistTree(
            self._releases,
            self.signer,
            seed=options.seed,
            host=options.host_triple,
            payload_scale=options.payload_scale,
        )
        self.rustup = RustupFiles(
            self._releases,
            host=options.host_triple,
            binary=options.rustup_binary,
            version=options.rustup_version,
        )
        self.registry = Registry(self._crates, self._index)
        self.overlay = Overlay()
        self.flips = ChannelFlips(self.dist, self.overlay)
        self._other_signer: Signer | None = None
        self._advanced = {"stable": 0, "beta": 0, "nightly": 0}
        for release in first_releases():
            self.dist.publish(release)
        self.dist.publish_key(_FIRST_AT)
        self.rustup.publish_next(_FIRST_AT)
        self.registry.publish(first_crates(options.seed), _FIRST_AT)
        self.registry.yank(YANKED_CRATE, YANKED_VERSION, yanked=True, at=_FIRST_AT)
        self.registry.publish_config(UPSTREAM_DL, _FIRST_AT)

    def name_crates_url(self, crates_url: str) -> None:
        """With `dl = "local"`, let config.json name the listener that exists."""
        if self.options.dl == "local":
            self.registry.publish_config(f"{crates_url}/crates", _FIRST_AT)

    def find(self, site: Site, path: str) -> Published | None:
        """Return the object that is served at `path` of one host."""
        if site is Site.RELEASES:
            return self.overlay.over(site, path, self.dist.find(path))
        if site is Site.INDEX:
            return self.overlay.over(site, path, self._index.find(path))
        path = _canonical_crate_path(path)
        return self.overlay.over(site, path, self._crates.find(path))

    def key_named(self, name: str) -> Signer:
        """Return the "release" key, or the "other" one, which nobody pins.

        Raises: ValueError for another name.
        """
        if name == "release":
            return self.signer
        if name != "other":
            raise ValueError(f"key {name!r}: release or other")
        self._other_signer = self._other_signer or Signer()
        return self._other_signer

    def advance(self, channel: str) -> str:
        """Publish the next release of a channel, or of "rustup"; return its number or date.

        Raises: ValueError for an unknown channel.
        """
        if channel == "rustup":
            return self.rustup.publish_next(_FIRST_AT + 86400)
        if channel not in self._advanced:
            raise ValueError(f"channel {channel!r}: {', '.join(self._advanced)} or rustup")
        self._advanced[channel] += 1
        release = _next_release(channel, self._advanced[channel])
        self.dist.publish(release)
        return str(release.day) if channel == "nightly" else release.number

    def publish_crate(
        self, name: str, version: str, dependencies: Sequence[Dependency], at: float
    ) -> None:
        """Publish one version; its bytes depend on the time, so a republished one differs."""
        payload = f"{name} {version} {at}\n".encode()
        spec = PackageSpec(name=name, version=version, dependencies=dependencies, payload=payload)
        self.registry.publish([spec], int(at))


def _next_release(channel: str, index: int) -> Release:
    match channel:
        case "stable":
            return stable_release(index)
        case "beta":
            return beta_release(index)
        case _:
            return nightly_release(index)


def _canonical_crate_path(path: str) -> str:
    """Apply the CDN's internal rewrite of `/crates/{name}/{version}/download`."""
    parts = path.split("/")
    if len(parts) == 5 and parts[4] == "download":
        return crate_path(parts[2], parts[3])
    return path

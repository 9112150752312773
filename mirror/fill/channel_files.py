"""The three files of a channel, and why what upstream has of them is not taken over.

Runs in: keeper. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from mirror.errors import UpstreamError
from mirror.fill.small_fetch import Fetched
from mirror.route.dist import channel_of
from mirror.route.match import route_of_key
from mirror.route.proofs import sibling
from mirror.route.route import Kind, Route


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFiles:
    """The three routes of one channel; `date` is "" for an undated one."""

    name: str
    date: str
    manifest: Route
    digest: Route
    signature: Route

    @property
    def routes(self) -> tuple[Route, ...]:
        return (self.manifest, self.digest, self.signature)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(route.key for route in self.routes)

    @property
    def is_dated(self) -> bool:
        return bool(self.date)

    def generation(self, manifest_digest: bytes) -> str:
        """Return the name of the generation with this manifest: the `voucher` of its entries."""
        return f"{self.manifest.key}@{manifest_digest.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """Three files whose digest agrees; `signature` None: upstream has none."""

    manifest: Fetched
    digest: Fetched
    signature: Fetched | None


class GenerationError(UpstreamError):
    """Upstream's files are not taken over; `date` is that of the manifest that came, or ""."""

    event = "channel-refused"

    def __init__(self, key: str, reason: str, *, date: str = "") -> None:
        super().__init__(key, reason)
        self.date = date


class SkewError(GenerationError):
    """Upstream's files are of two generations, or not all there; they agree again soon."""

    event = "channel-skew"

    def __init__(self, key: str, *, stated: str, got: str, date: str = "") -> None:
        super().__init__(key, f"the .sha256 states {stated}, the manifest is {got}", date=date)
        self.stated = stated
        self.got = got


class TornError(GenerationError):
    """One of the three is missing while another is there."""

    event = "channel-skew"


class RefusedError(GenerationError):
    """The signature does not vouch for this manifest, or the manifest is not of this name."""


class RollbackError(GenerationError):
    """Older than what this channel has had here."""

    event = ""  # told with the line that accepts it (fill.held)


class AheadError(GenerationError):
    """Of a day that has not come; without `date`, as no other directory is worth a look for it."""

    event = ""  # told as a rollback is


def channel_files(route: Route) -> ChannelFiles | None:
    """The generation that `route` is a file of; None for every other kind."""
    channel = channel_of(route) if route.kind is Kind.CHANNEL else None
    if channel is None:
        return None
    return _files(channel.name, channel.date or "", f"{route.upstream.value}:{channel.base_path}")


def dated_files(files: ChannelFiles, date: str) -> ChannelFiles | None:
    """The same channel below the directory of `date`; None when that is no date."""
    upstream = files.manifest.upstream.value
    return _files(files.name, date, f"{upstream}:/dist/{date}/channel-rust-{files.name}")


def _files(name: str, date: str, base_key: str) -> ChannelFiles | None:
    manifest = route_of_key(base_key + ".toml")
    if manifest is None or manifest.kind is not Kind.CHANNEL:
        return None
    return ChannelFiles(
        name=name,
        date=date,
        manifest=manifest,
        digest=sibling(manifest, ".sha256"),
        signature=sibling(manifest, ".asc"),
    )

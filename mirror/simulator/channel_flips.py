"""Flips: another generation of a channel at once and for next to nothing, whole or torn.

Rules:
1. A flip publishes the channel's manifest with the next day's date, signed, in the dated directory
   and at the head. It names the archives of the release before it, so nothing else is made.
2. A channel by version that was never published (`1.60`) begins with stable's manifest, in which
   every package gets that version.
3. What is held back, or put there by `roll_back`, is the former generation's file, served over the
   published one; the dated directory is always whole.

Does not: change the plan of releases (`advance` goes on where it was).
Runs in: simulator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, timedelta

from mirror.simulator.dist_tree import DistTree
from mirror.simulator.overlay import Overlay
from mirror.simulator.published import Site

# The three files of a generation, by what follows the manifest's path.
SUFFIXES = {"toml": "", "sha256": ".sha256", "asc": ".asc"}
_CHANNEL = re.compile(r"stable|beta|nightly|[0-9]+\.[0-9]+(\.[0-9]+)?")
_VERSION = re.compile(rb'^version = "[0-9.]+ \(', re.MULTILINE)
_DATE = re.compile(rb'^date = "(\d{4}-\d\d-\d\d)"$', re.MULTILINE)


class ChannelFlips:
    """Flips the channels of one dist tree."""

    def __init__(self, dist: DistTree, overlay: Overlay) -> None:
        self._dist = dist
        self._overlay = overlay

    def flip(self, channel: str, *, held_back: Iterable[str] = ()) -> tuple[str, str]:
        """Publish the next generation; return its date and its manifest's sha256 in hex.

        The head files named by `held_back` ("toml", "sha256", "asc") stay the former ones.
        Raises: ValueError for an unknown channel or file, or nothing former to hold back.
        """
        if _CHANNEL.fullmatch(channel) is None:
            raise ValueError(f"channel {channel!r}: stable, beta, nightly, 1.60 or 1.60.0")
        held_back = _checked(held_back)
        if held_back and self._dist.find(_head(channel)) is None:
            raise ValueError(f"channel {channel!r} has nothing former to hold back")
        self.settle(channel)
        text = self._text(channel) or self._first_text(channel)
        match = _DATE.search(text)
        if match is None:
            raise ValueError(f"channel {channel!r}: its manifest has no date")
        day = date.fromisoformat(match[1].decode()) + timedelta(days=1)
        text = text[: match.start(1)] + str(day).encode() + text[match.end(1) :]
        self._dist.publish_manifest(f"channel-rust-{channel}", day, text)
        self._put_back(channel, held_back)
        published = self._dist.find(_head(channel))
        return str(day), published.content.sha256.hex() if published else ""

    def settle(self, channel: str, files: Iterable[str] = tuple(SUFFIXES)) -> None:
        """Serve the published head files again, all or those named."""
        for name in _checked(files):
            self._overlay.lift(Site.RELEASES, _head(channel) + SUFFIXES[name])

    def hold_back(self, channel: str, files: Iterable[str]) -> None:
        """Tear the head after whatever published it: the named files are the former ones again.

        Raises: ValueError for an unknown file, or when there is no former one.
        """
        self.settle(channel)
        self._put_back(channel, _checked(files))

    def roll_back(self, channel: str) -> None:
        """Serve the former generation's three files at the head: valid, and of yesterday.

        Raises: ValueError when there was none.
        """
        self._put_back(channel, SUFFIXES)

    def _put_back(self, channel: str, files: Iterable[str]) -> None:
        for name in files:
            path = _head(channel) + SUFFIXES[name]
            published = self._dist.find(path)
            if published is None or published.former is None:
                raise ValueError(f"{path} has no former generation")
            self._overlay.put(Site.RELEASES, path, published.former)

    def _first_text(self, channel: str) -> bytes:
        number = channel if channel.count(".") == 2 else f"{channel}.0"
        return _VERSION.sub(f'version = "{number} ('.encode(), self._text("stable"))

    def _text(self, channel: str) -> bytes:
        published = self._dist.find(_head(channel))
        return published.content.read(0, published.content.length) if published else b""


def _checked(files: Iterable[str]) -> tuple[str, ...]:
    names = tuple(files)
    for name in names:
        if name not in SUFFIXES:
            raise ValueError(f"file {name!r}: {', '.join(SUFFIXES)}")
    return names


def _head(channel: str) -> str:
    return f"/dist/channel-rust-{channel}.toml"

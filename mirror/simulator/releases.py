"""Releases: which toolchain releases the simulated upstream publishes, and in which order.

Rules:
1. Dates are fixed, so that a seed gives the same tree on every day.
2. The plan never ends: after the scripted releases each channel goes on (stable every 42 days,
   nightly every day).
3. The nightlies of the first tree make rustup backtrack for the default profile: the newest lacks
   clippy, the one before lacks rustfmt, one lacks clippy again, one day has no nightly at all.

Runs in: simulator.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

HOST_PACKAGES = ("rustc", "cargo", "rust-docs", "rustfmt-preview", "clippy-preview")
EXTRA_TARGETS = ("wasm32-unknown-unknown",)
NEWEST_NIGHTLY = date(2026, 5, 20)
_FIRST_STABLE_MINOR, _FIRST_STABLE = 94, date(2026, 3, 5)
_STABLE_INTERVAL = timedelta(days=42)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release of one channel."""

    channel: str  # "stable", "beta" or "nightly"
    number: str  # "1.95.0", "1.96.0-beta.1", "1.97.0-nightly"
    day: date
    missing: tuple[str, ...] = ()  # packages that this release lacks on the host target
    signed_with: str = "sha512"  # the hash of its signatures; "": it has none
    is_legacy: bool = False  # of long ago: no head of a channel is this release any more

    @property
    def file_version(self) -> str:
        """The version as file names have it: the number for stable, else the channel."""
        return self.number if self.channel == "stable" else self.channel

    @property
    def full_version(self) -> str:
        commit = hashlib.sha256(f"{self.channel} {self.number} {self.day}".encode()).hexdigest()[:9]
        return f"{self.number} ({commit} {self.day - timedelta(days=2)})"

    @property
    def published_at(self) -> int:
        return noon_of(self.day)

    @property
    def manifest_names(self) -> tuple[str, ...]:
        """The stems of the channel manifests that this release replaces."""
        head = f"channel-rust-{self.channel}"
        if self.channel != "stable":
            return (head,)
        minor = self.number.rpartition(".")[0]
        by_version = (f"channel-rust-{minor}", f"channel-rust-{self.number}")
        return by_version if self.is_legacy else (head, *by_version)


def noon_of(day: date) -> int:
    """Return the Unix seconds of that day's noon."""
    return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp())


def first_releases() -> list[Release]:
    """Return what the tree holds at start, oldest first."""
    return [
        stable_release(0),
        beta_release(0),
        *(nightly_release(day) for day in (-5, -4, -2, -1, 0)),
    ]


def stable_release(index: int) -> Release:
    """Return the stable release that follows the first one by `index` cycles."""
    return Release(
        channel="stable",
        number=f"1.{_FIRST_STABLE_MINOR + index}.0",
        day=_FIRST_STABLE + index * _STABLE_INTERVAL,
    )


def beta_release(index: int) -> Release:
    return Release(
        channel="beta",
        number=f"1.96.0-beta.{index + 1}",
        day=date(2026, 4, 18) + index * timedelta(days=7),
    )


def legacy_release(channel: str, number: str, day: date, signed_with: str) -> Release:
    """Return a release of long ago; `signed_with` is a hash's name, or "" for no signature."""
    return Release(channel=channel, number=number, day=day, signed_with=signed_with, is_legacy=True)


def nightly_release(day: int) -> Release:
    """Return the nightly `day` days after the newest of the first tree (negative: before)."""
    missing = {
        -2: ("clippy-preview",),
        -1: ("rustfmt-preview",),
        0: ("clippy-preview",),
    }
    return Release(
        channel="nightly",
        number="1.97.0-nightly",
        day=NEWEST_NIGHTLY + timedelta(days=day),
        missing=missing.get(day, ()),
    )

"""The trust section of `status`: what is demanded, how new the channels are, what is held or aside.

Rules:
1. The policy is the configuration's and is shown without the keeper; the rest is the keeper's.
2. Lists are bounded; their whole length is told beside them.

Units: `_s` seconds, `_at` Unix seconds, `_bytes` bytes.
Runs in: keeper and commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mirror.config import Config
from mirror.store.quarantine import QuarantineSummary, Reason

SHOWN_HELD: Final = 100
SHOWN_LEGACY: Final = 100
_KEY_PATH: Final = "/rust-key.gpg.ascii"


class ChannelView(Protocol):
    """One channel's newest generation."""

    @property
    def name(self) -> str: ...

    @property
    def date(self) -> str: ...

    @property
    def age_s(self) -> float: ...

    @property
    def is_frozen(self) -> bool: ...

    @property
    def proof(self) -> str: ...

    @property
    def confirmed_at(self) -> float: ...


class HeldView(Protocol):
    """Something that upstream offers and this mirror does not take over."""

    @property
    def key(self) -> str: ...

    @property
    def reason(self) -> str: ...

    @property
    def accept(self) -> str: ...

    @property
    def since(self) -> float: ...


class FillerView(Protocol):
    """What the filler knows of trust."""

    @property
    def held(self) -> Iterable[HeldView]: ...

    def channel_states(self) -> Sequence[ChannelView]: ...

    def legacy_channels(self) -> Sequence[str]: ...


class QuarantineView(Protocol):
    def summary(self) -> QuarantineSummary: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustView:
    """What the living keeper adds."""

    filler: FillerView
    quarantine: QuarantineView


def trust_section(config: Config, view: TrustView | None, now: float) -> dict[str, Any]:
    """Return the section, ready for JSON."""
    trust = config.trust
    section: dict[str, Any] = {
        "policy": {
            "channel_manifest": trust.channel_manifest,
            "archive": trust.archive,
            "unverified_ranges": trust.unverified_ranges,
        },
        "release_key": {
            "source": trust.release_key_file or _from_upstream(config),
            "fingerprints": list(trust.release_key_fingerprints),
        },
    }
    if view is not None:
        section |= _living(view, now)
    return section


def _from_upstream(config: Config) -> str:
    return " or ".join(url.rstrip("/") + _KEY_PATH for url in config.upstream.releases.urls)


def _living(view: TrustView, now: float) -> dict[str, Any]:
    held, legacy = list(view.filler.held), list(view.filler.legacy_channels())
    return {
        "channels": [_channel(state) for state in view.filler.channel_states()],
        "legacy_channels": legacy[:SHOWN_LEGACY],
        "legacy_channels_total": len(legacy),
        "held": [_held(item) for item in held[:SHOWN_HELD]],
        "held_total": len(held),
        "quarantine": _quarantine(view.quarantine.summary(), now),
    }


def _channel(state: ChannelView) -> dict[str, Any]:
    return {
        "name": state.name,
        "date": state.date,
        "age_s": round(state.age_s),
        "is_frozen": state.is_frozen,
        "proof": state.proof,
        "confirmed_at": state.confirmed_at,
    }


def _held(item: HeldView) -> dict[str, Any]:
    return {"key": item.key, "reason": item.reason, "since_at": item.since, "accept": item.accept}


def _quarantine(summary: QuarantineSummary, now: float) -> dict[str, Any]:
    oldest_at = summary.oldest_at
    return {
        "count": summary.count,
        "used_bytes": summary.used_bytes,
        "oldest_age_s": None if oldest_at is None else round(max(0.0, now - oldest_at)),
        "newest": [_reason(reason) for reason in summary.newest],
    }


def _reason(reason: Reason) -> dict[str, Any]:
    return {
        "keys": list(reason.keys),
        "reason": reason.reason,
        "expected": reason.expected,
        "got": reason.got,
        "size_bytes": reason.length,
        "taken_at": reason.at,
    }

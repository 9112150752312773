"""The trust section: the policy always, the rest from the living keeper, in bounded lists."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from mirror.config import Config, Trust
from mirror.control.trust import SHOWN_HELD, SHOWN_LEGACY, ChannelView, TrustView, trust_section
from mirror.fill.channel_states import ChannelState
from mirror.fill.held import Held
from mirror.store.quarantine import QuarantineSummary, Reason

NOW = 2_000_000_000.0


class Filler:
    @property
    def held(self) -> Iterable[Held]:
        return [Held(key=f"k{n}", reason="r", accept=f"a{n}", since=NOW) for n in range(150)]

    def channel_states(self) -> Sequence[ChannelView]:
        return [
            ChannelState(
                name="beta", date="2026-01-01", age_s=12.6, is_frozen=True, proof="", confirmed_at=0
            )
        ]

    def legacy_channels(self) -> Sequence[str]:
        return [f"l{n}" for n in range(400)]


class Aside:
    def __init__(self, oldest_at: float | None) -> None:
        self._oldest_at = oldest_at

    def summary(self) -> QuarantineSummary:
        reason = Reason(keys=("k",), expected="e", got="g", length=3, reason="r", at=NOW - 5)
        return QuarantineSummary(count=1, used_bytes=3, oldest_at=self._oldest_at, newest=(reason,))


def test_policy_and_key_source_need_no_keeper() -> None:
    section = trust_section(Config(), None, NOW)
    assert section["release_key"]["source"] == "https://static.rust-lang.org/rust-key.gpg.ascii"
    assert "quarantine" not in section
    file = trust_section(Config(trust=Trust(release_key_file="/k")), None, NOW)
    assert file["release_key"]["source"] == "/k"


def test_lists_are_bounded_and_their_length_is_told() -> None:
    section = trust_section(Config(), TrustView(filler=Filler(), quarantine=Aside(NOW - 9)), NOW)
    assert (len(section["held"]), section["held_total"]) == (SHOWN_HELD, 150)
    assert (len(section["legacy_channels"]), section["legacy_channels_total"]) == (
        SHOWN_LEGACY,
        400,
    )
    assert section["channels"][0]["age_s"] == 13
    assert section["channels"][0]["is_frozen"] is True
    assert section["held"][0]["accept"] == "a0"
    quarantine = section["quarantine"]
    assert (quarantine["count"], quarantine["oldest_age_s"]) == (1, 9)
    assert quarantine["newest"][0]["taken_at"] == NOW - 5
    json.dumps(section)


def test_empty_quarantine_has_no_oldest() -> None:
    section = trust_section(Config(), TrustView(filler=Filler(), quarantine=Aside(None)), NOW)
    assert section["quarantine"]["oldest_age_s"] is None

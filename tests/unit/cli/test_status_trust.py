"""The trust section in plain words: alarms stand out, and say what to do."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from mirror.cli.status_trust import print_trust, trust_lines

NOW = 2_000_000_000.0
POLICY: dict[str, Any] = {
    "policy": {"channel_manifest": "signature", "archive": "digest", "unverified_ranges": "wait"},
    "release_key": {"source": "https://u/rust-key.gpg.ascii", "fingerprints": ["AA", "BB"]},
}
WELL: dict[str, Any] = {
    **POLICY,
    "channels": [],
    "legacy_channels": [],
    "legacy_channels_total": 0,
    "held": [],
    "held_total": 0,
    "quarantine": {"count": 0, "used_bytes": 0, "oldest_age_s": None, "newest": []},
}


def told(**members: Any) -> str:
    return "\n".join(trust_lines(WELL | members, NOW))


def channel(**members: Any) -> dict[str, Any]:
    return {"name": "stable", "date": "2026-03-05", "age_s": 86400 * 3, "is_frozen": False,
            "proof": "signed-generation", "confirmed_at": NOW - 42} | members  # fmt: skip


def test_policy_and_key_are_told_without_a_keeper() -> None:
    text = "\n".join(trust_lines(POLICY, NOW))
    assert "channel manifests by signature, archives by digest" in text
    assert "https://u/rust-key.gpg.ascii, accepted as AA, BB only" in text
    assert "unknown (keeper away)" in text


def test_channel_tells_date_age_and_proof() -> None:
    assert (
        "channel stable: newest manifest ever served is of 2026-03-05, 3 days old,"
        " signature verified, confirmed 42 s ago" in told(channels=[channel()])
    )
    assert "by its .sha256 only" in told(channels=[channel(proof="generation")])
    assert "not stored at the moment" in told(channels=[channel(proof="", confirmed_at=0.0)])


def test_frozen_channel_is_an_alarm_that_names_its_setting() -> None:
    text = told(channels=[channel(is_frozen=True)])
    assert "FROZEN" in text
    assert "trust.stable_frozen_after" in text


def test_what_is_held_comes_with_the_exact_line() -> None:
    item = {"key": "k", "reason": "changed", "since_at": NOW - 7200, "accept": "crate a 1.0.0 ff"}
    text = told(held=[item] * 12, held_total=12)
    assert "HELD k, for 2 h: changed" in text or "HELD k, for 120 min: changed" in text
    assert 'add "crate a 1.0.0 ff" to [trust] accept in the configuration file, and reload' in text
    assert "and 2 more" in text


def test_legacy_releases_are_listed_by_name() -> None:
    text = told(legacy_channels=[f"l{n}" for n in range(11)], legacy_channels_total=300)
    assert "digest only, no signature verifies: 300" in text
    assert "  l9\n" in text
    assert "and 290 more" in text


def test_quarantine_tells_number_size_age_and_reasons() -> None:
    item = {"keys": ["k"], "reason": "sha256 is another", "taken_at": NOW - 30}
    quarantine = {"count": 3, "used_bytes": 2048, "oldest_age_s": 300_000, "newest": [item]}
    text = told(quarantine=quarantine)
    assert "QUARANTINE: objects that failed their check: 3, 2.0 KiB, the oldest for 83 h" in text
    assert "30 s ago: k: sha256 is another" in text
    assert "quarantine: empty" in told()


def test_outside_text_drives_no_terminal() -> None:
    output = io.StringIO()
    item = {"key": "\x1b[31m[bold]", "reason": "r", "since_at": NOW, "accept": "a"}
    print_trust(Console(file=output), WELL | {"held": [item], "held_total": 1}, NOW)
    assert "?[31m[bold]" in output.getvalue()

"""`status` says in a line how far the scrub is, and of damage only where there was any."""

from __future__ import annotations

from typing import Any

import pytest

from mirror.cli.status_care import care_lines

QUIET: dict[str, Any] = {
    "is_enabled": True, "is_reading": False, "bytes_per_s": 0, "oldest_check_age_s": 7200,
    "healed_total": 0, "not_healed_total": 0, "healing": 0, "found_total": 0,
    "last_pass_ended_at": None, "last_pass_duration_s": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({}, ["scrub: resting; everything was hashed within the last 2 h"], id="quiet"),
        pytest.param(
            {"oldest_check_age_s": None}, ["scrub: resting; nothing is stored"], id="empty"
        ),
        pytest.param(
            {"is_enabled": False, "oldest_check_age_s": 2_000_000_000},
            ["scrub: OFF ([scrub] enabled); some files were never hashed since they were found"],
            id="off",
        ),
        pytest.param(
            {
                "is_reading": True, "bytes_per_s": 1 << 20, "found_total": 2, "healed_total": 3,
                "last_pass_ended_at": 1000.0, "last_pass_duration_s": 600.0,
            },
            [
                "scrub: reading 1.0 MiB/s; everything was hashed within the last 2 h;"
                " last full pass 2 h ago, it took 10 min",
                "damage since the keeper started: 2 files found by the scrub, 3 keys fetched anew,"
                " 0 not, 0 waiting",
            ],
            id="damage",
        ),
    ],
)  # fmt: skip
def test_lines(changes: dict[str, Any], told: list[str]) -> None:
    assert list(care_lines(QUIET | changes, 8200.0)) == told

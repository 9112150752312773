"""`mirror.verify.generations`: a manifest belongs to one name and date, and time goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.errors import VerificationError
from mirror.verify.channel_manifest import ManifestHead
from mirror.verify.generations import (
    HEADS,
    LegacyLimits,
    age_of,
    check_date,
    check_name,
    is_legacy,
    is_rollback,
)

LIMITS = LegacyLimits(date="2019-01-01", version="1.32")
VERSIONS = ("1.95.0", "1.95.1", "1.96.0-beta.1", "1.20.0-beta", "1.97.0-nightly", "1.0.0-alpha")
RIGHT = {
    "stable": {"1.95.0", "1.95.1"},
    "beta": {"1.96.0-beta.1", "1.20.0-beta"},
    "nightly": {"1.97.0-nightly"},
    "1.95": {"1.95.0", "1.95.1"},
    "1.95.1": {"1.95.1"},
    "1.96.0-beta": {"1.96.0-beta.1"},
    "1.96.0-beta.1": {"1.96.0-beta.1"},
    "1.20.0-beta": {"1.20.0-beta"},
    "1.0.0-alpha": {"1.0.0-alpha"},
    "1.9": set(),
    "1.96": set(),
    "1.96.0": set(),
    "9.95.0": set(),
}


def head_of(version: str, date: str = "2026-04-16") -> ManifestHead:
    return ManifestHead(date=date, rust_version=version)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", list(RIGHT))
def test_a_manifest_goes_under_the_names_of_its_version_only(name: str, version: str) -> None:
    if version in RIGHT[name]:
        check_name(head_of(version), name, "key")
        return
    with pytest.raises(VerificationError, match="key"):
        check_name(head_of(version), name, "key")


@pytest.mark.parametrize(
    "version",
    [
        "",
        "1.95",
        "1.95.0-dev",
        "1.95.0.",
        "1.95.x",
        "1.95.0-beta-nightly",
        "1.95.0\n",
        "\u0661.\u0669.\u0660",
    ],
)
@pytest.mark.parametrize("name", [*HEADS, "1.95", "1.95.0"])
def test_an_odd_version_goes_under_no_name(name: str, version: str) -> None:
    with pytest.raises(VerificationError):
        check_name(head_of(version), name, "key")


def test_a_dated_directory_has_the_manifest_of_its_date() -> None:
    check_date(head_of("1.95.0"), "2026-04-16", "key")
    with pytest.raises(VerificationError, match="2026-04-17"):
        check_date(head_of("1.95.0"), "2026-04-17", "key")


DATES = st.dates().map(lambda day: day.isoformat())


@given(DATES, DATES)
def test_only_an_earlier_date_is_a_rollback(one: str, other: str) -> None:
    assert is_rollback(one, other) == (one < other)
    assert not is_rollback(one, one)
    assert not is_rollback(one, "")


@pytest.mark.parametrize(
    ("name", "date", "expected"),
    [
        ("stable", "2018-12-31", True),
        ("stable", "2019-01-01", False),
        ("nightly", "2015-05-15", True),
        ("1.20.0", "2026-01-01", False),
        ("1.95.0", "2018-12-31", True),
        ("stable", "", False),
        ("beta", "", False),
        ("nightly", "", False),
        ("1.31", "", True),
        ("1.31.1", "", True),
        ("1.31.0-beta.3", "", True),
        ("1.8.0", "", True),
        ("0.12.0", "", True),
        ("1.32", "", False),
        ("1.32.0", "", False),
        ("1.100.0", "", False),
        ("2.0.0", "", False),
        ("master", "", False),
    ],
)
def test_what_is_legacy(name: str, date: str, *, expected: bool) -> None:
    assert is_legacy(name, date, LIMITS) is expected


@pytest.mark.parametrize("name", HEADS)
def test_no_limit_makes_a_head_legacy(name: str) -> None:
    assert not is_legacy(name, "", LegacyLimits(date="9999-12-31", version="999.0"))


@pytest.mark.parametrize(
    ("date", "now", "expected"),
    [("1970-01-02", 86400.0, 0.0), ("1970-01-01", 5.5, 5.5), ("2026-02-30", 9.0, 0.0), ("", 9, 0)],
)
def test_the_age_counts_from_midnight_utc(date: str, now: float, expected: float) -> None:
    assert age_of(date, now) == expected

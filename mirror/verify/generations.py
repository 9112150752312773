"""What binds a verified channel manifest to the name and the time that it is offered under.

A signature says who made the bytes, not which name or date they have: an older manifest, or that of
another channel, is as well signed. So these are read from what was signed.

Rules:
1. The manifest of stable has a version without suffix, beta's and nightly's their own; a channel by
   version has that version; the date of a dated directory is the manifest's.
2. A channel never goes back to an older date than it had here. The same date with other bytes is
   taken unless its signature is older: upstream may publish once more on a day.
3. A legacy release is one before the operator's two limits; the three heads never are.
4. A head whose newest manifest is older than its limit is frozen: releases may be hidden from us.
5. A manifest from after tomorrow is not taken: after it, every true one would be a step back.

Dates are "YYYY-MM-DD", so that their order is that of the text; "" is none. Ages are seconds.
Does not: fetch, verify signatures, or remember.
Runs in: keeper. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mirror.errors import VerificationError
from mirror.verify.channel_manifest import ManifestHead
from mirror.verify.digests import shown

HEADS: Final = ("stable", "beta", "nightly")
# A clock may be wrong by some hours, and a day begins 14 hours early in the east.
AHEAD_MAX_S: Final = 2 * 86400.0

_NUMBER = r"\d{1,3}\.\d{1,4}\.\d{1,4}"
_FORMS: Final = {
    "stable": re.compile(_NUMBER, re.ASCII),
    "beta": re.compile(rf"{_NUMBER}-beta(?:\.\d{{1,3}})?", re.ASCII),
    "nightly": re.compile(rf"{_NUMBER}-nightly", re.ASCII),
}
_VERSION: Final = re.compile(rf"{_NUMBER}(?:-[a-z]+(?:\.\d{{1,3}})?)?", re.ASCII)
_MINOR: Final = re.compile(r"(\d{1,3})\.(\d{1,4})(?![0-9])", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyLimits:
    """The operator's `[trust] legacy_before_date` and `legacy_before_version`."""

    date: str
    version: str


def check_name(head: ManifestHead, name: str, source: str) -> None:
    """Raise VerificationError unless this is a manifest of the channel `name`."""
    version = head.rust_version
    if _VERSION.fullmatch(version) is None:
        raise VerificationError(source, expected="a version of pkg.rust", got=shown(version))
    if name in _FORMS:
        is_right = _FORMS[name].fullmatch(version) is not None
    else:
        # "1.95" has 1.95.0 and its point releases; "1.95.0-beta" has 1.95.0-beta.2.
        is_right = version == name or _is_point_release(version, name)
    if not is_right:
        raise VerificationError(source, expected=f"a version of {name}", got=version)


def check_date(head: ManifestHead, date: str, source: str) -> None:
    """Raise VerificationError unless the manifest has the date of its directory."""
    if head.date != date:
        raise VerificationError(source, expected=f"the manifest of {date}", got=head.date)


def is_rollback(offered: str, newest: str) -> bool:
    """Say whether a channel whose newest date is `newest` would go back."""
    return offered < newest


def is_ahead(offered: str, now: float) -> bool:
    """Say whether a manifest of that date cannot have been made yet."""
    return age_of(offered, now) < -AHEAD_MAX_S


def is_legacy(name: str, date: str, limits: LegacyLimits) -> bool:
    """Say whether such a release may lack a signature that can be verified; `date` "": undated."""
    if date:
        return date < limits.date
    if name in HEADS:
        return False
    found, limit = _MINOR.match(name), _MINOR.match(limits.version)
    if found is None or limit is None:
        return False
    return (int(found[1]), int(found[2])) < (int(limit[1]), int(limit[2]))


def age_of(date: str, now: float) -> float:
    """Return the seconds since that day began (UTC); 0.0 for what is no day."""
    try:
        return now - datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _is_point_release(version: str, name: str) -> bool:
    tail = version.removeprefix(name + ".")
    return tail != version and tail.isascii() and tail.isdigit()

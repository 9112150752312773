"""`release-stable.toml`: which rustup is the newest; it never goes back.

rustup compares its own version with this one and then replaces itself by what lies in the archive
of that version, unverified: whoever turns this file back makes every client install an old rustup.

Rules:
1. `schema-version` is "1"; `version` is a semantic version, and the later of two is told by
   precedence (semver.org 2.0.0, section 11). Unknown keys are ignored.
2. The same version again is no rollback, whatever else the file says.

Does not: know the binaries (their `.sha256` does).
Runs in: keeper. Pure.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import Final

from mirror.errors import VerificationError
from mirror.verify.digests import shown

SCHEMA_VERSION: Final = "1"
_LABELS = r"[0-9A-Za-z-]{1,32}(?:\.[0-9A-Za-z-]{1,32}){0,7}"
_VERSION: Final = re.compile(
    rf"(\d{{1,6}})\.(\d{{1,6}})\.(\d{{1,6}})(?:-({_LABELS}))?(?:\+{_LABELS})?", re.ASCII
)

# (major, minor, patch), then pre-release labels: numbers sort below words, none above all.
_Order = tuple[tuple[int, int, int], int, tuple[tuple[int, int, str], ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RustupRelease:
    """`version` is as the file writes it."""

    version: str

    def is_before(self, version: str) -> bool:
        """Whether this release has a lower precedence than `version`. Raises ValueError."""
        return _order(self.version) < _order(version)


def parse_rustup_release(content: bytes, source: str) -> RustupRelease:
    """Raises VerificationError for everything that is not such a file."""
    try:
        document = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as exc:
        raise VerificationError(source, expected="TOML", got=shown(content)) from exc
    schema, version = document.get("schema-version"), document.get("version")
    if schema != SCHEMA_VERSION:
        raise VerificationError(
            source, expected=f'schema-version "{SCHEMA_VERSION}"', got=shown(repr(schema))
        )
    if not isinstance(version, str) or _VERSION.fullmatch(version) is None:
        raise VerificationError(source, expected="a version", got=shown(repr(version)))
    return RustupRelease(version=version)


def _order(version: str) -> _Order:
    found = _VERSION.fullmatch(version)
    if found is None:
        raise ValueError(version)
    labels = () if found[4] is None else tuple(map(_label, found[4].split(".")))
    return (int(found[1]), int(found[2]), int(found[3])), 0 if labels else 1, labels


def _label(text: str) -> tuple[int, int, str]:
    return (0, int(text), "") if text.isdigit() else (1, 0, text)

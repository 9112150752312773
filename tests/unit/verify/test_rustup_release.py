"""rustup's release file: read exactly, and ordered as semantic versions are."""

from __future__ import annotations

import itertools

import pytest

from mirror.errors import VerificationError
from mirror.verify.rustup_release import RustupRelease, parse_rustup_release


def test_the_form_of_upstream_is_read() -> None:
    found = parse_rustup_release(b"schema-version = '1'\nversion = '1.29.0'\n", "r")
    assert found.version == "1.29.0"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"<html></html>", id="html"),
        pytest.param(b"\xff\xfe", id="not-utf-8"),
        pytest.param(b"x = " + b"[" * 5000, id="nested-beyond-reason"),
        pytest.param(b"", id="empty"),
        pytest.param(b"version = '1.29.0'", id="no-schema"),
        pytest.param(b"schema-version = '2'\nversion = '1.29.0'", id="another-schema"),
        pytest.param(b"schema-version = 1\nversion = '1.29.0'", id="a-number-for-a-text"),
        pytest.param(b"schema-version = '1'", id="no-version"),
        pytest.param(b"schema-version = '1'\nversion = 1.29", id="a-number-for-a-version"),
        pytest.param(b"schema-version = '1'\nversion = '1.29'", id="two-numbers"),
        pytest.param(b"schema-version = '1'\nversion = '1.29.0-'", id="an-empty-label"),
        pytest.param("schema-version = '1'\nversion = '1.29.\u0660'".encode(), id="other-digits"),
        pytest.param(b"schema-version = '1'\nversion = '1.29.9999999'", id="a-number-too-long"),
    ],
)
def test_everything_else_is_refused(content: bytes) -> None:
    with pytest.raises(VerificationError):
        parse_rustup_release(content, "r")


# In the order of semver.org, section 11.
ORDERED = (
    "1.9.9", "1.28.0-alpha", "1.28.0-alpha.1", "1.28.0-alpha.beta", "1.28.0-beta.2",
    "1.28.0-beta.11", "1.28.0-rc.1", "1.28.0", "1.28.1", "1.29.0", "2.0.0",
)  # fmt: skip


@pytest.mark.parametrize(("lower", "higher"), list(itertools.combinations(ORDERED, 2)))
def test_versions_are_ordered_as_semantic_versions(lower: str, higher: str) -> None:
    assert RustupRelease(version=lower).is_before(higher)
    assert not RustupRelease(version=higher).is_before(lower)


def test_the_same_version_is_no_rollback() -> None:
    assert not RustupRelease(version="1.29.0").is_before("1.29.0")
    assert not RustupRelease(version="1.29.0+build").is_before("1.29.0")


def test_what_is_no_version_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="newest"):
        RustupRelease(version="1.29.0").is_before("newest")

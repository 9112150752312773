"""`mirror.verify.manifest_list`: which dated manifests exist, and never a list out of nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.errors import VerificationError
from mirror.verify.manifest_list import parse_manifest_list

HOST = "static.rust-lang.org"
BODY = "\n".join(
    (
        f"{HOST}/dist/2016-03-02/channel-rust-nightly.toml",
        f"{HOST}/dist/2016-02-09/channel-rust-nightly.toml",
        f"{HOST}/dist/2026-01-01/channel-rust-nightly.toml",
        f"{HOST}/dist/2026-01-01/channel-rust-1.95.0.toml",
        f"https://{HOST}/dist/2026-01-02/channel-rust-beta.toml",
        "mirror.example/prefix/dist/2026-01-03/channel-rust-stable.toml\r",
        "",
        "# a comment",
        f"{HOST}/dist/2026-01-04/channel-rust-nightly.toml.sha256",
        f"{HOST}/dist/2026-1-4/channel-rust-nightly.toml",
        f"{HOST}/dist/channel-rust-nightly.toml",
        f"{HOST}/dist/2026-01-05/channel-rust-a/b.toml",
    )
).encode()


def test_listed_manifests_are_known_and_others_are_not() -> None:
    found = parse_manifest_list(BODY)
    assert len(found) == 6
    assert found.contains("2026-01-01", "nightly")
    assert found.contains("2026-01-01", "1.95.0")
    assert found.contains("2026-01-02", "beta")
    assert found.contains("2026-01-03", "stable")
    assert not found.contains("2026-01-02", "nightly")
    assert not found.contains("2026-01-04", "nightly")
    assert repr(found) == "<ManifestList 6 manifests, 4 channels>"


def test_the_first_date_of_a_channel_is_its_smallest() -> None:
    found = parse_manifest_list(BODY)
    assert found.first_v2_date("nightly") == "2016-02-09"
    assert found.first_v2_date("unknown") is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html><body>404 Not Found</body></html>", id="error-page"),
        pytest.param(b"\n\n", id="blank"),
    ],
)
def test_a_list_of_nothing_is_refused_or_every_date_would_be_absent(body: bytes) -> None:
    with pytest.raises(VerificationError, match=r"manifests\.txt"):
        parse_manifest_list(body)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(VerificationError):
        parse_manifest_list(body)


def test_a_long_line_costs_no_more_than_its_length() -> None:
    with pytest.raises(VerificationError):
        parse_manifest_list(b"/dist/2026-01-01" * 60_000)

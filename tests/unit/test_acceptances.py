from __future__ import annotations

import pytest

from mirror.acceptances import AcceptedChannel, AcceptedCrate, parse_acceptance

CKSUM = "ab" * 32


@pytest.mark.parametrize(
    ("text", "release"),
    [
        (
            f"crate serde 1.0.0+x {CKSUM}",
            AcceptedCrate(name="serde", version="1.0.0+x", cksum=b"\xab" * 32),
        ),
        ("channel nightly 2026-05-20", AcceptedChannel(name="nightly", date="2026-05-20")),
    ],
)
def test_written_acceptance_is_what_it_prints(
    text: str, release: AcceptedCrate | AcceptedChannel
) -> None:
    assert parse_acceptance(text) == release
    assert str(release) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "crate serde 1.0.0",
        f"crate serde * {CKSUM}",
        f"crate  serde 1.0.0 {CKSUM}",
        f"crate serde 1.0.0 {CKSUM}\n",
        "crate serde 1.0.0 abcd",
        "channel stable",
        "channel stable 2026",
        "channel * 2026-05-20",
    ],
)
def test_anything_less_exact_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_acceptance(text)

"""`mirror.serve.generations`: what a voucher names."""

from __future__ import annotations

import pytest

from mirror.serve.generations import generation_of

KEY = "releases:/dist/channel-rust-stable.toml"


@pytest.mark.parametrize(
    ("voucher", "generation"),
    [
        pytest.param(f"{KEY}@{'00' * 7}01{'ff' * 24}", 1, id="first-eight-bytes"),
        pytest.param(f"{KEY}@{'ff' * 32}", 2**64 - 1, id="all-bits"),
        pytest.param("", 0, id="none"),
        pytest.param("108F66205EAEB0AAX", 0, id="somebody-without-generation"),
        pytest.param(f"{KEY}@", 0, id="no-digest"),
        pytest.param(f"{KEY}@xyz", 0, id="no-hexadecimal-digest"),
    ],
)
def test_a_voucher_names_a_generation(voucher: str, generation: int) -> None:
    assert generation_of(voucher) == generation

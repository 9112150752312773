"""`mirror.accounting.money`: exact prices, and shares that add up."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.accounting.money import MAX_PRICE, divided, money_text, price_micro, share_out


@pytest.mark.parametrize(
    ("amount", "micro"),
    [
        (Decimal("0.085"), 85_000),
        (Decimal("0.000001"), 1),
        (0, 0),
        (7, 7_000_000),
        (MAX_PRICE, 10**12),
    ],
)
def test_a_price_is_exact(amount: int | Decimal, micro: int) -> None:
    assert price_micro(amount) == micro


@pytest.mark.parametrize(
    "amount",
    [
        pytest.param(Decimal("0.0000001"), id="finer-than-micro"),
        pytest.param(-1, id="negative"),
        pytest.param(MAX_PRICE + 1, id="too-big"),
        pytest.param(Decimal("NaN"), id="nan"),
        pytest.param(Decimal("Infinity"), id="infinite"),
    ],
)
def test_an_impossible_price_is_refused(amount: int | Decimal) -> None:
    with pytest.raises(ValueError, match="a price"):
        price_micro(amount)


@given(
    whole=st.integers(0, 10**15),
    weights=st.dictionaries(st.text(max_size=3), st.integers(0, 10**13), min_size=1).filter(
        lambda weights: any(weights.values())
    ),
)
def test_what_is_divided_adds_up_and_is_off_by_less_than_one(
    whole: int, weights: dict[str, int]
) -> None:
    parts = divided(whole, weights)
    assert sum(parts.values()) == whole
    total = sum(weights.values())
    assert all(abs(parts[name] * total - whole * weights[name]) < total for name in weights)


def test_the_largest_remainders_get_what_is_left_over() -> None:
    shares = {"a": Fraction(1, 3), "b": Fraction(5, 3), "c": Fraction(1)}
    assert share_out(3, shares) == {"a": 0, "b": 2, "c": 1}


@pytest.mark.parametrize(
    ("micro", "text"),
    [
        (1_234_567_890_000, "1,234,567.89 USD"),
        (10_000, "0.01 USD"),
        (9_999, "0.009999 USD"),
        (-2_500_000, "-2.50 USD"),
        (0, "0.00 USD"),
    ],
)
def test_money_is_written_for_people(micro: int, text: str) -> None:
    assert money_text(micro, "USD") == text

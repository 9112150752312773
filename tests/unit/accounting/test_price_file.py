"""`mirror.accounting.price_file`: what a price file may say, and what is told of a wrong one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mirror.accounting.price_file import (
    MAX_FILE_BYTES,
    MAX_METERS,
    example_text,
    load_prices,
    parse_prices,
)
from mirror.accounting.prices import MeterPath, Prices
from mirror.errors import ConfigError

ROOT = Path(__file__).parents[3]
HEAD = 'version = 1\ncurrency = "EUR"\n'
PRICE = 'name = "n"\npayer = "p"\ntiers = [{ price = 0.5 }]\n'
ONE = f"{HEAD}[[price]]\n{PRICE}"


def test_the_example_that_comes_along_is_the_one_beside_the_configuration() -> None:
    assert (ROOT / "config" / "prices.toml").read_text(encoding="utf-8") == example_text()


def test_without_a_file_the_example_counts_and_is_marked() -> None:
    example = load_prices("")
    assert example.is_example
    assert all(meter.source and meter.as_of for meter in example.meters)


def test_every_pattern_of_the_example_is_valid_when_uncommented() -> None:
    head, _, patterns = example_text().partition("# The rest are patterns")
    lines = [line.removeprefix("# ") for line in patterns.splitlines()[1:]]
    code = [line for line in lines if re.match(r"\[|[a-z_0-9]+ = |  \{|\]", line)]
    prices = parse_prices(head + "\n".join(code), "pattern")
    assert len(prices.meters) == 6
    assert {meter.path for meter in prices.meters} == set(MeterPath)


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(
        ONE
        + 'gigabyte = "GiB"\nfree_gigabytes = 0.5\nothers_gigabytes = 3\nupstreams = ["index"]\n'
        'per_10000_requests = 0.0075\nfree_requests = 5\nas_of = 2026-11-22\npath = "egress"\n'
    )
    prices = load_prices(str(file))
    (meter,) = prices.meters
    assert not prices.is_example
    assert prices.currency == "EUR"
    assert meter.path is MeterPath.EGRESS
    assert (meter.free_bytes, meter.others_bytes) == (1 << 29, 3 << 30)
    assert meter.micro_per_10000_requests == 7_500
    assert meter.tiers[0].micro_per_gigabyte == 500_000
    assert (meter.as_of, meter.upstreams, meter.free_requests) == ("2026-11-22", ("index",), 5)


WRONG = {
    "not TOML": ("version = ", "valid TOML"),
    "no version": ('currency = "EUR"', "version: 1"),
    "another version": ('version = 2\ncurrency = "EUR"', "version: 1"),
    "currency": (ONE.replace('"EUR"', '"euro"'), "currency: three capitals of ISO 4217 such as"),
    "unknown key": (f"{HEAD}prize = 1\n[[price]]\n{PRICE}", "prize: no such key; there are"),
    "no table": (HEAD, f"price: 1 to {MAX_METERS} [[price]] tables"),
    "not tables": (HEAD + "price = [1]", "[[price]] 1: a table"),
    "too many": (HEAD + f"[[price]]\n{PRICE}" * (MAX_METERS + 1), "[[price]] tables"),
    "a name twice": (ONE + f"[[price]]\n{PRICE}", "'n' comes twice"),
    "unknown in a table": (ONE + "cost = 1", "[[price]] 1: cost: no such key"),
    "no payer": (ONE.replace('payer = "p"', ""), "[[price]] 1: payer: a name"),
    "name in two lines": (ONE.replace('"n"', '"a\\nb"'), "name: one line"),
    "gigabyte": (ONE + 'gigabyte = "TB"', 'gigabyte: "GB" (10^9 bytes)'),
    "path": (ONE + 'path = "ingress"', 'path: "upstream" or "egress"'),
    "upstream": (ONE + 'upstreams = ["docs"]', "upstreams: some of releases, crates, index"),
    "names": (ONE + "groups = 3", "groups: a list of names"),
    "urls and groups": (ONE + 'urls = ["s3://b"]\ngroups = ["g"]', "urls: not beside groups"),
    "no tiers": (HEAD + '[[price]]\nname = "n"\npayer = "p"', "tiers: 1 to 32 tiers such as"),
    "tier without price": (ONE.replace("price = 0.5", ""), "tier 1: price: what one gigabyte"),
    "negative price": (ONE.replace("0.5", "-0.5"), "tier 1: price: a price from 0"),
    "too fine": (ONE.replace("0.5", "0.12345678"), "price: a price with at most six decimals"),
    "text for a price": (ONE.replace("0.5", '"0.5"'), "tier 1: price: a number"),
    "infinite": (ONE.replace("0.5", "inf"), "tier 1: price: a price from 0"),
    "infinite volume": (ONE + "free_gigabytes = inf", "free_gigabytes: gigabytes from 0"),
    "endless tier first": (
        ONE.replace("{ price = 0.5 }", "{ price = 1 }, { price = 2 }"),
        "tier 1: up_to_gigabytes: a number in every tier but the last",
    ),
    "ending tier last": (
        ONE.replace("{ price", "{ up_to_gigabytes = 3, price"),
        "tier 1: up_to_gigabytes: a number in every tier but the last",
    ),
    "tiers out of order": (
        ONE.replace(
            "{ price = 0.5 }",
            "{ up_to_gigabytes = 3, price = 1 }, { up_to_gigabytes = 3, price = 1 }, { price = 2 }",
        ),
        "tier 2: up_to_gigabytes: more than that of the tier before",
    ),
    "truth for a number": (ONE + "free_requests = true", "free_requests: a whole number"),
    "date in quotes": (ONE + 'as_of = "2026-11-22"', "as_of: a date such as"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_with_file_table_and_remedy(name: str, tmp_path: Path) -> None:
    text, told = WRONG[name]
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_prices(str(file))
    assert str(file) in caught.value.message
    assert told in caught.value.message
    assert "\n" not in caught.value.message.replace("(at line", "")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(None, "No such file", id="absent"),
        pytest.param(b"\xff", "UTF-8", id="binary"),
        pytest.param(b"#" * (MAX_FILE_BYTES + 1), "at most", id="too-big"),
    ],
)
def test_an_unusable_file_is_a_clear_error(
    content: bytes | None, told: str, tmp_path: Path
) -> None:
    file = tmp_path / "prices.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=told):
        load_prices(str(file))


def test_prices_of_one_file_are_equal_values() -> None:
    assert parse_prices(ONE, "a") == parse_prices(ONE, "b")
    assert isinstance(parse_prices(ONE, "a"), Prices)

"""Read a price file: TOML with one `[[price]]` table per meter, checked key by key.

Rules:
1. Unknown keys, wrong types and impossible amounts are errors that name file, table and remedy.
2. Decimals are read as decimals: 0.085 is exact.
3. Without a file the example counts; its prices are marked as such wherever they are shown.

Does not: fetch prices from anywhere.
Runs in: keeper and commands; loaded by no worker.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Callable
from decimal import Decimal
from importlib.resources import files
from typing import Any, Final

from mirror.accounting.money import price_micro
from mirror.accounting.prices import UPSTREAMS, Meter, MeterPath, Prices, Tier
from mirror.errors import ConfigError

KEY: Final = "accounting.prices"
VERSION: Final = 1
MAX_FILE_BYTES: Final = 1 << 20  # a hundred meters make 60 KB
MAX_METERS: Final = 100
MAX_TIERS: Final = 32
MAX_TEXT: Final = 300
MAX_GIGABYTES: Final = 10**12  # a zettabyte a month
_GIGABYTES: Final = {"GB": 10**9, "GiB": 1 << 30}
_EXAMPLE: Final = "prices.toml"
_TABLE_KEYS: Final = frozenset(
    (
        *("name", "payer", "path", "upstreams", "groups", "urls", "gigabyte", "tiers"),
        *("free_gigabytes", "others_gigabytes", "per_10000_requests", "free_requests"),
        *("others_requests", "source", "as_of"),
    )
)


def load_prices(path: str) -> Prices:
    """Return the prices of a file; "": the example's. Raises: ConfigError."""
    if not path:
        return parse_prices(example_text(), _EXAMPLE, is_example=True)
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ConfigError(KEY, path, f"a file of at most {MAX_FILE_BYTES:,} bytes")
        text = content.decode()
    except OSError as exc:
        raise ConfigError(KEY, path, f"a readable file of prices ({exc.strerror})") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(KEY, path, "a TOML file in UTF-8") from exc
    return parse_prices(text, path)


def example_text() -> str:
    """Return the example that comes along, to be copied and edited."""
    return files("mirror.accounting").joinpath(_EXAMPLE).read_text(encoding="utf-8")


def parse_prices(text: str, path: str, *, is_example: bool = False) -> Prices:
    """Return the prices that `text` states; `path` is for errors. Raises: ConfigError."""
    try:
        found = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(KEY, path, f"valid TOML ({exc})") from exc
    reader = _Reader(path, "", found)
    reader.refuse_unknown(frozenset(("version", "currency", "price")))
    if reader.value("version", None) != VERSION:
        raise reader.wrong("version", f"{VERSION}, the version of this form")
    currency = reader.text("currency", "")
    if not re.fullmatch(r"[A-Z]{3}", currency):
        raise reader.wrong("currency", 'three capitals of ISO 4217 such as "USD"')
    tables = reader.value("price", [])
    if not isinstance(tables, list) or not 0 < len(tables) <= MAX_METERS:
        raise reader.wrong("price", f"1 to {MAX_METERS} [[price]] tables")
    meters = tuple(
        _meter(_Reader(path, f"[[price]] {number}: ", table))
        for number, table in enumerate(tables, 1)
    )
    names = [meter.name for meter in meters]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(KEY, path, f"[[price]] names that differ; {name!r} comes twice")
    return Prices(currency=currency, meters=meters, is_example=is_example)


class _Reader:
    """One table, and where it stands, for errors."""

    def __init__(self, path: str, where: str, table: object) -> None:
        self._path = path
        self._where = where
        if not isinstance(table, dict):
            raise ConfigError(KEY, path, f"{where}a table")
        self._table: dict[str, Any] = table

    def wrong(self, key: str, allowed: str) -> ConfigError:
        return ConfigError(KEY, self._path, f"{self._where}{key}: {allowed}")

    def refuse_unknown(self, known: frozenset[str]) -> None:
        for key in sorted(set(self._table) - known):
            raise self.wrong(key, f"no such key; there are {', '.join(sorted(known))}")

    def value(self, key: str, default: object) -> object:
        return self._table.get(key, default)

    def text(self, key: str, default: str) -> str:
        value = self.value(key, default)
        if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
            raise self.wrong(key, f"one line of at most {MAX_TEXT} characters")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.value(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.wrong(key, "a list of names")
        return tuple(value)

    def whole(self, key: str) -> int:
        value = self.value(key, 0)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 10**15:
            raise self.wrong(key, "a whole number, zero or more")
        return value

    def bytes_of(self, key: str, gigabyte_bytes: int) -> int:
        return round(self._number(key, _gigabytes) * gigabyte_bytes)

    def micro(self, key: str) -> int:
        return int(self._number(key, price_micro))

    def _number(self, key: str, check: Callable[[int | Decimal], Decimal | int]) -> Decimal | int:
        value = self.value(key, 0)
        if not isinstance(value, int | Decimal) or isinstance(value, bool):
            raise self.wrong(key, "a number")
        try:
            return check(value)
        except ValueError as exc:
            raise self.wrong(key, str(exc)) from exc


def _gigabytes(amount: int | Decimal) -> Decimal:
    exact = Decimal(amount)
    if not exact.is_finite() or not 0 <= exact <= MAX_GIGABYTES:
        raise ValueError(f"gigabytes from 0 to {MAX_GIGABYTES:,}")
    return exact


def _meter(table: _Reader) -> Meter:
    table.refuse_unknown(_TABLE_KEYS)
    gigabyte_bytes = _GIGABYTES.get(table.text("gigabyte", "GB"), 0)
    if not gigabyte_bytes:
        raise table.wrong("gigabyte", '"GB" (10^9 bytes) or "GiB" (2^30 bytes)')
    for key in ("name", "payer"):
        if not table.text(key, ""):
            raise table.wrong(key, "a name, for the report")
    paths = {each.value: each for each in MeterPath}
    path = paths.get(table.text("path", MeterPath.UPSTREAM.value))
    if path is None:
        raise table.wrong("path", " or ".join(f'"{each}"' for each in paths))
    upstreams, groups, urls = (table.texts(key) for key in ("upstreams", "groups", "urls"))
    if not set(upstreams) <= set(UPSTREAMS):
        raise table.wrong("upstreams", f"some of {', '.join(UPSTREAMS)}")
    if urls and (groups or path is MeterPath.EGRESS):
        raise table.wrong("urls", 'not beside groups or path = "egress": what the mirror fetches')
    return Meter(
        name=table.text("name", ""),
        payer=table.text("payer", ""),
        path=path,
        upstreams=upstreams,
        groups=groups,
        urls=urls,
        gigabyte_bytes=gigabyte_bytes,
        tiers=_tiers(table, gigabyte_bytes),
        free_bytes=table.bytes_of("free_gigabytes", gigabyte_bytes),
        others_bytes=table.bytes_of("others_gigabytes", gigabyte_bytes),
        micro_per_10000_requests=table.micro("per_10000_requests"),
        free_requests=table.whole("free_requests"),
        others_requests=table.whole("others_requests"),
        source=table.text("source", ""),
        as_of=_date(table),
    )


def _date(table: _Reader) -> str:
    value = table.value("as_of", "")
    if value != "" and (type(value) is not datetime.date):
        raise table.wrong("as_of", "a date such as 2026-11-22, without quotes")
    return str(value)


def _tiers(table: _Reader, gigabyte_bytes: int) -> tuple[Tier, ...]:
    rows = table.value("tiers", None)
    if not isinstance(rows, list) or not 0 < len(rows) <= MAX_TIERS:
        raise table.wrong("tiers", f"1 to {MAX_TIERS} tiers such as {{ price = 0.085 }}")
    tiers, begin = [], 0
    for number, row in enumerate(rows, 1):
        reader = _Reader(table._path, f"{table._where}tier {number}: ", row)
        reader.refuse_unknown(frozenset(("up_to_gigabytes", "price")))
        if reader.value("price", None) is None:
            raise reader.wrong("price", "what one gigabyte costs")
        is_last = number == len(rows)
        if is_last != (reader.value("up_to_gigabytes", None) is None):
            raise reader.wrong("up_to_gigabytes", "a number in every tier but the last")
        end = None if is_last else reader.bytes_of("up_to_gigabytes", gigabyte_bytes)
        if end is not None and end <= begin:
            raise reader.wrong("up_to_gigabytes", "more than that of the tier before")
        tiers.append(Tier(up_to_bytes=end, micro_per_gigabyte=reader.micro("price")))
        begin = end or begin
    return tuple(tiers)

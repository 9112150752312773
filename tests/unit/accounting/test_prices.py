"""`mirror.accounting.prices`: what a month's volume costs on a meter, and which meter counts it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.accounting.prices import Meter, MeterPath, Side
from tests.unit.accounting.meters import FLAT, GB, meter, prices, tiers

TIERED = tiers((10, 90_000), (50, 80_000), (None, 50_000))


@pytest.mark.parametrize(
    ("changes", "gigabytes", "micro"),
    [
        pytest.param({}, 5, 5 * 90_000, id="in-the-first-tier"),
        pytest.param({}, 10, 10 * 90_000, id="up-to-its-end"),
        pytest.param({}, 60, 10 * 90_000 + 40 * 80_000 + 10 * 50_000, id="through-all"),
        pytest.param({"free_bytes": 4 * GB}, 4, 0, id="free-allowance"),
        pytest.param({"free_bytes": 4 * GB}, 14, 10 * 90_000, id="tiers-begin-behind-it"),
        pytest.param({"others_bytes": 50 * GB}, 3, 3 * 50_000, id="at-the-margin"),
        pytest.param(
            {"others_bytes": 45 * GB, "free_bytes": 40 * GB},
            8,
            5 * 90_000 + 3 * 80_000,
            id="others-take-the-free",
        ),
        pytest.param({"gigabyte_bytes": 2 * GB}, 4, 2 * 90_000, id="their-own-gigabyte"),
    ],
)
def test_bytes_go_through_tiers(changes: dict[str, int], gigabytes: int, micro: int) -> None:
    assert meter(tiers=TIERED, **changes).content_cost(gigabytes * GB) == micro


@given(
    volume=st.integers(0, 200),
    others=st.integers(0, 100),
    free=st.integers(0, 60),
    ends=st.lists(st.integers(1, 150), min_size=0, max_size=4, unique=True),
    costs=st.lists(st.integers(0, 10**6), min_size=5, max_size=5),
)
def test_the_bill_is_that_of_counting_byte_by_byte(
    volume: int, others: int, free: int, ends: list[int], costs: list[int]
) -> None:
    """With a gigabyte of one byte, each byte is looked up alone."""
    steps = [*sorted(ends), None]
    rows = tuple(zip(steps, costs, strict=False))
    made = meter(
        gigabyte_bytes=1,
        others_bytes=others,
        free_bytes=free,
        tiers=tuple(type(TIERED[0])(up_to_bytes=end, micro_per_gigabyte=m) for end, m in rows),
    )

    def price_of(position: int) -> int:
        if position < free:
            return 0
        return next(cost for end, cost in rows if end is None or position - free < end)

    expected = sum(price_of(at) for at in range(others, others + volume))
    assert made.content_cost(volume) == expected


@pytest.mark.parametrize(
    ("free", "others", "requests", "micro"),
    [
        (0, 0, 10_000, 7_500),
        (0, 0, 1, Fraction(3, 4)),
        (5_000, 0, 15_000, 7_500),
        (5_000, 4_000, 11_000, 7_500),
        (20_000, 0, 15_000, 0),
    ],
)
def test_requests_are_billed_by_ten_thousand(
    free: int, others: int, requests: int, micro: int
) -> None:
    made = meter(micro_per_10000_requests=7_500, free_requests=free, others_requests=others)
    assert made.requests_cost(requests) == micro


GROUPED = meter(name="grouped", groups=("ci",))
BUCKET = meter(name="bucket", urls=("s3://copy",))
CRATES = meter(name="crates", upstreams=("crates",))
EGRESS = meter(name="egress", path=MeterPath.EGRESS)


@pytest.mark.parametrize(
    ("made", "side", "upstream", "place", "fits"),
    [
        pytest.param(FLAT, Side.WITHOUT, "crates", "ci", True, id="all"),
        pytest.param(FLAT, Side.EGRESS, "crates", "ci", False, id="upstream-is-not-egress"),
        pytest.param(EGRESS, Side.EGRESS, "crates", "ci", True, id="egress"),
        pytest.param(EGRESS, Side.WITHOUT, "crates", "ci", False, id="egress-is-not-upstream"),
        pytest.param(GROUPED, Side.WITHOUT, "crates", "ci", True, id="its-group"),
        pytest.param(GROUPED, Side.WITHOUT, "crates", "other", False, id="another-group"),
        pytest.param(GROUPED, Side.FETCHED, "crates", "ci", False, id="fetches-have-no-group"),
        pytest.param(BUCKET, Side.FETCHED, "crates", "s3://copy", True, id="its-url"),
        pytest.param(BUCKET, Side.FETCHED, "crates", "https://x", False, id="another-url"),
        pytest.param(BUCKET, Side.WITHOUT, "crates", "ci", False, id="clients-take-no-url"),
        pytest.param(CRATES, Side.WITHOUT, "index", "ci", False, id="another-upstream"),
    ],
)
def test_a_meter_fits_what_it_names(
    made: Meter, side: Side, upstream: str, place: str, fits: bool
) -> None:
    assert made.fits(side, upstream, place) is fits


def test_the_first_meter_of_a_payer_counts() -> None:
    both = prices(BUCKET, CRATES, FLAT, meter(name="nat", payer="us"))
    assert both.payers == ("upstream", "us")
    found = [
        both.meter("upstream", Side.FETCHED, "release", "s3://copy"),
        both.meter("upstream", Side.WITHOUT, "crate", "ci"),
        both.meter("upstream", Side.WITHOUT, "rustup", "ci"),
        both.meter("us", Side.FETCHED, "release", "s3://copy"),
        both.meter("us", Side.EGRESS, "release", "ci"),
    ]
    assert [each.name if each else None for each in found] == [
        *("bucket", "crates", "flat", "nat"),
        None,
    ]


def test_names_that_no_traffic_has_are_told() -> None:
    table = prices(GROUPED, BUCKET, meter(name="rest", groups=("other",)))
    assert list(table.unknown_names(["ci"], ["s3://copy"])) == []
    assert list(table.unknown_names(["offices"], ["https://x"])) == [
        "'grouped' of the price file names groups that nobody has: 'ci'",
        "'bucket' of the price file names urls that nobody has: 's3://copy'",
    ]

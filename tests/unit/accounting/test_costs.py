"""`mirror.accounting.costs`: rows and payers share the bills of their months."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mirror.accounting.costs import Metering, Volume
from mirror.accounting.prices import MeterPath, Prices, Side
from tests.unit.accounting.meters import GB, meter, prices, tiers

TIERED = meter(tiers=tiers((10, 90_000), (None, 10_000)), micro_per_10000_requests=30_000)
THREE = prices(
    TIERED,
    meter(name="nat", payer="us", gigabyte_bytes=1 << 30),
    meter(name="out", payer="us", path=MeterPath.EGRESS),
)


def _volume(side: Side, content_bytes: int, requests: int = 0, month: int = 0) -> Volume:
    return Volume(
        side=side,
        month=month,
        content_class="crate",
        place="ci",
        content_bytes=content_bytes,
        requests=requests,
    )


def test_a_part_of_a_month_pays_its_share_of_the_whole_bill() -> None:
    """20 GB cost 10 x 90,000 + 10 x 10,000: a quarter of them costs a quarter of that."""
    metering = Metering(prices(TIERED))
    metering.add_month(_volume(Side.WITHOUT, 20 * GB))
    metering.add_part(("row",), _volume(Side.WITHOUT, 5 * GB))
    assert metering.costs([("row",)]).rows["row",].without_micro == 250_000


def test_months_are_billed_apart() -> None:
    metering = Metering(prices(TIERED))
    for month in (1, 2):
        metering.add_month(_volume(Side.WITHOUT, 10 * GB, month=month))
        metering.add_part((), _volume(Side.WITHOUT, 10 * GB, month=month))
    assert metering.costs([()]).total.without_micro == 2 * 900_000


def test_what_is_fetched_and_sent_is_subtracted() -> None:
    metering = Metering(THREE)
    for side, amount in ((Side.WITHOUT, 8), (Side.FETCHED, 2), (Side.EGRESS, 8)):
        metering.add_month(_volume(side, amount * GB))
        metering.add_part((), _volume(side, amount * GB))
    costs = metering.costs([()])
    assert costs.payers["upstream"].avoided_micro == 6 * 90_000
    assert costs.payers["us"].egress_micro == 8 * 100_000
    assert costs.payers["us"].avoided_micro < 0
    assert costs.total.avoided_micro == sum(c.avoided_micro for c in costs.payers.values())


def test_a_row_that_was_read_after_its_month_never_pays_more_than_all() -> None:
    """The ledger goes on counting between the two."""
    metering = Metering(prices(TIERED))
    metering.add_month(_volume(Side.WITHOUT, 5 * GB))
    metering.add_part((), _volume(Side.WITHOUT, 6 * GB))
    assert metering.costs([()]).total.without_micro == 6 * 90_000


def test_what_no_meter_counts_is_remembered() -> None:
    metering = Metering(prices(meter(upstreams=("releases",))))
    metering.add_part((), _volume(Side.WITHOUT, 7))
    assert metering.unpriced["upstream", Side.WITHOUT, "crate"] == 7
    assert metering.costs([()]).total.without_micro == 0


_PARTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(Side),
        st.integers(0, 2),
        st.integers(0, 40 * GB),
        st.integers(0, 10**6),
    ),
    max_size=12,
)


@given(parts=_PARTS, table=st.sampled_from([THREE, prices(TIERED)]))
def test_rows_and_payers_add_up_to_the_total_to_the_micro_unit(
    parts: list[tuple[str, Side, int, int, int]], table: Prices
) -> None:
    metering = Metering(table)
    for row, side, month, content_bytes, requests in parts:
        volume = _volume(side, content_bytes, requests, month)
        metering.add_month(volume)
        metering.add_part((row,), volume)
    costs = metering.costs([(row,) for row in "abc"])
    for name in ("without_micro", "fetched_micro", "egress_micro"):
        total = getattr(costs.total, name)
        assert total == sum(getattr(cost, name) for cost in costs.rows.values())
        assert total == sum(getattr(cost, name) for cost in costs.payers.values())
        assert all(getattr(cost, name) >= 0 for cost in costs.rows.values())


@given(first=st.integers(0, 30 * GB), second=st.integers(0, 30 * GB))
def test_two_parts_of_a_month_add_up_to_the_month(first: int, second: int) -> None:
    def cost(part: int) -> int:
        metering = Metering(prices(TIERED))
        metering.add_month(_volume(Side.WITHOUT, first + second))
        metering.add_part((), _volume(Side.WITHOUT, part))
        return metering.costs([()]).total.without_micro

    assert abs(cost(first) + cost(second) - cost(first + second)) <= 1


def test_equal_remainders_go_to_rows_by_name_whatever_came_first() -> None:
    shares = []
    for rows in ("abc", "cba"):
        metering = Metering(prices(meter(gigabyte_bytes=3)))
        for row in rows:
            metering.add_month(_volume(Side.WITHOUT, 1))
            metering.add_part((row,), _volume(Side.WITHOUT, 1))
        costs = metering.costs([(row,) for row in rows])
        shares.append([costs.rows[row,].without_micro for row in "abc"])
    assert shares[0] == shares[1]
    assert sum(shares[0]) == 100_000
    assert shares[0] == [33_334, 33_333, 33_333]

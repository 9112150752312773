"""`mirror.accounting.traffic`: what the ledger counts of a request is what its line says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.accounting.counters import KEEPER_SLOT, Counters
from mirror.accounting.layout import FETCHED_COLUMNS, layout_of
from mirror.accounting.records import FetchRecord
from mirror.accounting.traffic import UpstreamTraffic, class_of, upstream_urls
from mirror.config import Crates, Index, Releases, Upstream
from mirror.route.route import ContentClass

FIRST, SECOND = "https://one.example", "s3://bucket/pre"
CRATE = "/crates/a/a-1.0.0.crate"


class FakeClock:
    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at + 1_700_000_000

    def monotonic(self) -> float:
        return self.at


class KeptLines:
    def __init__(self) -> None:
        self.records: list[FetchRecord] = []

    def write_fetches(self, records: Sequence[FetchRecord]) -> None:
        self.records.extend(records)


@pytest.fixture
def counters(tmp_path: Path) -> Iterator[Counters]:
    opened = Counters.open(str(tmp_path), KEEPER_SLOT, layout_of((), (FIRST, SECOND)))
    yield opened
    opened.close()


def row(counters: Counters, url: str, content_class: str = "crate") -> dict[str, int]:
    at = counters.layout.row("fetched", url, content_class)
    return {
        name: value
        for name, value in zip(FETCHED_COLUMNS, counters.view[at:].tolist(), strict=False)
        if value
    }


def test_a_request_is_counted_under_its_url_and_class(counters: Counters) -> None:
    clock, log = FakeClock(), KeptLines()
    traffic = UpstreamTraffic(counters, clock, log)
    exchange = traffic.exchange("crates", SECOND, CRATE, method="GET", attempt=1)
    exchange.begin()
    clock.at += 2.0
    exchange.answered(206, 180)
    exchange.received(300)
    exchange.received(200)
    exchange.finish(is_complete=True)
    exchange.finish(is_complete=False, error="said twice")
    counted = {"requests": 1, "content_bytes": 500, "head_bytes": 180, "ranged": 1}
    assert row(counters, SECOND) == counted
    assert row(counters, FIRST) == row(counters, "other") == {}
    assert log.records == [
        FetchRecord(
            began_at=1_700_001_000.0,
            duration_s=2.0,
            pool="crates",
            url=SECOND,
            path=CRATE,
            method="GET",
            status=206,
            content_class="crate",
            content_bytes=500,
            head_bytes=180,
            is_complete=True,
            is_ranged=True,
            attempt=1,
            error="",
        )
    ]


@pytest.mark.parametrize(
    ("status", "attempt", "error", "expected"),
    [
        pytest.param(200, 1, "", {}, id="plain"),
        pytest.param(304, 1, "", {"not_modified": 1}, id="304"),
        pytest.param(200, 2, "", {"retried": 1}, id="second-attempt"),
        pytest.param(429, 1, "status 429", {"throttled": 1, "failed": 1}, id="429"),
        pytest.param(503, 3, "status 503", {"retried": 1, "failed": 1}, id="503-again"),
        pytest.param(0, 1, "no answer in time", {"failed": 1}, id="no-answer"),
    ],
)
def test_columns_follow_status_attempt_and_error(
    counters: Counters, status: int, attempt: int, error: str, expected: dict[str, int]
) -> None:
    traffic = UpstreamTraffic(counters, FakeClock())
    exchange = traffic.exchange("crates", FIRST, CRATE, method="GET", attempt=attempt)
    exchange.begin()
    if status:
        exchange.answered(status, 0)
    exchange.finish(is_complete=not error, error=error)
    assert row(counters, FIRST) == {"requests": 1, **expected}


def test_what_never_had_a_connection_is_neither_counted_nor_told(counters: Counters) -> None:
    log = KeptLines()
    traffic = UpstreamTraffic(counters, FakeClock(), log)
    exchange = traffic.exchange("crates", FIRST, CRATE, method="GET", attempt=1)
    exchange.finish(is_complete=False, error="all connections to it stay in use")
    assert (row(counters, FIRST), log.records) == ({}, [])


def test_a_connection_that_is_made_again_is_one_request(counters: Counters) -> None:
    exchange = UpstreamTraffic(counters, FakeClock()).exchange(
        "crates", FIRST, CRATE, method="GET", attempt=2
    )
    exchange.begin()
    exchange.begin()
    assert row(counters, FIRST) == {"requests": 1, "retried": 1}


def test_a_url_that_the_layout_does_not_name_counts_as_other(counters: Counters) -> None:
    traffic = UpstreamTraffic(counters, FakeClock())
    traffic.exchange(
        "index", "https://new.example", "/se/rd/serde", method="GET", attempt=1
    ).begin()
    assert row(counters, "other", "index") == {"requests": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    url: str
    pool: str
    path: str
    status: int
    attempt: int
    pieces: list[int]
    error: str


ASKED = st.builds(
    lambda place, **fields: Asked(pool=place[0], path=place[1], **fields),
    place=st.sampled_from((("crates", CRATE), ("releases", "/rustup/x"), ("index", "/1/a"))),
    url=st.sampled_from((FIRST, SECOND, "https://another.example")),
    status=st.sampled_from((0, 200, 206, 304, 404, 429, 503)),
    attempt=st.integers(1, 3),
    pieces=st.lists(st.integers(0, 1 << 30), max_size=3),
    error=st.sampled_from(("", "broke")),
)


@given(everything=st.lists(ASKED, max_size=20))
def test_ledger_and_log_say_the_same_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, everything: list[Asked]
) -> None:
    state = tmp_path_factory.mktemp("state")
    counters = Counters.open(str(state), KEEPER_SLOT, layout_of((), (FIRST, SECOND)))
    log = KeptLines()
    traffic = UpstreamTraffic(counters, FakeClock(), log)
    for asked in everything:
        exchange = traffic.exchange(
            asked.pool, asked.url, asked.path, method="GET", attempt=asked.attempt
        )
        exchange.begin()
        if asked.status:
            exchange.answered(asked.status, 100)
        for piece in asked.pieces:
            exchange.received(piece)
        exchange.finish(is_complete=not asked.error, error=asked.error)
    for url in (FIRST, SECOND, "other"):
        for content_class in ("crate", "rustup", "index"):
            lines = [
                line
                for line in log.records
                if (line.url if line.url in (FIRST, SECOND) else "other") == url
                and line.content_class == content_class
            ]
            said = {
                "requests": len(lines),
                "content_bytes": sum(line.content_bytes for line in lines),
                "head_bytes": sum(line.head_bytes for line in lines),
                "not_modified": sum(line.status == 304 for line in lines),
                "ranged": sum(line.is_ranged for line in lines),
                "retried": sum(line.attempt > 1 for line in lines),
                "throttled": sum(line.status == 429 for line in lines),
                "failed": sum(bool(line.error) for line in lines),
            }
            counted = row(counters, url, content_class)
            assert counted == {name: value for name, value in said.items() if value}
    counters.close()


@pytest.mark.parametrize(
    ("pool", "path", "expected"),
    [
        ("releases", "/dist/channel-rust-stable.toml", ContentClass.RELEASE),
        ("releases", "/manifests.txt", ContentClass.RELEASE),
        ("releases", "/rustup/release-stable.toml", ContentClass.RUSTUP),
        ("crates", "/crates/rustup/rustup-1.0.0.crate", ContentClass.CRATE),
        ("index", "/ru/st/rustup", ContentClass.INDEX),
        ("index", "/rustup/x", ContentClass.INDEX),
        ("another", "/x", ContentClass.RELEASE),
    ],
)
def test_traffic_belongs_to_a_class(pool: str, path: str, expected: ContentClass) -> None:
    assert class_of(pool, path) is expected


def test_urls_are_named_once_and_without_a_final_slash() -> None:
    upstream = Upstream(
        releases=Releases(urls=("https://a.example/", "s3://b/c/")),
        crates=Crates(urls=("https://a.example",)),
        index=Index(urls=("https://i.example/x/",)),
    )
    assert upstream_urls(upstream) == ("https://a.example", "s3://b/c", "https://i.example/x")

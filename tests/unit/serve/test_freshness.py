"""A worker and time: what it serves stale, whom it asks for that, and what a client may wish."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mirror.accounting.layout import Outcome
from mirror.config import Config, DurationOrZero, Freshness
from mirror.errors import ErrorType
from mirror.fill.messages import Ask, Failed, Purpose, StoredAnswer
from mirror.route.route import ContentClass
from tests.structured_fields import Token, parse_single
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    INDEX_KEY,
    INDEX_TARGET,
    Bench,
    running_worker,
)

NOW = 1_800_000_000.0
CONTENT = b'{"name":"serde"}\n'
RAW = f"GET {INDEX_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n".encode()
SERVING = Config(
    freshness=Freshness(
        stale_while_revalidate=DurationOrZero(10), stale_if_error=DurationOrZero(100)
    )
)


def age(bench: Bench, confirmed_s: float, **changes: object) -> None:
    """Store the index file as one that was confirmed so long ago, for a minute."""
    at = NOW - confirmed_s
    bench.reader.keep(INDEX_KEY, CONTENT, confirmed_at=at, fresh_until=at + 60, **changes)


def pass_s(bench: Bench, seconds: float) -> None:
    bench.clock.advance(seconds)
    bench.worker.tick()


async def test_a_stale_response_is_served_at_once_and_asked_about_behind(tmp_path: Path) -> None:
    async with running_worker(tmp_path, SERVING) as bench:
        age(bench, 63)
        answer = await bench.get(INDEX_TARGET)
        assert (answer.status, answer.content, answer.fields["age"]) == (200, CONTENT, "63")
        assert parse_single(answer.fields["cache-status"]) == {
            "hit": True, "ttl": -3, "detail": "stale-while-revalidate",
        }  # fmt: skip
        assert bench.keeper.revalidated_keys == [INDEX_KEY]
        assert bench.keeper.asked == []
        assert bench.count(ContentClass.INDEX, Outcome.HIT) == (1, len(CONTENT))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_beyond_the_window_a_client_waits(tmp_path: Path, method: str) -> None:
    async with running_worker(tmp_path, SERVING) as bench:
        age(bench, 70)
        renewed = bench.reader.entries[INDEX_KEY]
        bench.keeper.answer(StoredAnswer(stored=renewed, outcome="fwd=stale; fwd-status=304"))
        answer = await bench.get(INDEX_TARGET, method=method)
        assert answer.status == 200
        assert [ask.purpose for ask in bench.keeper.asked] == [Purpose.REVALIDATE]
        assert bench.keeper.revalidated_keys == []


@pytest.mark.parametrize("line", ["If-None-Match: *", "Range: bytes=0-3", "Accept: */*"])
async def test_any_form_of_answer_may_be_stale(tmp_path: Path, line: str) -> None:
    async with running_worker(tmp_path, SERVING) as bench:
        age(bench, 63)
        answer = await bench.get(INDEX_TARGET, line)
        assert answer.status in (200, 206, 304)
        assert answer.fields["age"] == "63"
        assert parse_single(answer.fields["cache-status"])["ttl"] == -3


async def test_a_learned_head_is_served_stale_from_memory_and_asks_once_a_second(
    tmp_path: Path,
) -> None:
    async with running_worker(tmp_path, SERVING) as bench:
        age(bench, 58)
        await bench.exchange(RAW)  # learned while fresh
        pass_s(bench, 4)
        lookups = bench.reader.lookups
        for _ in range(20):
            assert b"ttl=-2; detail=stale-while-revalidate" in await bench.exchange(RAW)
        assert bench.keeper.revalidated_keys == [INDEX_KEY]
        assert bench.reader.lookups == lookups + 1
        pass_s(bench, 1)
        assert b"ttl=-3; detail=stale" in await bench.exchange(RAW)
        assert bench.keeper.revalidated_keys == [INDEX_KEY] * 2
        assert bench.keeper.asked == []


@pytest.mark.parametrize("learned", [True, False])
async def test_a_confirmation_ends_the_staleness_of_a_hot_entry(
    tmp_path: Path, learned: bool
) -> None:
    """A confirmation moves no epoch."""
    async with running_worker(tmp_path, SERVING) as bench:
        raw = RAW if learned else RAW.replace(b"Host: m", b"Host: m\r\nX-Forwarded-For: 1.2.3.4")
        age(bench, 58)
        await bench.exchange(raw)
        pass_s(bench, 4)
        assert b"ttl=-2" in await bench.exchange(raw)
        age(bench, -4)  # the keeper's word: confirmed at this very moment
        if learned:
            pass_s(bench, 1)
        answered = await bench.exchange(raw)
        ttl = re.search(rb"ttl=(-?\d+)", answered)
        assert ttl is not None
        assert int(ttl[1]) in (59, 60)
        assert b"stale" not in answered


async def test_a_confirmation_ends_the_staleness_that_a_clock_set_back_made(tmp_path: Path) -> None:
    async with running_worker(tmp_path, SERVING) as bench:
        age(bench, 0)
        await bench.exchange(RAW)
        bench.clock.now_s -= 600
        bench.worker.tick()
        assert b"stale-while-revalidate" in await bench.exchange(RAW)
        age(bench, 600)
        pass_s(bench, 1)
        assert b"hit; ttl=59\r\n" in await bench.exchange(RAW)
        assert bench.keeper.revalidated_keys == [INDEX_KEY]


@pytest.mark.parametrize(
    "path", ["/rustup/dist/x86_64-unknown-linux-gnu/rustup-init", "/dist/channel-rust-beta"]
)
@pytest.mark.parametrize("suffix", ["", ".sha256"])
async def test_who_gets_a_file_and_its_checksum_waits_for_news_of_either(
    tmp_path: Path, path: str, suffix: str
) -> None:
    """Served stale and moved behind the answer, the other of the two would be of another version"""
    key = f"releases:{path}{suffix}"
    async with running_worker(tmp_path, SERVING) as bench:
        raw = f"GET {path}{suffix} HTTP/1.1\r\nHost: m\r\n\r\n".encode()
        bench.reader.keep(key, CONTENT, confirmed_at=NOW - 58, fresh_until=NOW + 2)
        await bench.exchange(raw)  # learned while fresh
        pass_s(bench, 4)
        bench.keeper.answer(
            StoredAnswer(stored=bench.reader.entries[key], outcome="fwd=stale; fwd-status=304")
        )
        assert b"fwd=stale" in await bench.exchange(raw)
        assert [(ask.purpose, ask.key) for ask in bench.keeper.asked] == [(Purpose.REVALIDATE, key)]
        assert bench.keeper.revalidated_keys == []


async def test_other_content_ends_the_staleness_with_the_epoch(tmp_path: Path) -> None:
    async with running_worker(tmp_path, SERVING) as bench:
        age(bench, 58)
        await bench.exchange(RAW)
        pass_s(bench, 4)
        assert CONTENT in await bench.exchange(RAW)
        bench.reader.keep(INDEX_KEY, b"other\n", confirmed_at=NOW + 4, fresh_until=NOW + 64)
        bench.page.bump_epoch()
        assert b"\r\n\r\nother\n" in await bench.exchange(RAW)


@pytest.mark.parametrize(
    ("line", "since"),
    [
        pytest.param("Cache-Control: no-cache", NOW, id="no-cache"),
        pytest.param("Pragma: no-cache", NOW, id="pragma"),
        pytest.param("Cache-Control: max-age=10", NOW - 10, id="max-age"),
        pytest.param("Cache-Control: min-fresh=45", NOW - 15, id="min-fresh"),
    ],
)
async def test_a_client_may_wish_for_younger(tmp_path: Path, line: str, since: float) -> None:
    async with running_worker(tmp_path, SERVING) as bench:
        age(bench, 30)

        async def confirm(ask: Ask) -> StoredAnswer:
            age(bench, 0)
            stored = bench.reader.entries[INDEX_KEY]
            return StoredAnswer(stored=stored, outcome="fwd=stale; fwd-status=304")

        bench.keeper.script = confirm
        answer = await bench.get(INDEX_TARGET, line)
        assert [(ask.purpose, ask.since) for ask in bench.keeper.asked] == [
            (Purpose.REVALIDATE, since)
        ]
        assert parse_single(answer.fields["cache-status"]) == {
            "fwd": Token("request"), "fwd-status": 304, "ttl": 60,
        }  # fmt: skip
        assert answer.fields["age"] == "0"
        # Confirmed a moment ago: the wish is granted from here.
        again = await bench.get(INDEX_TARGET, line)
        assert parse_single(again.fields["cache-status"]) == {"hit": True, "ttl": 60}
        assert len(bench.keeper.asked) == 1


@pytest.mark.parametrize("line", ["Cache-Control: no-store", "Cache-Control: max-age=900"])
async def test_a_wish_that_is_granted_anyway_asks_nobody(tmp_path: Path, line: str) -> None:
    async with running_worker(tmp_path, SERVING) as bench:
        age(bench, 30)
        answer = await bench.get(INDEX_TARGET, line)
        assert parse_single(answer.fields["cache-status"]) == {"hit": True, "ttl": 30}
        assert bench.keeper.asked == []


async def test_a_head_with_a_wish_is_not_learned_as_one_without(tmp_path: Path) -> None:
    async with running_worker(tmp_path, SERVING) as bench:
        age(bench, 2)
        wishing = RAW.replace(b"Host: m", b"Host: m\r\nCache-Control: no-cache")
        indifferent = RAW.replace(b"Host: m", b"Host: m\r\nCache-Control: no-store")
        await bench.exchange(wishing)
        await bench.exchange(indifferent)
        memo = bench.worker._shared.memo
        assert len(memo.tails) == 1
        assert b"no-store" in next(iter(memo.tails))
        pass_s(bench, 9)  # beyond the floor: the same bytes mean something else
        bench.keeper.answer(Failed(status=503, reason="away"))
        await bench.exchange(wishing)
        assert len(bench.keeper.asked) == 1


@pytest.mark.parametrize("confirmed_s", [None, 75])
async def test_only_if_cached_is_504_where_upstream_would_be_asked(
    tmp_path: Path, confirmed_s: float | None
) -> None:
    async with running_worker(tmp_path, SERVING) as bench:
        if confirmed_s is not None:
            age(bench, confirmed_s)
        answer = await bench.get(INDEX_TARGET, "Cache-Control: only-if-cached")
        assert answer.status == 504
        assert not {"cache-status", "proxy-status", "age"} & answer.fields.keys()
        assert bench.keeper.asked == []


async def test_only_if_cached_is_given_what_is_here(tmp_path: Path) -> None:
    async with running_worker(tmp_path, SERVING) as bench:
        age(bench, 63)
        answer = await bench.get(INDEX_TARGET, "Cache-Control: only-if-cached")
        assert (answer.status, answer.content) == (200, CONTENT)


@pytest.mark.parametrize(
    ("confirmed_s", "status"), [pytest.param(160, 200, id="at"), pytest.param(161, 503, id="over")]
)
async def test_a_copy_stands_in_within_stale_if_error(
    tmp_path: Path, confirmed_s: float, status: int
) -> None:
    async with running_worker(tmp_path, SERVING) as bench:
        age(bench, confirmed_s)
        failure = Failed(
            status=503,
            reason="10.1.2.3 said no",
            retry_after_s=2,
            error_type=ErrorType.CONNECTION_REFUSED,
        )
        bench.keeper.answer(failure)
        answer = await bench.get(INDEX_TARGET)
        assert answer.status == status
        if status == 200:
            said = parse_single(answer.fields["cache-status"])
            assert said["detail"] == "stale-if-error, unavailable"
            assert said["ttl"] == -100
        else:
            assert parse_single(answer.fields["proxy-status"]) == {
                "error": Token("connection_refused"), "details": "unavailable",
            }  # fmt: skip


async def test_a_remembered_absence_has_age_and_ttl(tmp_path: Path) -> None:
    async with running_worker(tmp_path, SERVING) as bench:
        age(bench, 12, status=404, digest=b"")
        answer = await bench.get(INDEX_TARGET)
        assert (answer.status, answer.fields["age"]) == (404, "12")
        assert parse_single(answer.fields["cache-status"]) == {"hit": True, "ttl": 48}


async def test_age_never_goes_below_zero_when_the_clock_was_set_back(tmp_path: Path) -> None:
    async with running_worker(tmp_path, SERVING) as bench:
        age(bench, -30)
        answer = await bench.get(INDEX_TARGET)
        assert answer.fields["age"] == "0"
        assert answer.fields["date"] == "Fri, 15 Jan 2027 08:00:00 GMT"
        age(bench, -3600)  # an hour: whatever it says of its freshness, upstream is asked
        bench.page.bump_epoch()
        answer = await bench.get(INDEX_TARGET)
        assert answer.fields["age"] == "0"
        assert bench.keeper.revalidated_keys == [INDEX_KEY]


async def test_age_stays_within_31_bits(tmp_path: Path) -> None:
    async with running_worker(tmp_path, SERVING) as bench:
        bench.reader.keep(CRATE_KEY, b"crate", confirmed_at=-1e10)
        bench.keeper.is_connected = False  # or it would be asked about
        answer = await bench.get(CRATE_TARGET)
        assert answer.fields["age"] == str(2**31 - 1)


async def test_a_loop_is_told_in_the_words_of_rfc_9209(tmp_path: Path) -> None:
    async with running_worker(tmp_path, SERVING) as bench:
        answer = await bench.get(INDEX_TARGET, "CDN-Loop: rust-mirror")
        said = parse_single(answer.fields["proxy-status"])
        assert (answer.status, said) == (508, {"error": Token("proxy_loop_detected")})


async def test_answers_made_here_have_no_cache_status(tmp_path: Path) -> None:
    async with running_worker(tmp_path, SERVING) as bench:
        for target in ("/", "/index/config.json", "/no/such/thing"):
            answer = await bench.get(target)
            assert not {"cache-status", "proxy-status", "age"} & answer.fields.keys(), target

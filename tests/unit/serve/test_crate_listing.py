"""A crate's hit: served, served and checked behind it, or after the check."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.accounting.layout import Outcome
from mirror.fill.messages import Ask, Failed, Purpose, StoredAnswer
from mirror.route.route import ContentClass
from tests.unit.serve.fakes import CRATE_KEY, CRATE_TARGET, INDEX_KEY, Bench, running_worker

CONTENT = b"a crate"
LINES = b'{"name":"serde"}\n'
LARGE = b"0123456789abcdef" * 8192
NOW = 1_800_000_000.0
RAW = f"GET {CRATE_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n".encode()


def keep(bench: Bench, *, crate_s: float, index_s: float | None, content: bytes = CONTENT) -> None:
    """Store a crate and its index file, confirmed so many seconds ago (None: no index file)."""
    bench.reader.keep(CRATE_KEY, content, confirmed_at=NOW - crate_s)
    if index_s is not None:
        bench.reader.keep(
            INDEX_KEY, LINES, confirmed_at=NOW - index_s, fresh_until=NOW - index_s + 60
        )


@pytest.mark.parametrize(
    ("crate_s", "index_s", "is_checked"),
    [
        pytest.param(5, None, False, id="crate-just-fetched"),
        pytest.param(5, 10_000, False, id="crate-just-fetched-index-old"),
        pytest.param(1e6, 59, False, id="index-just-confirmed"),
        pytest.param(1e6, 61, True, id="index-confirmed-a-minute-ago"),
        pytest.param(61, None, True, id="crate-fetched-a-minute-ago-no-index"),
        pytest.param(61, 10_000, True, id="crate-fetched-a-minute-ago-index-old"),
        pytest.param(1e6, 600, True, id="index-confirmed-ten-minutes-ago"),
    ],
)
@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
async def test_a_hit_starts_a_check_when_the_listing_is_a_minute_old(
    tmp_path: Path, crate_s: float, index_s: float | None, is_checked: bool, content: bytes
) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench, crate_s=crate_s, index_s=index_s, content=content)
        answer = await bench.get(CRATE_TARGET)
        assert (answer.status, answer.content) == (200, content)
        assert answer.fields["cache-status"] == "rust-mirror; hit"
        assert bench.keeper.asked == []
        assert bench.keeper.checked_keys == [CRATE_KEY] * is_checked


@pytest.mark.parametrize("index_s", [601, None])
async def test_a_hit_waits_for_the_check_when_the_listing_is_ten_minutes_old(
    tmp_path: Path, index_s: float | None
) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench, crate_s=1e6, index_s=index_s)
        stored = bench.reader.entries[CRATE_KEY]
        bench.keeper.answer(StoredAnswer(stored=stored, outcome="fwd=stale; fwd-status=304"))
        answer = await bench.get(CRATE_TARGET)
        assert answer.content == CONTENT
        assert answer.fields["cache-status"] == "rust-mirror; fwd=stale; fwd-status=304"
        assert [ask.purpose for ask in bench.keeper.asked] == [Purpose.REVALIDATE]
        # What the keeper confirmed is a hit again, with nothing to check.
        again = await bench.get(CRATE_TARGET)
        assert again.fields["cache-status"] == "rust-mirror; hit"
        assert (len(bench.keeper.asked), bench.keeper.checked_keys) == (1, [])


async def test_deleted_crate_is_404_after_the_check(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench, crate_s=1e6, index_s=601)
        bench.keeper.answer(Failed(status=404, reason="not listed"))
        assert (await bench.get(CRATE_TARGET)).status == 404


async def test_an_absent_index_file_vouches_for_no_version(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench, crate_s=1e6, index_s=None)
        bench.reader.keep(INDEX_KEY, b"", status=404, digest=b"", confirmed_at=NOW)
        bench.keeper.answer(Failed(status=404, reason="not listed"))
        assert (await bench.get(CRATE_TARGET)).status == 404
        assert [ask.purpose for ask in bench.keeper.asked] == [Purpose.REVALIDATE]


@pytest.mark.parametrize("index_s", [-3600, None])
async def test_what_a_clock_set_back_confirmed_in_the_future_vouches_for_nothing(
    tmp_path: Path, index_s: float | None
) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench, crate_s=-3600, index_s=index_s)
        stored = bench.reader.entries[CRATE_KEY]
        bench.keeper.answer(StoredAnswer(stored=stored, outcome="fwd=stale", is_stale=True))
        for _ in range(3):  # upstream is away: one asks, the others are excused
            assert (await bench.get(CRATE_TARGET)).content == CONTENT
        assert [ask.purpose for ask in bench.keeper.asked] == [Purpose.REVALIDATE]


@pytest.mark.parametrize("answer", ["stale", "failed"])
async def test_upstream_away_is_served_and_not_waited_for_at_every_hit(
    tmp_path: Path, answer: str
) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench, crate_s=1e6, index_s=601)
        stored = bench.reader.entries[CRATE_KEY]

        async def away(_: Ask) -> StoredAnswer | Failed:
            if answer == "failed":
                return Failed(status=503, reason="away")
            return StoredAnswer(stored=stored, outcome="fwd=stale", is_stale=True)

        bench.keeper.script = away
        for _ in range(3):
            assert (await bench.get(CRATE_TARGET)).content == CONTENT
        assert len(bench.keeper.asked) == 1
        assert bench.count(ContentClass.CRATE, Outcome.STALE)[0] == 1
        # Meanwhile each look goes on wanting a check; the keeper's end asks seldom.
        assert bench.keeper.checked_keys == [CRATE_KEY] * 2
        bench.clock.advance(6)
        bench.worker.tick()
        assert (await bench.get(CRATE_TARGET)).content == CONTENT
        assert len(bench.keeper.asked) == 2


async def test_without_a_keeper_a_hit_waits_for_nobody(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench, crate_s=1e6, index_s=1e6)
        bench.keeper.is_connected = False
        answer = await bench.get(CRATE_TARGET)
        assert (answer.status, answer.content) == (200, CONTENT)
        assert bench.keeper.asked == []
        assert bench.keeper.checked_keys == [CRATE_KEY]


async def test_a_deletion_once_seen_holds_without_a_keeper(tmp_path: Path) -> None:
    """The keeper withdrew the crate and moved the epoch before it went away."""
    async with running_worker(tmp_path) as bench:
        keep(bench, crate_s=1e6, index_s=30)
        assert (await bench.exchange(RAW)).startswith(b"HTTP/1.1 200 ")
        bench.reader.keep(CRATE_KEY, b"", status=404, digest=b"")
        bench.page.bump_epoch()
        bench.keeper.is_connected = False
        assert (await bench.exchange(RAW)).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
async def test_learned_hits_are_looked_at_once_a_second(tmp_path: Path, content: bytes) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench, crate_s=1e6, index_s=55, content=content)
        for _ in range(5):
            assert (await bench.exchange(RAW)).endswith(content)
        assert bench.keeper.checked_keys == []
        bench.clock.advance(10)
        bench.worker.tick()
        lookups = bench.reader.lookups
        for _ in range(5):
            assert (await bench.exchange(RAW)).endswith(content)
        assert bench.keeper.checked_keys == [CRATE_KEY]
        assert bench.reader.lookups == lookups + 1
        # The keeper confirmed the index file: nothing to check, and no look-up while it is young.
        bench.reader.keep(INDEX_KEY, LINES, confirmed_at=bench.clock.now_s)
        for _ in range(3):
            bench.clock.advance(2)
            bench.worker.tick()
            assert (await bench.exchange(RAW)).endswith(content)
        assert bench.keeper.checked_keys == [CRATE_KEY]
        assert bench.reader.lookups == lookups + 2


async def test_learned_hit_waits_when_its_time_has_come(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        keep(bench, crate_s=1e6, index_s=55)
        for _ in range(2):
            await bench.exchange(RAW)
        bench.clock.advance(601)
        bench.worker.tick()
        stored = bench.reader.entries[CRATE_KEY]
        bench.keeper.answer(StoredAnswer(stored=stored, outcome="fwd=stale; fwd-status=304"))
        assert b"fwd=stale; fwd-status=304" in await bench.exchange(RAW)
        assert [ask.purpose for ask in bench.keeper.asked] == [Purpose.REVALIDATE]
        assert b"rust-mirror; hit\r\n" in await bench.exchange(RAW)


async def test_other_kinds_are_never_checked(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        target = "/dist/2026-01-01/rustc-1.95.0-x86_64-unknown-linux-gnu.tar.xz"
        bench.reader.keep(f"releases:{target}", CONTENT, confirmed_at=0.0)
        assert (await bench.get(target)).content == CONTENT
        assert bench.keeper.asked == []
        assert bench.keeper.checked_keys == []

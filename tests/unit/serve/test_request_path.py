"""What is served, from where, and when it is not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mirror.accounting.layout import Outcome
from mirror.fill.messages import Ask, Failed, Purpose, StoredAnswer
from mirror.route.route import ContentClass
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    INDEX_KEY,
    INDEX_TARGET,
    config_with,
    running_worker,
)

CONTENT = b'{"name":"serde"}\n'
BIG = b"0123456789abcdef" * 8192
DETAILS = {502: "wrong-content", 503: "unavailable", 504: "upstream-timeout"}


async def test_hot_entry_is_looked_up_once(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(INDEX_KEY, CONTENT)
        for _ in range(5):
            assert (await bench.get(INDEX_TARGET)).content == CONTENT
        assert bench.reader.lookups == 1
        bench.worker.accounts.settle()
        assert bench.keeper.used_keys == [INDEX_KEY] * 5


async def test_date_age_and_ttl_follow_the_clock(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(INDEX_KEY, CONTENT, fresh_until=1_800_000_050.0)
        first = await bench.get(INDEX_TARGET)
        bench.clock.advance(7)
        bench.worker.tick()
        second = await bench.get(INDEX_TARGET)
        assert (first.fields["age"], second.fields["age"]) == ("10", "17")
        assert second.fields["cache-status"] == "rust-mirror; hit; ttl=43"
        assert second.fields["date"] == "Fri, 15 Jan 2027 08:00:07 GMT"


async def test_entry_leaves_the_hot_map_when_its_freshness_ends(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(INDEX_KEY, CONTENT, fresh_until=1_800_000_005.0)
        await bench.get(INDEX_TARGET)
        bench.clock.advance(6)
        bench.worker.tick()
        renewed = bench.reader.keep(INDEX_KEY, CONTENT, fresh_until=1_800_000_060.0)
        bench.keeper.answer(StoredAnswer(stored=renewed, outcome="fwd=stale; fwd-status=304"))
        answer = await bench.get(INDEX_TARGET)
        assert answer.fields["cache-status"] == "rust-mirror; hit; ttl=54"
        assert bench.keeper.asked == []


async def test_stale_entry_is_revalidated_by_the_keeper(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        stored = bench.reader.keep(INDEX_KEY, CONTENT, fresh_until=1_700_000_000.0)
        bench.keeper.answer(StoredAnswer(stored=stored, outcome="fwd=stale; fwd-status=304"))
        answer = await bench.get(INDEX_TARGET)
        words = "rust-mirror; fwd=stale; ttl=-100000000; fwd-status=304"
        assert answer.fields["cache-status"] == words
        assert [ask.purpose for ask in bench.keeper.asked] == [Purpose.REVALIDATE]
        assert bench.count(ContentClass.INDEX, Outcome.REVALIDATED) == (1, len(CONTENT))


async def test_withdrawn_entry_is_gone_with_the_epoch(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(INDEX_KEY, CONTENT)
        assert (await bench.get(INDEX_TARGET)).status == 200
        del bench.reader.entries[INDEX_KEY]
        bench.page.bump_epoch()
        assert (await bench.get(INDEX_TARGET)).status == 404
        assert len(bench.keeper.asked) == 1


async def test_replaced_entry_is_served_anew_after_the_epoch(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(INDEX_KEY, CONTENT)
        await bench.get(INDEX_TARGET)
        bench.reader.keep(INDEX_KEY, b"other\n")
        bench.page.bump_epoch()
        assert (await bench.get(INDEX_TARGET)).content == b"other\n"


async def test_unchanged_entry_stays_hot_over_an_epoch(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        stored = bench.reader.keep(INDEX_KEY, CONTENT)
        raw = f"GET {INDEX_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n".encode()
        await bench.exchange(raw)
        bench.reader.evict(stored)  # only what is in memory can answer
        bench.page.bump_epoch()
        assert b" 200 OK" in await bench.exchange(raw)
        assert bench.reader.lookups == 2


@pytest.mark.parametrize(
    ("key", "target", "content"),
    [
        pytest.param(INDEX_KEY, INDEX_TARGET, CONTENT, id="small"),
        pytest.param(CRATE_KEY, CRATE_TARGET, BIG, id="large"),
    ],
)
async def test_evicted_blob_is_a_miss(
    tmp_path: Path, key: str, target: str, content: bytes
) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.evict(bench.reader.keep(key, content))
        bench.keeper.answer(Failed(status=404, reason="gone"))
        assert (await bench.get(target)).status == 404
        assert [ask.purpose for ask in bench.keeper.asked] == [Purpose.FETCH]


@pytest.mark.parametrize(
    ("key", "target", "content"),
    [
        pytest.param(INDEX_KEY, INDEX_TARGET, CONTENT, id="small"),
        pytest.param(CRATE_KEY, CRATE_TARGET, BIG, id="large"),
    ],
)
async def test_changed_file_is_never_served(
    tmp_path: Path, key: str, target: str, content: bytes
) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.damage(bench.reader.keep(key, content), content[:-1] + b"X")

        async def attest(ask: Ask) -> StoredAnswer:
            assert ask.purpose is Purpose.ATTEST
            return StoredAnswer(stored=bench.reader.keep(key, content), outcome="hit")

        bench.keeper.script = attest
        assert (await bench.get(target)).content == content


async def test_file_that_is_never_usable_is_503(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        stored = bench.reader.keep(CRATE_KEY, BIG)
        bench.reader.evict(stored)
        bench.keeper.answer(StoredAnswer(stored=stored, outcome="hit"))
        answer = await bench.get(CRATE_TARGET)
        assert (answer.status, answer.fields["retry-after"]) == (503, "1")
        assert len(bench.keeper.asked) == 3


async def test_remembered_absence_is_404_without_asking(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(INDEX_KEY, b"", status=404, digest=b"")
        answer = await bench.get(INDEX_TARGET)
        assert (answer.status, answer.content) == (404, b"No such object.\n")
        assert bench.keeper.asked == []
        assert bench.count(ContentClass.INDEX, Outcome.NEGATIVE)[0] == 1


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_trouble_serves_the_stale_copy(tmp_path: Path, status: int) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(INDEX_KEY, CONTENT, fresh_until=1_799_999_999.0)
        bench.keeper.answer(Failed(status=status, reason="the keeper is away"))
        answer = await bench.get(INDEX_TARGET)
        assert (answer.status, answer.content) == (200, CONTENT)
        detail = DETAILS[status]
        words = f'rust-mirror; fwd=stale; ttl=-1; detail="stale-if-error, {detail}"'
        assert answer.fields["cache-status"] == words
        assert bench.count(ContentClass.INDEX, Outcome.STALE) == (1, len(CONTENT))


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_trouble_without_a_copy_is_no_404(tmp_path: Path, status: int) -> None:
    async with running_worker(tmp_path) as bench:
        bench.keeper.answer(Failed(status=status, reason="away", retry_after_s=7))
        answer = await bench.get(INDEX_TARGET)
        assert (answer.status, answer.fields["retry-after"]) == (status, "7")
        assert answer.fields["proxy-status"] == f'rust-mirror; details="{DETAILS[status]}"'
        assert "cache-status" not in answer.fields


@pytest.mark.parametrize("status", [404, 416, 500, 502, 503, 504])
async def test_upstream_words_and_addresses_stay_here(tmp_path: Path, status: int) -> None:
    async with running_worker(tmp_path) as bench:
        bench.keeper.answer(Failed(status=status, reason="10.1.2.3:8443 said <secret>"))
        received = await bench.exchange(f"GET {INDEX_TARGET} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
        assert b"; detail" in received
        assert b"10.1.2.3" not in received
        assert b"secret" not in received


async def test_client_may_know_that_the_keeper_is_away(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.keeper.is_connected = False
        bench.keeper.answer(Failed(status=503, reason="away", retry_after_s=7))
        answer = await bench.get(INDEX_TARGET)
        assert answer.fields["proxy-status"] == 'rust-mirror; details="keeper-away"'


async def test_inline_answer_obeys_conditions_and_ranges(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.keeper.answer_inline(INDEX_KEY, CONTENT, "fwd=uri-miss; stored")
        whole = await bench.get(INDEX_TARGET)
        part = await bench.get(INDEX_TARGET, "Range: bytes=2-5")
        same = await bench.get(INDEX_TARGET, f"If-None-Match: {whole.fields['etag']}")
        assert (whole.status, whole.content) == (200, CONTENT)
        assert (part.status, part.content) == (206, CONTENT[2:6])
        assert same.status == 304
        assert bench.count(ContentClass.INDEX, Outcome.MISS) == (3, len(CONTENT) + 4)


@pytest.mark.parametrize(
    ("key", "target", "content"),
    [
        pytest.param(INDEX_KEY, INDEX_TARGET, CONTENT, id="small"),
        pytest.param(CRATE_KEY, CRATE_TARGET, BIG, id="large"),
    ],
)
async def test_conditions_and_ranges_of_stored_content(
    tmp_path: Path, key: str, target: str, content: bytes
) -> None:
    size = len(content)
    etag = f'"{hashlib.sha256(content).hexdigest()}"'
    cases: list[tuple[list[str], int, bytes, str | None]] = [
        (["Range: bytes=0-0"], 206, content[:1], f"bytes 0-0/{size}"),
        (["Range: bytes=3-"], 206, content[3:], f"bytes 3-{size - 1}/{size}"),
        (["Range: bytes=-4"], 206, content[-4:], f"bytes {size - 4}-{size - 1}/{size}"),
        (["Range: bytes=0-3,3-4"], 200, content, None),
        (["Range: bytes=1-2", f"If-Range: {etag}"], 206, content[1:3], f"bytes 1-2/{size}"),
        (["Range: bytes=1-2", 'If-Range: "x"'], 200, content, None),
        ([f"If-None-Match: W/{etag}"], 304, b"", None),
        ([f'If-None-Match: "x", {etag[:-1]}-gzip"'], 304, b"", None),
        (["If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT"], 304, b"", None),
        (['If-Match: "x"'], 412, b"A precondition of the request does not hold.\n", None),
        (
            [f"Range: bytes={size}-"],
            416,
            b"The range lies outside the representation.\n",
            f"bytes */{size}",
        ),
    ]
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(key, content)
        for lines, status, expected, content_range in cases:
            answer = await bench.get(target, *lines)
            assert (lines, answer.status) == (lines, status)
            assert answer.content == expected
            assert answer.fields.get("content-range") == content_range
            assert answer.fields["etag"] == etag


async def test_learned_conditional_answers_as_the_parsed_one(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        stored = bench.reader.keep(INDEX_KEY, CONTENT)
        digits = stored.entry.digest.hex()
        head = f"GET {INDEX_TARGET} HTTP/1.1\r\nHost: m\r\nif-none-match: "
        matching = f'{head}"{digits}"\r\n\r\n'.encode()
        other = f'{head}"{digits[::-1]}"\r\n\r\n'.encode()
        first = await bench.exchange(matching)
        assert first.startswith(b"HTTP/1.1 304 Not Modified\r\n")
        assert await bench.exchange(matching) == first
        assert (await bench.exchange(other)).endswith(CONTENT)
        bench.reader.keep(INDEX_KEY, b"other\n")
        bench.page.bump_epoch()
        assert (await bench.exchange(matching)).endswith(b"other\n")


async def test_false_claim_is_404_and_true_claim_a_hit(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        stored = bench.reader.keep(CRATE_KEY, CONTENT)
        for digest, status in ((stored.entry.digest.hex(), 200), ("0" * 64, 404)):
            for _ in range(2):
                answer = await bench.get(f"/crates/serde/1.0.0/{digest}/download")
                assert (digest, answer.status) == (digest, status)
        assert bench.keeper.asked == []


async def test_unknown_path_asks_nobody(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        for target in ("/x", "/dist/", "/doc/std", "/index/SE/RD/serde"):
            assert (await bench.get(target)).status == 404
        assert bench.keeper.asked == []
        assert bench.reader.lookups == 0


async def test_fault_in_the_keeper_client_is_500_and_an_event(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:

        async def script(_: Ask) -> Failed:
            raise ValueError("broken")

        bench.keeper.script = script
        assert (await bench.get(INDEX_TARGET)).status == 500
        assert "request-failed" in bench.log.names()


async def test_hot_memory_is_bounded(tmp_path: Path) -> None:
    async with running_worker(tmp_path, config_with(hot_memory=1 << 20)) as bench:
        for number in range(100):
            name = f"n{number:02}x"
            bench.reader.keep(f"index:/n{number // 10}/{number % 10}x/{name}", b"y" * 20_000)
            assert (await bench.get(f"/index/n{number // 10}/{number % 10}x/{name}")).status == 200
        assert bench.worker.hot_bytes <= 1 << 20

"""A channel's files: one client's sequence is of one generation, whichever worker it asks."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import pytest

from mirror.fill.bodies import InlineBody
from mirror.fill.messages import Ask, Failed, Purpose, StoredAnswer
from mirror.store.entry import former_key
from tests.unit.serve.channel_flips import (
    KEY,
    NEXT,
    OLD,
    STALE,
    SUFFIXES,
    TARGET,
    Generation,
    get,
    publish,
    two_workers,
)
from tests.unit.serve.fakes import (
    config_with,
    make_entry,
    running_worker,
)

THIRD = Generation("third")


ORDERS = [
    pytest.param(order, id=" ".join(suffix or ".toml" for suffix in order))
    for order in itertools.permutations(SUFFIXES)
]


@pytest.mark.parametrize("order", ORDERS)
async def test_a_flip_inside_a_sequence_is_not_seen_in_any_order(
    tmp_path: Path, order: tuple[str, str, str]
) -> None:
    async with two_workers(tmp_path) as (first, second):
        publish(first, OLD)
        assert await get(first, order[0]) == OLD.content(order[0])
        publish(first, NEXT, OLD)
        assert await get(second, order[1]) == OLD.content(order[1])
        assert await get(first, order[2]) == OLD.content(order[2])
        # All are given: whatever is asked again begins with the current generation.
        assert await get(second, order[0]) == NEXT.content(order[0])
        assert await get(first, order[1]) == NEXT.content(order[1])
        assert first.keeper.asked == []


async def test_another_client_gets_the_current_generation(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (first, second):
        publish(first, OLD)
        await get(first, ".sha256", client="127.0.0.2")
        publish(first, NEXT, OLD)
        assert await get(second, "", client="127.0.0.3") == NEXT.content("")
        assert await get(second, "", client="127.0.0.2") == OLD.content("")


async def test_the_client_is_who_the_trusted_proxy_says(tmp_path: Path) -> None:
    config = config_with(trusted_proxies=("127.0.0.9/32",))
    async with running_worker(tmp_path, config) as bench:
        publish(bench, OLD)

        async def ask(suffix: str, client: str) -> bytes:
            return await get(bench, suffix, f"X-Forwarded-For: {client}", client="127.0.0.9")

        await ask(".sha256", "192.0.2.1")
        publish(bench, NEXT, OLD)
        assert await ask("", "192.0.2.2") == NEXT.content("")
        assert await ask("", "192.0.2.1") == OLD.content("")


async def test_a_sequence_ends_after_ten_seconds(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (first, second):
        publish(first, OLD)
        await get(first, ".sha256")
        publish(first, NEXT, OLD)
        first.clock.advance(10)
        for bench in (first, second):
            bench.worker.tick()
        assert await get(second, "") == NEXT.content("")


async def test_a_sequence_is_served_though_its_freshness_ended(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        publish(bench, OLD, fresh_until=1_800_000_002.0)
        await get(bench, ".sha256")
        bench.clock.advance(5)
        bench.worker.tick()
        answer = await bench.get(TARGET)
        assert answer.content == OLD.content("")
        assert answer.fields["cache-status"] == "rust-mirror; hit; ttl=-3"
        assert bench.keeper.asked == []


async def test_what_is_hot_of_the_former_generation_is_not_mixed_with_an_inline_answer(
    tmp_path: Path,
) -> None:
    """1. worker 2 holds .toml of the former, hot  2. worker 1 gives .sha256 of the next, inline
    3. nothing is committed yet, so no epoch moved  4. the client asks worker 2 for .toml."""
    async with two_workers(tmp_path) as (first, second):
        publish(first, OLD)
        assert await get(second, "", client="127.0.0.8") == OLD.content("")

        async def uncommitted(ask: Ask) -> InlineBody:
            suffix = ask.key.removeprefix(KEY)
            content = NEXT.content(suffix)
            entry = make_entry(ask.key, content, voucher=NEXT.voucher)
            return InlineBody(entry=entry, outcome="fwd=stale; stored", content=content)

        first.keeper.script = uncommitted
        old = first.reader.entries[f"{KEY}.sha256"]
        first.reader.keep(
            f"{KEY}.sha256", OLD.content(".sha256"), voucher=OLD.voucher, fresh_until=STALE
        )
        assert old.entry.voucher == OLD.voucher
        assert await get(first, ".sha256") == NEXT.content(".sha256")
        assert await get(second, "") == NEXT.content("")
        assert [ask.key for ask in first.keeper.asked] == [f"{KEY}.sha256", KEY]
        assert first.keeper.asked[1].purpose is Purpose.REVALIDATE
        # Who is in no sequence still gets what is hot.
        assert await get(second, "", client="127.0.0.8") == OLD.content("")


async def test_a_flip_while_the_keeper_is_asked_ends_with_the_former(tmp_path: Path) -> None:
    """1. the client has .sha256 of G1  2. the index knows neither generation's .toml by then
    3. the keeper is asked, commits the next and answers with it  4. G1 is the former."""
    async with running_worker(tmp_path) as bench:
        publish(bench, OLD)
        await get(bench, ".sha256")
        stored = bench.reader.entries.pop(KEY)
        bench.page.bump_epoch()

        async def flip(_: Ask) -> StoredAnswer:
            bench.reader.entries[KEY] = stored
            publish(bench, NEXT, OLD)
            return StoredAnswer(stored=bench.reader.entries[KEY], outcome="fwd=stale; stored")

        bench.keeper.script = flip
        assert await get(bench, "") == OLD.content("")
        assert len(bench.keeper.asked) == 1


async def test_a_flip_while_the_keeper_is_asked_leaves_an_absent_signature_absent(
    tmp_path: Path,
) -> None:
    unsigned = Generation("old", has_signature=False)
    async with running_worker(tmp_path) as bench:
        publish(bench, unsigned)
        await get(bench, "")
        absent = bench.reader.entries.pop(f"{KEY}.asc")
        bench.page.bump_epoch()

        async def flip(_: Ask) -> StoredAnswer:
            bench.reader.entries[f"{KEY}.asc"] = absent
            publish(bench, NEXT, unsigned)
            stored = bench.reader.entries[f"{KEY}.asc"]
            return StoredAnswer(stored=stored, outcome="fwd=stale; stored")

        bench.keeper.script = flip
        assert (await bench.get(f"{TARGET}.asc")).status == 404
        assert len(bench.keeper.asked) == 1


async def test_files_without_a_known_generation_are_served_without_sequences(
    tmp_path: Path,
) -> None:
    async with running_worker(tmp_path) as bench:
        publish(bench, OLD)
        await get(bench, ".sha256")
        for suffix in SUFFIXES:
            content = f"unnamed{suffix}".encode()
            bench.reader.keep(KEY + suffix, content, voucher="somebody")
        bench.page.bump_epoch()
        bench.keeper.answer(StoredAnswer(stored=bench.reader.entries[KEY], outcome="hit"))
        assert await get(bench, "") == b"unnamed"
        publish(bench, NEXT, OLD)
        assert await get(bench, ".asc") == NEXT.content(".asc")


async def test_a_generation_that_is_nowhere_gives_way_to_another_sequence(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        publish(bench, OLD)
        await get(bench, ".sha256")
        publish(bench, THIRD, NEXT)
        bench.keeper.answer(StoredAnswer(stored=bench.reader.entries[KEY], outcome="hit"))
        assert await get(bench, "") == THIRD.content("")
        assert await get(bench, ".sha256") == THIRD.content(".sha256")
        assert await get(bench, ".asc") == THIRD.content(".asc")
        assert len(bench.keeper.asked) == 1


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_trouble_never_mixes_a_stale_copy_of_another_generation_in(
    tmp_path: Path, status: int
) -> None:
    async with running_worker(tmp_path) as bench:
        publish(bench, OLD)
        await get(bench, ".sha256")
        publish(bench, THIRD, NEXT)
        bench.keeper.answer(Failed(status=status, reason="away", retry_after_s=2))
        answer = await bench.get(TARGET)
        assert answer.status == status
        # Nothing was given, so the sequence holds.
        publish(bench, NEXT, OLD)
        assert await get(bench, "") == OLD.content("")


async def test_trouble_serves_the_stale_copy_outside_of_a_sequence(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        publish(bench, OLD, fresh_until=STALE)
        bench.keeper.answer(Failed(status=503, reason="away"))
        assert await get(bench, "") == OLD.content("")
        publish(bench, NEXT, OLD, fresh_until=STALE)
        assert await get(bench, ".sha256") == OLD.content(".sha256")


async def test_an_absent_signature_is_part_of_its_generation(tmp_path: Path) -> None:
    unsigned = Generation("old", has_signature=False)
    async with two_workers(tmp_path) as (first, second):
        publish(first, unsigned)
        assert (await first.get(f"{TARGET}.asc")).status == 404
        publish(first, NEXT, unsigned)
        assert await get(second, "") == unsigned.content("")
        assert (await second.get(f"{TARGET}.asc")).status == 200  # repeated: another sequence


async def test_a_signature_that_came_later_is_absent_in_an_earlier_sequence(
    tmp_path: Path,
) -> None:
    unsigned = Generation("old", has_signature=False)
    async with two_workers(tmp_path) as (first, second):
        publish(first, unsigned)
        assert await get(first, "") == unsigned.content("")
        publish(first, NEXT, unsigned)
        assert (await second.get(f"{TARGET}.asc")).status == 404


async def test_not_modified_counts_as_given(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (first, second):
        publish(first, OLD)
        tag = f'"{hashlib.sha256(OLD.content(".sha256")).hexdigest()}"'
        for _ in range(2):
            answer = await first.get(f"{TARGET}.sha256", f"If-None-Match: {tag}")
            assert answer.status == 304
        publish(first, NEXT, OLD)
        assert await get(second, "") == OLD.content("")


async def test_a_part_counts_as_given_and_comes_from_the_sequence(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (first, second):
        publish(first, OLD)
        assert (await first.get(f"{TARGET}.sha256", "Range: bytes=0-1")).status == 206
        publish(first, NEXT, OLD)
        answer = await second.get(TARGET, "Range: bytes=0-2")
        assert (answer.status, answer.content) == (206, OLD.content("")[:3])


@pytest.mark.parametrize(
    ("lines", "status"),
    [(("Range: bytes=9999-",), 416), (('If-Match: "x"',), 412)],
    ids=["unsatisfiable", "failed-precondition"],
)
async def test_a_refused_part_begins_no_sequence(
    tmp_path: Path, lines: tuple[str, ...], status: int
) -> None:
    async with running_worker(tmp_path) as bench:
        publish(bench, OLD)
        assert (await bench.get(f"{TARGET}.sha256", *lines)).status == status
        publish(bench, NEXT, OLD)
        assert await get(bench, "") == NEXT.content("")


async def test_head_sees_what_get_would_answer_and_gives_nothing(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (first, second):
        publish(first, OLD)
        await first.get(f"{TARGET}.asc", method="HEAD")
        publish(first, NEXT, OLD)
        assert await get(first, ".sha256") == NEXT.content(".sha256")  # HEAD began nothing
        publish(first, THIRD, NEXT)
        for bench in (first, second):  # it does not use the file up either
            head = await bench.get(TARGET, method="HEAD")
            assert head.fields["etag"] == f'"{hashlib.sha256(NEXT.content("")).hexdigest()}"'
        assert await get(second, "") == NEXT.content("")


async def test_large_manifest_of_the_former_comes_from_its_file(tmp_path: Path) -> None:
    old = Generation("old", size_bytes=200_000)
    async with two_workers(tmp_path) as (first, second):
        publish(first, old)
        await get(first, ".sha256")
        publish(first, Generation("next", size_bytes=200_000), old)
        answer = await second.get(TARGET)
        assert answer.content == old.content("")
        # What it left hot is the current one's.
        later = await second.get(TARGET, client="127.0.0.7")
        assert later.content.startswith(b"next")


async def test_evicted_file_of_a_sequence_is_asked_for(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        publish(bench, OLD)
        await get(bench, ".sha256")
        publish(bench, NEXT, OLD)
        bench.reader.evict(bench.reader.entries[former_key(KEY)])
        bench.keeper.answer(StoredAnswer(stored=bench.reader.entries[KEY], outcome="hit"))
        assert await get(bench, "") == NEXT.content("")

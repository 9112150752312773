"""Small objects whose digest nobody states: fetched, checked, confirmed, withdrawn."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

from mirror.fill.memory import BUDGET_BYTES
from mirror.fill.messages import Failed, Purpose, StoredAnswer
from mirror.fill.replies import FILLED, REFILLED
from tests.unit.fill.keeper_world import World, index_lines, inline, noise, sha256
from tests.unit.fill.scripted_pool import Step
from tests.unit.fill.signed_world import signature

SERDE = "index:/se/rd/serde"
HEAD = "releases:/rustup/release-stable.toml"
LINES = index_lines("serde", {"1.0.0": b"x"})
TOML = b"schema-version = '1'\nversion = '1.29.0'\n"


async def test_an_object_is_answered_inline_and_then_stored(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.index.put("/se/rd/serde", LINES)
        reply = inline(await world.ask(SERDE))
        assert (reply.content, reply.outcome) == (LINES, FILLED)
        await world.settled()
        again = await world.ask(SERDE)
        assert isinstance(again, StoredAnswer)
        assert (again.outcome, again.stored.entry.digest) == ("hit", sha256(LINES))
        assert len(world.index.requests) == 1


async def test_index_files_are_asked_for_gzip_coded(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        body = index_lines("serde", {f"1.0.{n}": b"%d" % n for n in range(2000)})
        world.index.put("/se/rd/serde", body)
        assert inline(await world.ask(SERDE)).content == body
        assert world.index.requests[0].fields["Accept-Encoding"] == "gzip"
        assert world.index.sent("/se/rd/serde") < len(body)


async def test_a_stale_object_is_asked_about_with_its_validators(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        when = "Sun, 06 Nov 1994 08:49:37 GMT"
        world.index.put("/se/rd/serde", LINES, last_modified=when)
        first = inline(await world.ask(SERDE))
        assert first.entry.last_modified == 784111777
        await world.settled()
        world.clock.move(61)
        reply = await world.ask(SERDE, Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert (reply.outcome, reply.is_stale) == ("fwd=stale; fwd-status=304", False)
        asked = world.index.requests[1].fields
        assert asked["If-None-Match"] == first.entry.upstream_etag
        assert asked["If-Modified-Since"] == when
        await world.settled()
        stored = world.stored(SERDE)
        assert stored is not None
        assert stored.entry.confirmed_at == world.clock.now()
        assert stored.entry.fresh_until == world.clock.now() + 60


async def test_a_changed_object_replaces_the_stored_one(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.index.put("/se/rd/serde", LINES)
        await world.ask(SERDE)
        await world.settled()
        world.clock.move(61)
        newer = index_lines("serde", {"1.0.0": b"x", "1.0.1": b"y"})
        world.index.put("/se/rd/serde", newer)
        reply = inline(await world.ask(SERDE, Purpose.REVALIDATE))
        assert (reply.content, reply.outcome) == (newer, REFILLED)
        await world.settled()
        assert world.stored_content(SERDE) == newer


async def test_a_304_to_an_unconditional_request_is_an_error(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        resource = world.index.put("/se/rd/serde", LINES)
        resource.steps = [_status(304)]
        reply = await world.ask(SERDE)
        assert isinstance(reply, Failed)
        assert reply.status == 503
        assert len(world.index.played) == 1


@pytest.mark.parametrize("status", [404, 410])
async def test_an_absence_is_remembered_for_the_negative_lifetime(
    tmp_path: Path, status: int
) -> None:
    async with World(tmp_path) as world:
        world.index.absent_status = status
        reply = await world.ask(SERDE)
        assert isinstance(reply, StoredAnswer)
        assert (reply.stored.entry.status, reply.outcome) == (404, "fwd=uri-miss; stored")
        await world.settled()
        again = await world.ask(SERDE)
        assert isinstance(again, StoredAnswer)
        assert again.outcome == "hit"
        world.clock.move(31)
        await world.ask(SERDE)
        assert len(world.index.requests) == 2


async def test_an_object_that_upstream_drops_is_withdrawn_with_an_epoch(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.releases.put("/rustup/release-stable.toml", TOML)
        await world.ask(HEAD)
        await world.settled()
        epoch = world.page.epoch
        world.clock.move(61)
        del world.releases.resources["/rustup/release-stable.toml"]
        reply = await world.ask(HEAD, Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert reply.stored.entry.status == 404
        assert world.page.epoch > epoch
        assert world.log.named("withdrawn")


@pytest.mark.parametrize("trouble", ["status", "error", "403"])
async def test_upstream_trouble_serves_the_stored_copy_as_stale(
    tmp_path: Path, trouble: str
) -> None:
    async with World(tmp_path) as world:
        resource = world.releases.put("/rustup/release-stable.toml", TOML)
        await world.ask(HEAD)
        await world.settled()
        world.clock.move(61)
        if trouble == "status":
            world.releases.outage = "status 503"
        else:
            resource.steps = [_error() if trouble == "error" else _status(403)]
        reply = await world.ask(HEAD, Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert reply.is_stale
        assert reply.outcome.startswith("fwd=stale")
        assert reply.stored.entry.digest == sha256(TOML)
        assert len(world.releases.requests) == 2


async def test_a_failing_upstream_is_left_alone_for_a_while(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.releases.put("/rustup/release-stable.toml", TOML)
        await world.ask(HEAD)
        await world.settled()
        world.clock.move(61)
        world.releases.outage = "status 503"
        for _ in range(5):
            reply = await world.ask(HEAD, Purpose.REVALIDATE)
            assert isinstance(reply, StoredAnswer)
            assert reply.is_stale
        assert len(world.releases.requests) == 2
        world.releases.outage = ""
        world.clock.move(6)
        back = await world.ask(HEAD, Purpose.REVALIDATE)
        assert isinstance(back, StoredAnswer)
        assert not back.is_stale


@pytest.mark.parametrize("has_copy", [True, False])
async def test_a_key_is_not_asked_for_before_upstreams_own_retry_after(
    has_copy: bool, tmp_path: Path
) -> None:
    async with World(tmp_path) as world:
        world.releases.put("/rustup/release-stable.toml", TOML)
        if has_copy:
            await world.ask(HEAD)
            await world.settled()
        before = len(world.releases.requests)
        world.clock.move(61)
        world.releases.outage, world.releases.wish_s = "status 503", 30.0
        for _ in range(4):
            reply = await world.ask(HEAD, Purpose.REVALIDATE)
            assert isinstance(reply, StoredAnswer if has_copy else Failed)
            world.clock.move(7)
        assert len(world.releases.requests) == before + 1
        world.clock.move(3)
        await world.ask(HEAD, Purpose.REVALIDATE)
        assert len(world.releases.requests) == before + 2


async def test_upstream_trouble_without_a_copy_is_503_with_retry_after(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.releases.outage = "status 500"
        reply = await world.ask(HEAD)
        assert isinstance(reply, Failed)
        assert reply.status == 503
        assert reply.retry_after_s > 0
        assert world.stored(HEAD) is None


async def test_a_remembered_absence_does_not_outlive_upstream_trouble(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.ask(HEAD)
        await world.settled()
        world.clock.move(31)
        world.releases.outage = "status 503"
        reply = await world.ask(HEAD)
        assert isinstance(reply, Failed)
        assert reply.status == 503


@pytest.mark.parametrize(
    ("key", "content"),
    [
        pytest.param(SERDE, b"<html>error</html>", id="html-for-an-index-file"),
        pytest.param(SERDE, index_lines("serde_json", {"1.0.0": b""}), id="another-crate"),
        pytest.param(HEAD, b"<!DOCTYPE html>", id="html-for-toml"),
        pytest.param("releases:/rustup/rustup-init.sh", b"oops", id="not-a-script"),
        pytest.param("releases:/rust-key.gpg.ascii", b"key", id="not-armoured"),
        pytest.param("releases:/dist/rust-1.95.0-x.tar.gz.sha256", b"no", id="no-digest"),
        pytest.param("releases:/dist/rust-1.95.0-x.tar.gz.asc", b"no", id="no-signature"),
        pytest.param("releases:/manifests.txt", b"nothing\n", id="a-list-without-manifests"),
    ],
)
async def test_content_that_fails_its_check_is_neither_served_nor_stored(
    tmp_path: Path, key: str, content: bytes
) -> None:
    async with World(tmp_path) as world:
        pool = world.index if key.startswith("index") else world.releases
        pool.put(key.partition(":")[2], content)
        reply = await world.ask(key)
        assert isinstance(reply, Failed)
        assert reply.status == 502
        assert world.stored(key) is None
        assert world.log.named("content-refused")[0]["key"] == key


async def test_a_broken_body_is_asked_for_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        resource = world.index.put("/se/rd/serde", LINES)
        resource.steps = [_cut(10), _cut(20)]
        assert inline(await world.ask(SERDE)).content == LINES
        assert len(world.index.played) == 2
        assert len(world.pauses) == 2


async def test_tries_for_a_broken_body_are_bounded(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.index.put("/se/rd/serde", LINES).steps = [_cut(10) for _ in range(9)]
        assert isinstance(await world.ask(SERDE), Failed)
        assert len(world.index.played) == world.config.upstream.attempts


async def test_an_object_over_the_limit_is_refused(tmp_path: Path) -> None:
    async with World(tmp_path, max_small=1000) as world:
        world.releases.put("/manifests.txt", noise(2000))
        assert isinstance(await world.ask("releases:/manifests.txt"), Failed)
        assert len(world.releases.requests) == 1


async def test_an_index_file_that_inflates_over_the_limit_is_refused(tmp_path: Path) -> None:
    async with World(tmp_path, max_small=10000) as world:
        world.index.put("/se/rd/serde", LINES + b" " * 100_000)
        assert isinstance(await world.ask(SERDE), Failed)
        assert world.index.sent("/se/rd/serde") < 10000


async def test_the_same_bytes_again_are_a_confirmation(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.releases.put("/rustup/release-stable.toml", TOML, etag="")
        await world.ask(HEAD)
        await world.settled()
        world.clock.move(61)
        reply = await world.ask(HEAD, Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert reply.outcome == "fwd=stale; fwd-status=200"


async def test_what_never_changes_is_not_asked_about_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        key = "releases:/dist/2026-01-01/rust-1.95.0-x.tar.gz.asc"
        world.releases.put(key.partition(":")[2], signature(b"the archive"))
        assert inline(await world.ask(key)).entry.fresh_until == math.inf
        await world.settled()
        world.clock.move(1e9)
        assert isinstance(await world.ask(key, Purpose.REVALIDATE), StoredAnswer)
        assert len(world.releases.requests) == 1


async def test_a_stored_object_whose_file_is_gone_is_fetched_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.releases.put("/rustup/release-stable.toml", TOML)
        await world.ask(HEAD)
        await world.settled()
        Path(world.store.blob_path(sha256(TOML))).unlink()
        reply = inline(await world.ask(HEAD))
        assert reply.content == TOML
        assert "If-None-Match" not in world.releases.requests[1].fields
        await world.settled()
        assert world.stored_content(HEAD) == TOML


NEWER = index_lines("serde", {"1.0.0": b"x", "1.0.1": b"y"})


async def test_an_index_file_that_may_have_been_cut_withdraws_nothing(tmp_path: Path) -> None:
    """Without length and coding a lost connection looks like the end; at a line end it parses."""
    async with World(tmp_path) as world:
        world.index.put("/se/rd/serde", NEWER)
        world.crates.put("/crates/serde/serde-1.0.1.crate", b"y")
        crate = "crates:/crates/serde/serde-1.0.1.crate"
        assert inline(await world.ask(crate)).content == b"y"
        await world.settled()
        world.clock.move(61)
        world.index.put("/se/rd/serde", LINES, has_length=False, has_gzip=False)
        reply = await world.ask(SERDE, Purpose.REVALIDATE)
        assert isinstance(reply, StoredAnswer)
        assert reply.is_stale
        await world.settled()
        assert world.stored(crate) is not None
        assert world.stored_content(SERDE) == NEWER


@pytest.mark.parametrize(
    ("has_length", "has_gzip", "fields"),
    [
        pytest.param(True, False, {}, id="a-length"),
        pytest.param(False, True, {}, id="gzip"),
        pytest.param(False, False, {"transfer-encoding": "chunked"}, id="chunked"),
    ],
)
async def test_an_index_file_with_a_marked_end_is_taken(
    tmp_path: Path, has_length: bool, has_gzip: bool, fields: dict[str, str]
) -> None:
    async with World(tmp_path) as world:
        resource = world.index.put("/se/rd/serde", LINES, has_length=has_length, has_gzip=has_gzip)
        resource.steps = [Step(fields=fields)]
        assert inline(await world.ask(SERDE)).content == LINES


def _status(status: int) -> Step:
    return Step(status=status)


def _error() -> Step:
    return Step(error="no answer in time")


def _cut(at: int) -> Step:
    return Step(cut_at=at)


async def test_endless_index_files_together_stay_within_the_memory_budget(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        memory = world.filler._procedures.blobs._parts.memory
        most = 0
        for n in range(12):
            path = f"/en/dl/endless{n}"
            world.index.put(path, bytes(9 << 20), has_gzip=False, chunk=1 << 20)
        asks = [asyncio.create_task(world.ask(f"index:/en/dl/endless{n}")) for n in range(12)]
        while not all(ask.done() for ask in asks):
            most = max(most, memory.used_bytes)
            await asyncio.sleep(0)
        replies = [ask.result() for ask in asks]
        assert {type(reply) for reply in replies} == {Failed}
        assert 32 << 20 < most <= BUDGET_BYTES
        await world.settled()
        assert memory.used_bytes == 0


async def test_a_content_counts_until_it_is_stored(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        memory = world.filler._procedures.blobs._parts.memory
        world.index.put("/se/rd/serde", LINES)
        world.files.may_sync.clear()
        try:
            assert inline(await world.ask(SERDE)).content == LINES
            assert memory.used_bytes == len(LINES)
        finally:
            world.files.may_sync.set()
        await world.settled()
        assert memory.used_bytes == 0

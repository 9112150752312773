"""What upstream says of stored objects: newer, gone, or changed although it must not."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import replace

import pytest

from mirror.errors import UpstreamError
from mirror.jobs.upstream_check import (
    AT_ONCE,
    GIVE_UP_AFTER,
    UpstreamCheck,
    UpstreamReport,
    Verdict,
    never_changes,
)
from mirror.route.match import route_of_key
from mirror.route.route import UpstreamName
from mirror.store.entry import Entry
from mirror.upstream.described import UpstreamObject
from tests.unit.jobs.shelf_bench import ARCHIVE, CRATE, HEAD, INDEX, KEY, Quiet, ShelfBench
from tests.unit.store.bench import absence_of, entry_of, sha256

CONTENT = b"stored content"
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).digest()
Answer = UpstreamObject | UpstreamError | None


def said(**fields: object) -> UpstreamObject:
    values: dict[str, object] = {"url": "http://u/x", "size_bytes": len(CONTENT), "etag": "",
              "md5": b"", "sha256": b"", "version_id": "", "last_modified": ""}  # fmt: skip
    return UpstreamObject(**(values | fields))  # type: ignore[arg-type]  # from a table


class FakeUpstream:
    """Answers by path; counts how many are asked at once."""

    def __init__(self, answers: Mapping[str, Answer], default: Answer = None) -> None:
        self._answers = answers
        self._default = default
        self.asked: list[str] = []
        self.running = self.most = 0

    async def describe(self, path: str) -> UpstreamObject | None:
        self.asked.append(path)
        self.running += 1
        self.most = max(self.most, self.running)
        for _ in range(20):
            await asyncio.sleep(0)
        self.running -= 1
        answer = self._answers.get(path, self._default)
        if isinstance(answer, UpstreamError):
            raise answer
        return answer


class Paths:
    def __init__(self, path: str = "/nowhere") -> None:
        self._path = path

    def path(self, digest: bytes) -> str:
        return self._path


async def compared(
    entries: list[Entry], upstream: FakeUpstream, paths: Paths | None = None
) -> UpstreamReport:
    everywhere = dict.fromkeys(UpstreamName, upstream)
    check = UpstreamCheck(everywhere, paths or Paths(), per_s=1e9)
    watch = Quiet()
    report = await check.run(entries, watch)
    assert watch.entries == len(entries)
    return report


@pytest.mark.parametrize(
    ("key", "answer", "verdict"),
    [
        pytest.param(CRATE, said(sha256=sha256(CONTENT)), Verdict.SAME, id="same-sha256"),
        pytest.param(CRATE, said(etag='"v1"'), Verdict.SAME, id="same-entity-tag"),
        pytest.param(CRATE, said(size_bytes=1), Verdict.ALARM, id="crate-of-another-size"),
        pytest.param(CRATE, said(sha256=sha256(b"x")), Verdict.ALARM, id="crate-of-other-bytes"),
        pytest.param(ARCHIVE, said(size_bytes=1), Verdict.ALARM, id="dated-archive-changed"),
        pytest.param(HEAD, said(size_bytes=1), Verdict.NEWER, id="channel-moved"),
        pytest.param(INDEX, said(size_bytes=1), Verdict.NEWER, id="index-moved"),
        pytest.param(KEY, said(size_bytes=1), Verdict.NEWER, id="key-with-more-subkeys"),
        pytest.param(CRATE, None, Verdict.DELETED, id="deleted"),
        pytest.param(
            CRATE, UpstreamError("u", "no", upstream_status=403), Verdict.DELETED, id="denied-crate"
        ),
        pytest.param(CRATE, UpstreamError("u", "no"), Verdict.UNREACHABLE, id="no-answer"),
        pytest.param(CRATE, said(), Verdict.UNCLEAR, id="nothing-comparable"),
    ],
)
async def test_one_object(key: str, answer: Answer, verdict: Verdict) -> None:
    report = await compared([entry_of(key, CONTENT)], FakeUpstream({}, answer))
    assert {name for name, count in report.counts.items() if count} == {verdict.value}
    assert [found.key for found in report.told] == ([] if verdict is Verdict.SAME else [key])
    assert report.is_good is (verdict not in (Verdict.ALARM, Verdict.UNREACHABLE))


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (CRATE, "served until its index file shows the deletion"),
        (ARCHIVE, "it is kept here"),
        (INDEX, "served until the mirror asks for it again"),
    ],
)
async def test_deletion_comes_with_what_the_mirror_does_about_it(key: str, told: str) -> None:
    report = await compared([entry_of(key, CONTENT)], FakeUpstream({}, None))
    assert told in report.told[0].reason


@pytest.mark.parametrize(("noted", "verdict"), [("v1", Verdict.SAME), ("v0", Verdict.UNCLEAR)])
async def test_version_noted_at_the_fill_is_compared(noted: str, verdict: Verdict) -> None:
    entry = replace(entry_of(CRATE, CONTENT, etag=""), upstream_version=noted)
    report = await compared([entry], FakeUpstream({}, said(version_id="v1")))
    assert report.counts[verdict.value] == 1


async def test_md5_of_the_file_is_compared_when_nothing_else_decides(shelf: ShelfBench) -> None:
    shelf.put(CRATE, CONTENT, upstream_etag="")
    paths = Paths(shelf.bench.blob(CONTENT))
    entry = entry_of(CRATE, CONTENT, etag="")
    same = await compared([entry], FakeUpstream({}, said(md5=MD5)), paths)
    assert same.counts[Verdict.SAME.value] == 1
    other = await compared([entry], FakeUpstream({}, said(md5=bytes(16))), paths)
    assert other.counts[Verdict.ALARM.value] == 1


async def test_unreadable_file_is_not_compared() -> None:
    entry = entry_of(CRATE, CONTENT, etag="")
    report = await compared([entry], FakeUpstream({}, said(md5=MD5)))
    assert report.told[0].reason.startswith("the stored file cannot be read")


async def test_absences_and_former_generations_are_not_asked_about() -> None:
    upstream = FakeUpstream({})
    entries = [absence_of(CRATE), entry_of(HEAD + "#former", CONTENT)]
    report = await compared(entries, upstream)
    assert (upstream.asked, report.is_good) == ([], True)


def crates(count: int) -> list[Entry]:
    return [entry_of(f"crates:/crates/a/a-1.0.{n}.crate", CONTENT) for n in range(count)]


async def test_only_so_many_are_asked_at_once() -> None:
    upstream = FakeUpstream({}, said(etag='"v1"'))
    report = await compared(crates(50), upstream)
    assert report.counts[Verdict.SAME.value] == 50
    assert 1 < upstream.most <= AT_ONCE


async def test_dead_upstream_is_given_up_and_the_rest_told_as_not_compared() -> None:
    upstream = FakeUpstream({}, UpstreamError("u", "connection refused"))
    report = await compared(crates(200), upstream)
    assert len(upstream.asked) <= GIVE_UP_AFTER + AT_ONCE
    assert report.counts[Verdict.UNREACHABLE.value] == 200
    assert not report.is_good
    assert "not asked" in report.told[-1].reason


async def test_one_answer_in_between_is_no_dead_upstream() -> None:
    failing = UpstreamError("u", "busy")
    good = {f"/crates/a/a-1.0.{n}.crate": said(etag='"v1"') for n in range(0, 100, 7)}
    upstream = FakeUpstream(good, failing)
    await compared(crates(100), upstream)
    assert len(upstream.asked) == 100


async def test_mistake_of_ours_is_raised_and_leaves_no_task() -> None:
    class Broken:
        async def describe(self, path: str) -> UpstreamObject | None:
            raise ZeroDivisionError

    check = UpstreamCheck(dict.fromkeys(UpstreamName, Broken()), Paths(), per_s=1e9)
    with pytest.raises(ZeroDivisionError):
        await check.run(crates(30), Quiet())
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize(
    ("key", "never"),
    [
        (CRATE, True), (ARCHIVE, True), (HEAD, False), (INDEX, False), (KEY, False),
        ("releases:/dist/rust-1.94.0-x86_64-unknown-linux-gnu.tar.xz", True),
        ("releases:/dist/rust-nightly-x86_64-unknown-linux-gnu.tar.xz", False),
        ("releases:/dist/channel-rust-1.94.0.toml", True),
        ("releases:/rustup/dist/x86_64-unknown-linux-gnu/rustup-init", False),
        ("releases:/rustup/archive/1.29.0/x86_64-unknown-linux-gnu/rustup-init", True),
    ],
)  # fmt: skip
def test_what_must_never_change(key: str, never: bool) -> None:
    route = route_of_key(key)
    assert route is not None
    assert never_changes(route) is never

"""Which form a worker answers with: the identity, or the stored gzip variant."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from mirror.route.policy import CODED_MIN_BYTES
from mirror.store.entry import NoVariant
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    INDEX_KEY,
    INDEX_TARGET,
    Answer,
    Bench,
    parse_answer,
    running_worker,
)

LINES = b'{"name":"serde","vers":"1.0.0","deps":[]}\n' * 120
# Hexadecimal of hashes: its gzip form is above what is held in memory.
LARGE = b"".join(hashlib.sha512(b"%d" % n).hexdigest().encode() + b"\n" for n in range(2000))
GZIP = "Accept-Encoding: gzip"
CONTENTS = pytest.mark.parametrize(
    "content", [pytest.param(LINES, id="in-memory"), pytest.param(LARGE, id="in-a-file")]
)


def etag_of(content: bytes, suffix: str = "") -> str:
    return f'"{hashlib.sha256(content).hexdigest()}{suffix}"'


def digest_field(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def is_coded(answer: Answer, content: bytes) -> bool:
    """Whether it is the variant, told right."""
    assert answer.status == 200
    assert answer.fields["vary"] == "Accept-Encoding"
    if "content-encoding" not in answer.fields:
        assert answer.content == content
        assert answer.fields["etag"] == etag_of(content)
        assert answer.fields["repr-digest"] == digest_field(content)
        return False
    assert answer.fields["content-encoding"] == "gzip"
    assert gzip.decompress(answer.content) == content
    assert answer.fields["etag"] == etag_of(content, "-gzip")
    assert answer.fields["repr-digest"] == digest_field(answer.content)
    assert int(answer.fields["content-length"]) == len(answer.content)
    return True


async def learned(bench: Bench, *lines: str, target: str = INDEX_TARGET, hits: int = 3) -> Answer:
    """The answer that a learned head gets; the parser and the memo give the same."""
    raw = (
        "\r\n".join([f"GET {target} HTTP/1.1", "Host: mirror.test", *lines]).encode() + b"\r\n\r\n"
    )
    answers = [parse_answer(await bench.exchange(raw)) for _ in range(hits)]
    assert all(answer == answers[0] for answer in answers), answers
    return answers[-1]


@CONTENTS
async def test_variant_is_given_to_who_accepts_it_and_to_nobody_else(
    tmp_path: Path, content: bytes
) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.code(bench.reader.keep(INDEX_KEY, content))
        for _ in range(2):
            assert is_coded(await learned(bench, GZIP), content)
            assert not is_coded(await learned(bench), content)
            assert is_coded(await learned(bench, "accept-encoding: deflate, gzip"), content)
            assert not is_coded(await learned(bench, "Accept-Encoding: br"), content)
            assert not is_coded(await learned(bench, "Accept-Encoding: gzip;q=0"), content)
            assert is_coded(await bench.get(INDEX_TARGET, "Accept-Encoding: x-gzip, *"), content)
        assert bench.keeper.asked == []
        assert bench.keeper.coded_keys == []
        assert set(bench.keeper.used_keys) == {INDEX_KEY}


async def test_identity_is_given_also_to_who_refuses_it(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.code(bench.reader.keep(INDEX_KEY, LINES))
        bench.reader.keep(CRATE_KEY, b"crate")
        for refusal in ("identity;q=0", "*;q=0", "gzip;q=0, identity;q=0"):
            assert not is_coded(await bench.get(INDEX_TARGET, f"Accept-Encoding: {refusal}"), LINES)
            answer = await bench.get(CRATE_TARGET, f"Accept-Encoding: {refusal}")
            assert (answer.status, answer.content) == (200, b"crate")


@CONTENTS
async def test_ranges_are_of_the_form_that_is_selected(tmp_path: Path, content: bytes) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.code(bench.reader.keep(INDEX_KEY, content))
        whole = await bench.get(INDEX_TARGET, GZIP)
        part = await bench.get(INDEX_TARGET, GZIP, "Range: bytes=10-29")
        assert (part.status, part.content) == (206, whole.content[10:30])
        assert part.fields["content-range"] == f"bytes 10-29/{len(whole.content)}"
        for name in ("content-encoding", "vary", "etag", "repr-digest"):
            assert part.fields[name] == whole.fields[name]
        beyond = await bench.get(INDEX_TARGET, GZIP, f"Range: bytes={len(whole.content)}-")
        assert beyond.status == 416
        assert beyond.fields["content-range"] == f"bytes */{len(whole.content)}"
        assert beyond.fields["vary"] == "Accept-Encoding"
        assert "content-encoding" not in beyond.fields


async def test_several_ranges_of_a_variant_are_ignored(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.code(bench.reader.keep(INDEX_KEY, LINES))
        assert is_coded(await bench.get(INDEX_TARGET, GZIP, "Range: bytes=0-1,4-5"), LINES)


async def test_if_range_and_if_match_tell_the_forms_apart(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.code(bench.reader.keep(INDEX_KEY, LINES))
        plain, coded = etag_of(LINES), etag_of(LINES, "-gzip")
        for lines, own, other in (((GZIP,), coded, plain), ((), plain, coded)):
            wanted = "Range: bytes=0-1"
            assert (await bench.get(INDEX_TARGET, *lines, wanted, f"If-Range: {own}")).status == 206
            answer = await bench.get(INDEX_TARGET, *lines, wanted, f"If-Range: {other}")
            assert answer.status == 200
            assert (await bench.get(INDEX_TARGET, *lines, f"If-Match: {own}")).status == 200
            failed = await bench.get(INDEX_TARGET, *lines, f"If-Match: {other}")
            assert (failed.status, failed.fields["vary"]) == (412, "Accept-Encoding")


@pytest.mark.parametrize("lines", [[], [GZIP]], ids=["identity", "gzip"])
@pytest.mark.parametrize("suffix", ["", "-gzip"])
async def test_either_spelling_of_the_tag_is_not_modified(
    tmp_path: Path, lines: list[str], suffix: str
) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.code(bench.reader.keep(INDEX_KEY, LINES))
        condition = f"If-None-Match: {etag_of(LINES, suffix)}"
        lookups = 0
        for _ in range(3):
            answer = await learned(bench, *lines, condition)
            assert (answer.status, answer.content) == (304, b"")
            assert answer.fields["vary"] == "Accept-Encoding"
            assert answer.fields["etag"] == etag_of(LINES, "-gzip" if lines else "")
            assert "content-encoding" not in answer.fields
            assert lookups in (0, bench.reader.lookups)
            lookups = bench.reader.lookups
        other = f"If-None-Match: {etag_of(b'other', suffix)}"
        assert is_coded(await bench.get(INDEX_TARGET, *lines, other), LINES) is bool(lines)


async def test_head_tells_of_the_variant(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.code(bench.reader.keep(INDEX_KEY, LINES))
        whole = await bench.get(INDEX_TARGET, GZIP)
        answer = await bench.get(INDEX_TARGET, GZIP, method="HEAD")
        names = ("content-length", "content-encoding", "vary", "etag", "repr-digest")
        assert [answer.fields[name] for name in names] == [whole.fields[name] for name in names]


async def test_archives_and_proofs_are_never_coded_and_do_not_vary(tmp_path: Path) -> None:
    targets = {
        CRATE_KEY: CRATE_TARGET,
        "releases:/dist/channel-rust-stable.toml.sha256": "/dist/channel-rust-stable.toml.sha256",
        "releases:/dist/channel-rust-stable.toml.asc": "/dist/channel-rust-stable.toml.asc",
    }
    async with running_worker(tmp_path) as bench:
        for key, target in targets.items():
            bench.reader.code(bench.reader.keep(key, LINES))
            answer = await learned(bench, GZIP, target=target)
            assert (answer.status, answer.content) == (200, LINES)
            assert not {"vary", "content-encoding"} & answer.fields.keys()
            assert answer.fields["etag"] == etag_of(LINES)
        assert bench.keeper.coded_keys == []


async def test_missing_variant_is_asked_for_and_found_within_a_second(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        stored = bench.reader.keep(INDEX_KEY, LINES)
        assert not is_coded(await learned(bench, GZIP), LINES)
        assert bench.keeper.coded_keys == [INDEX_KEY]
        bench.reader.code(stored)
        bench.clock.advance(1)
        bench.worker.tick()
        assert is_coded(await learned(bench, GZIP), LINES)
        assert bench.keeper.coded_keys == [INDEX_KEY]


async def test_nobody_who_does_not_accept_it_asks_for_a_variant(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(INDEX_KEY, LINES)
        assert not is_coded(await learned(bench), LINES)
        assert bench.keeper.coded_keys == []


@pytest.mark.parametrize("is_tried", [True, False], ids=["pointless", "too-small"])
async def test_what_has_no_variant_is_settled(tmp_path: Path, is_tried: bool) -> None:
    content = LINES if is_tried else LINES[: CODED_MIN_BYTES - 1]
    async with running_worker(tmp_path) as bench:
        stored = bench.reader.keep(INDEX_KEY, content)
        if is_tried:
            bench.reader.variants[stored.entry.digest] = NoVariant.POINTLESS
        assert not is_coded(await learned(bench, GZIP), content)
        lookups = bench.reader.lookups
        bench.clock.advance(1)
        bench.worker.tick()
        again = await learned(bench, GZIP)
        assert again.fields["vary"] == "Accept-Encoding"
        assert bench.reader.lookups == lookups
        assert bench.keeper.coded_keys == []


async def forget_contents(bench: Bench) -> None:
    """Have what is larger read from its file again."""
    contents = bench.worker._shared.contents
    async with asyncio.timeout(10):
        while contents.is_loading:
            await asyncio.sleep(0.001)
    contents.clear()


@CONTENTS
@pytest.mark.parametrize("loss", ["evicted", "flipped"])
async def test_unusable_variant_costs_nobody_an_answer(
    tmp_path: Path, content: bytes, loss: str
) -> None:
    async with running_worker(tmp_path) as bench:
        variant = bench.reader.code(bench.reader.keep(INDEX_KEY, content))
        assert is_coded(await learned(bench, GZIP), content)
        await forget_contents(bench)
        if loss == "evicted":
            bench.reader.evict(variant)
        else:
            bench.reader.damage(variant, bytes(variant.entry.length))
        hot_form = await bench.get(INDEX_TARGET, GZIP)
        # A small one is in memory, and was hashed: it holds while its content does.
        assert is_coded(hot_form, content) is (content is LINES)
        bench.worker._shared.hot.clear()
        assert not is_coded(await learned(bench, GZIP), content)
        assert set(bench.keeper.coded_keys) == {INDEX_KEY}
        assert bench.keeper.asked == []
        assert not is_coded(await learned(bench), content)


async def test_changed_content_is_never_answered_with_the_former_variant(tmp_path: Path) -> None:
    changed = LINES + b"{}\n"
    async with running_worker(tmp_path) as bench:
        bench.reader.code(bench.reader.keep(INDEX_KEY, LINES))
        assert is_coded(await learned(bench, GZIP), LINES)
        bench.reader.keep(INDEX_KEY, changed)
        bench.page.bump_epoch()
        assert not is_coded(await learned(bench, GZIP), changed)
        bench.reader.code(bench.reader.entries[INDEX_KEY])
        bench.clock.advance(1)
        bench.worker.tick()
        assert is_coded(await learned(bench, GZIP), changed)


async def test_inline_content_is_uncoded_varies_and_has_its_variant_asked_for(
    tmp_path: Path,
) -> None:
    async with running_worker(tmp_path) as bench:
        bench.keeper.answer_inline(INDEX_KEY, LINES, "fwd=uri-miss; stored")
        assert not is_coded(await bench.get(INDEX_TARGET), LINES)
        assert bench.keeper.coded_keys == []
        assert not is_coded(await bench.get(INDEX_TARGET, GZIP), LINES)
        assert bench.keeper.coded_keys == [INDEX_KEY]


async def test_channels_of_a_sequence_are_coded_too(tmp_path: Path) -> None:
    key, target = "releases:/dist/channel-rust-stable.toml", "/dist/channel-rust-stable.toml"
    voucher = f"{key}@{hashlib.sha256(LINES).hexdigest()}"
    async with running_worker(tmp_path) as bench:
        stored = bench.reader.keep(key, LINES, voucher=voucher, proof="signed-generation")
        assert not is_coded(await bench.get(target, GZIP), LINES)
        bench.reader.code(replace(stored))
        bench.clock.advance(1)
        bench.worker.tick()
        for client in ("127.0.0.1", "127.0.0.2"):
            for _ in range(3):
                assert is_coded(await bench.get(target, GZIP, client=client), LINES)
                assert not is_coded(await bench.get(target, client=client), LINES)

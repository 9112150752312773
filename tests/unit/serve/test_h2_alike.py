"""What is recalled and what is read are answered alike, over both versions of HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirror.http.h2_huffman import encode
from tests.unit.serve.fakes import (
    CRATE_TARGET,
    INDEX_TARGET,
    Bench,
    parse_answer,
    read_all,
    running_worker,
)
from tests.unit.serve.h2_recalling import (
    LARGE,
    OTHER_TARGET,
    SEVERAL_FRAMES,
    SMALL,
    Asked,
    Fields,
    Unacknowledging,
    ask_all,
    keep,
    shown,
    tag_of,
    wide,
)

PATHS = [INDEX_TARGET, OTHER_TARGET, CRATE_TARGET, "/index/no/ne/nonesuch", "/", "/../etc/passwd"]


# Both ways, for anything.

FIELDS: st.SearchStrategy[Fields] = st.lists(
    st.sampled_from(
        [
            ("user-agent", "cargo/1.95"),
            ("accept", "*/*"),
            ("accept-encoding", "gzip"),
            ("range", "bytes=0-9"),
            ("range", "bytes=-5"),
            ("range", "bytes=0-1,4-5"),
            ("range", "bytes=99999999-"),
            ("if-none-match", tag_of(SMALL)),
            ("if-none-match", tag_of(SEVERAL_FRAMES)),
            ("if-none-match", f"W/{tag_of(SMALL)}"),
            ("if-none-match", f"{tag_of(LARGE)}, {tag_of(SMALL)}"),
            ("if-none-match", "*"),
            ("if-match", tag_of(LARGE)),
            ("if-modified-since", "Thu, 01 Jan 2099 00:00:00 GMT"),
            ("if-range", tag_of(SMALL)),
            ("cache-control", "no-cache"),
            ("cache-control", "only-if-cached"),
            ("want-repr-digest", "sha-512=1"),
            ("te", "trailers"),
            ("x-forwarded-for", "192.0.2.1"),
        ]
    ),
    max_size=3,
    unique_by=lambda field: field[0],
).map(tuple)
REQUESTS = st.builds(
    Asked,
    path=st.sampled_from(PATHS),
    method=st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "OPTIONS"]),
    fields=FIELDS,
)


async def over_http1(bench: Bench, asked: Asked) -> tuple[int, dict[str, str], bytes, bool]:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    lines = [f"{asked.method} {asked.path} HTTP/1.1", "Host: m", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in asked.fields if name != "te"]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    raw = await read_all(reader, 5.0)
    writer.close()
    answer = parse_answer(raw, is_head=asked.method == "HEAD")
    fields = {name: value for name, value in answer.fields.items() if name != "connection"}
    return answer.status, fields, answer.content, answer.is_complete


async def compare(folder: Path, asked: list[Asked]) -> None:
    async with running_worker(folder) as bench:
        keep(bench)
        async with wide(bench) as fast, wide(bench, Unacknowledging) as slow:
            for _ in range(3):  # read, learned, recalled
                ours = await ask_all(fast, asked)
            theirs = [(await ask_all(slow, [each]))[0] for each in asked]
            for each, recalled, read in zip(asked, ours, theirs, strict=True):
                assert shown(recalled) == shown(read), each
                if each.method in ("GET", "HEAD"):
                    assert shown(recalled) == await over_http1(bench, each), each


ALIKE = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@settings(ALIKE, max_examples=12)
@given(asked=st.lists(REQUESTS, min_size=1, max_size=12))
def test_what_is_recalled_and_what_is_read_are_answered_alike(
    tmp_path_factory: pytest.TempPathFactory, asked: list[Asked]
) -> None:
    asyncio.run(compare(tmp_path_factory.mktemp("alike"), asked))


@pytest.mark.full
@settings(ALIKE, max_examples=150)
@given(asked=st.lists(REQUESTS, min_size=1, max_size=20))
def test_what_is_recalled_and_what_is_read_are_answered_alike_at_length(
    tmp_path_factory: pytest.TempPathFactory, asked: list[Asked]
) -> None:
    asyncio.run(compare(tmp_path_factory.mktemp("alike"), asked))


def test_huffman_code_shortens_a_tag() -> None:
    """What `h2_rendering` compares with is one byte of length."""
    assert len(encode(tag_of(SMALL).encode())) < 127

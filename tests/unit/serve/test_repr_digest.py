"""`Repr-Digest` on answers: where it stands, where it does not, and what leaves it out."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    INDEX_KEY,
    INDEX_TARGET,
    running_worker,
)

CONTENT = b'{"name":"serde"}\n'
BIG = b"0123456789abcdef" * 8192

KINDS = pytest.mark.parametrize(
    ("key", "target", "content"),
    [
        pytest.param(INDEX_KEY, INDEX_TARGET, CONTENT, id="small"),
        pytest.param(CRATE_KEY, CRATE_TARGET, BIG, id="large"),
    ],
)


def field_of(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


@KINDS
async def test_whole_part_and_head_state_the_digest_of_the_whole(
    tmp_path: Path, key: str, target: str, content: bytes
) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(key, content)
        for method, lines in (("GET", []), ("HEAD", []), ("GET", ["Range: bytes=2-5"])):
            for _ in range(2):
                answer = await bench.get(target, *lines, method=method)
                assert answer.fields["repr-digest"] == field_of(content)


async def test_a_client_recomputes_it_from_joined_parts(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(CRATE_KEY, BIG)
        parts = [
            await bench.get(CRATE_TARGET, f"Range: bytes={start}-{start + 49_999}")
            for start in range(0, len(BIG), 50_000)
        ]
        joined = b"".join(part.content for part in parts)
        assert {part.fields["repr-digest"] for part in parts} == {field_of(joined)}


@KINDS
async def test_learned_hits_state_it_too(
    tmp_path: Path, key: str, target: str, content: bytes
) -> None:
    raw = f"GET {target} HTTP/1.1\r\nHost: m\r\n\r\n".encode()
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(key, content)
        first = await bench.exchange(raw)
        assert first.count(f"\r\nRepr-Digest: {field_of(content)}\r\n".encode()) == 1
        assert await bench.exchange(raw) == first


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        pytest.param(("If-None-Match: *",), 304, id="not-modified"),
        pytest.param(('If-Match: "x"',), 412, id="failed-precondition"),
        pytest.param(("Range: bytes=999-",), 416, id="unsatisfiable"),
    ],
)
async def test_answers_without_the_representation_do_not_state_it(
    tmp_path: Path, lines: tuple[str, ...], status: int
) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(INDEX_KEY, CONTENT)
        answer = await bench.get(INDEX_TARGET, *lines)
        assert (answer.status, "repr-digest" in answer.fields) == (status, False)


@pytest.mark.parametrize(
    ("lines", "is_stated"),
    [
        pytest.param(("Want-Repr-Digest: sha-256=0",), False, id="not-acceptable"),
        pytest.param(
            ("Want-Repr-Digest: sha-512=9", "Want-Repr-Digest: sha-256=0"), False, id="two-lines"
        ),
        pytest.param(("Want-Repr-Digest: sha-256=10",), True, id="wanted"),
        pytest.param(("Want-Repr-Digest: sha-512=10",), True, id="another-wanted"),
        pytest.param(("Want-Repr-Digest: sha-256=(0)",), True, id="not-valid"),
    ],
)
@KINDS
async def test_want_repr_digest_is_honoured_by_every_answer(
    tmp_path: Path, key: str, target: str, content: bytes, lines: tuple[str, ...], is_stated: bool
) -> None:
    async with running_worker(tmp_path) as bench:
        bench.reader.keep(key, content)
        for more in ((), ("Range: bytes=1-2",)):
            for _ in range(2):
                answer = await bench.get(target, *lines, *more)
                assert ("repr-digest" in answer.fields) is is_stated
        # Who says nothing gets it, whatever was answered before.
        assert "repr-digest" in (await bench.get(target)).fields


async def test_inline_content_states_it(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        bench.keeper.answer_inline(INDEX_KEY, CONTENT, "fwd=uri-miss; stored")
        assert (await bench.get(INDEX_TARGET)).fields["repr-digest"] == field_of(CONTENT)


async def test_what_is_made_here_does_not_state_it(tmp_path: Path) -> None:
    async with running_worker(tmp_path) as bench:
        for target in ("/", "/livez", "/index/config.json", "/nothing"):
            assert "repr-digest" not in (await bench.get(target)).fields

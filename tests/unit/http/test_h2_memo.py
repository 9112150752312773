"""Blocks that are recalled: what is learned of them, what is not, and how much is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.http.h2_context_free import BlockReader, string_literal
from mirror.http.h2_fields import request_fields
from mirror.http.h2_huffman import encode
from mirror.http.h2_memo import (
    MAX_LEADS,
    MAX_PATHS,
    MAX_REST_BYTES,
    MAX_RESTS,
    MAX_WHOLE,
    BlockMemo,
    CutBlock,
    Recalled,
    Recollection,
)
from tests.unit.http.h2_peer import GET, literals

BEGINS = literals(GET[:3]) + b"\x04"
PATH = "/se/rd/serde"
AGENT = literals([(b"user-agent", b"cargo/1.95")])
TAG = b'"' + b"a" * 64 + b'"'
READER = BlockReader()


def path_of(path: str) -> bytes:
    return string_literal(encode(path.encode()), is_coded=True)


def tag_of(tag: bytes, lead: bytes = b"\x0f\x1a") -> bytes:
    return lead + string_literal(encode(tag), is_coded=True)


def block_of(path: str = PATH, rest: bytes = AGENT, begins: bytes = BEGINS) -> bytes:
    return begins + path_of(path) + rest


def read(recollection: Recollection, block: bytes) -> CutBlock | None:
    found = READER.read(block, 16_384)
    return recollection.cut(found, request_fields(found.lines or []))


def teach(memo: BlockMemo, block: bytes, name: str = "serde", *, has_tag: bool = False) -> None:
    cut = read(Recollection(memo), block)
    assert cut is not None
    memo.learn(cut, name=name, table="index", has_tag=has_tag)


def knowing(memo: BlockMemo, block: bytes) -> Recollection:
    """A connection that has met a block that begins so."""
    recollection = Recollection(memo)
    read(recollection, block)
    return recollection


def recalled(memo: BlockMemo, block: bytes) -> Recalled | None:
    return knowing(memo, block_of()).recall(block)


def test_learned_block_is_recalled_on_another_connection() -> None:
    memo = BlockMemo()
    teach(memo, block_of())
    found = recalled(memo, block_of())
    assert found is not None
    assert (found.known.name, found.tag, found.block) == ("serde", b"", block_of())
    assert found.known.line + found.tail == (
        b"GET /se/rd/serde HTTP/1.1\r\nhost: mirror.example\r\nuser-agent: cargo/1.95\r\n\r\n"
    )


def test_path_that_was_learned_with_one_rest_is_recalled_with_another_of_its_table() -> None:
    memo = BlockMemo()
    teach(memo, block_of())
    teach(memo, block_of("/to/ki/tokio", b""), "tokio")
    found = recalled(memo, block_of("/to/ki/tokio"))
    assert found is not None
    assert found.known.name == "tokio"


def test_rest_of_another_table_does_not_reach_the_path() -> None:
    memo = BlockMemo()
    teach(memo, block_of())
    cut = read(Recollection(memo), block_of("/to/ki/tokio", b""))
    assert cut is not None
    memo.learn(cut, name="tokio", table="crates", has_tag=False)
    assert recalled(memo, block_of("/to/ki/tokio")) is None
    assert recalled(memo, block_of(PATH, b"")) is None


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block_of("/se/rd/serd"), id="path"),
        pytest.param(block_of(rest=AGENT + b"\x90"), id="rest"),
        pytest.param(block_of(begins=literals(GET[:3]) + b"\x44"), id="beginning"),
        pytest.param(BEGINS, id="nothing-behind-the-beginning"),
        pytest.param(BEGINS + path_of(PATH)[:-2], id="cut-path"),
        pytest.param(block_of()[:-1], id="cut-rest"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x20" + block_of(), id="size-update"),
        pytest.param(
            BEGINS + string_literal(PATH.encode(), is_coded=False) + AGENT, id="path-not-coded"
        ),
    ],
)
def test_other_bytes_are_not_recalled(block: bytes) -> None:
    memo = BlockMemo()
    teach(memo, block_of())
    assert recalled(memo, block) is None


@given(st.integers(0, 200), st.integers(0, 255))
def test_no_changed_byte_is_recalled_as_anything_but_what_it_says(at: int, byte: int) -> None:
    """What is recalled reads exactly like what was learned with that path."""
    memo = BlockMemo()
    teach(memo, block_of())
    teach(memo, block_of("/to/ki/tokio"), "tokio")
    teach(memo, block_of(rest=tag_of(TAG) + AGENT), has_tag=True)
    for block in (block_of(), block_of("/to/ki/tokio"), block_of(rest=tag_of(TAG) + AGENT)):
        at = min(at, len(block) - 1)
        changed = block[:at] + bytes((byte,)) + block[at + 1 :]
        found = recalled(memo, changed)
        if found is not None and not found.tag:
            lines = READER.read(changed, 16_384).lines or []
            assert found.known.line == b"GET %b HTTP/1.1" % dict(lines)[b":path"]
            assert [line for line in lines if line[0] == b"user-agent"] == [
                (b"user-agent", b"cargo/1.95")
            ]


@pytest.mark.parametrize("lead", [b"\x0f\x1a", b"\x69", b"\x1f\x1a", b"\x00\x0dif-none-match"])
def test_tag_is_cut_out_of_what_is_learned(lead: bytes) -> None:
    memo = BlockMemo()
    teach(memo, block_of(rest=tag_of(TAG, lead) + AGENT), has_tag=True)
    other = b'"' + b"0" * 64 + b'"'
    found = recalled(memo, block_of(rest=tag_of(other, lead) + AGENT))
    assert found is not None
    assert found.tag == tag_of(other, b"")
    assert recalled(memo, block_of()) is None


def test_two_tags_are_not_learned() -> None:
    memo = BlockMemo()
    rest = tag_of(TAG) + tag_of(b'"b"') + AGENT
    teach(memo, block_of(rest=rest), has_tag=True)
    assert recalled(memo, block_of(rest=rest)) is None


def test_tag_before_the_path_is_not_learned() -> None:
    memo = BlockMemo()
    cut = CutBlock(
        begins=BEGINS, path=path_of(PATH), rest=AGENT, tag_at=-1, line=b"GET", tail=b"\r\n\r\n"
    )
    memo.learn(cut, name="serde", table="index", has_tag=True)
    assert repr(memo) == "<BlockMemo 0 rests, 0 paths>"


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(
            literals([*GET[:3], (b":path", b"/" + b"x" * 200)]), id="path-with-a-long-length"
        ),
        pytest.param(literals(GET[:3]) + b"\x84", id="path-of-the-static-table"),
        pytest.param(
            literals([*GET[:2], (b":authority", b"x" * MAX_REST_BYTES), GET[3]]),
            id="long-beginning",
        ),
    ],
)
def test_blocks_of_unusual_form_are_not_cut(block: bytes) -> None:
    assert read(Recollection(BlockMemo()), block) is None


def test_long_rest_is_not_learned() -> None:
    memo = BlockMemo()
    teach(memo, block_of(rest=literals([(b"a", b"x" * MAX_REST_BYTES)])))
    assert repr(memo) == "<BlockMemo 0 rests, 0 paths>"


def test_paths_of_all_tables_together_are_bounded() -> None:
    memo = BlockMemo()
    for number in range(MAX_PATHS + 1):
        path = b"%05d" % number
        rest = b"%d" % (number % 3)
        cut = CutBlock(begins=BEGINS, path=path, rest=rest, tag_at=-1, line=path, tail=b"")
        memo.learn(cut, name=str(number), table=rest, has_tag=False)
    assert repr(memo) == "<BlockMemo 3 rests, 1 paths>"


def test_rests_are_bounded_also_for_connections_that_refer_to_them() -> None:
    memo = BlockMemo()
    teach(memo, block_of())
    connection = knowing(memo, block_of())
    for number in range(MAX_RESTS):
        rest = b"%05d" % number
        cut = CutBlock(begins=b"x", path=b"p", rest=rest, tag_at=-1, line=b"", tail=b"")
        memo.learn(cut, name="x", table="index", has_tag=False)
    assert connection.recall(block_of()) is None
    assert int(repr(memo).split()[1]) <= MAX_RESTS


def test_leads_of_tags_are_bounded() -> None:
    memo = BlockMemo()
    for number in range(MAX_LEADS + 1):
        rest = b"%d" % number + b"\x01t"
        cut = CutBlock(begins=BEGINS, path=b"p", rest=rest, tag_at=1, line=b"", tail=b"")
        memo.learn(cut, name="x", table="index", has_tag=True)
    assert repr(memo).split()[1] == str(MAX_LEADS)


def test_whole_blocks_are_bounded() -> None:
    memo = BlockMemo()
    teach(memo, block_of())
    found = recalled(memo, block_of())
    assert found is not None
    for number in range(MAX_WHOLE + 5):
        memo.keep(found._replace(block=b"%d" % number))
    assert 0 < len(memo.whole) <= MAX_WHOLE

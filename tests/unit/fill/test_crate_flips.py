"""One flipped byte in an index file, at every position: refused, held, or in what nobody vouches
for."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import pytest

from mirror.fill.checks import parse_facts
from tests.unit.fill.crate_world import INDEX, INDEX_PATH, content_of, look
from tests.unit.fill.keeper_world import World
from tests.unit.fill.scripted_pool import Step

# As crates.io writes them, with the members that this product reads and those it does not.
_LINE = (
    b'{"name":"MixedCase","vers":"%b","deps":[{"name":"syn","req":"^1"}],"cksum":"%b",'
    b'"features":{"std":[]},"yanked":false}\n'
)
# The words of a line that nobody vouches for: a flip in one of their letters goes through.
_UNVOUCHED = re.compile(
    rb'"(deps)":\[{"(name)":"(syn)","(req)":"(\^1)"}\]|"(features)":{"(std)":\[\]}|"(yanked)":'
)


def index_file(*versions: bytes) -> bytes:
    return b"".join(_LINE % (v, hashlib.sha256(v).hexdigest().encode()) for v in versions)


def unvouched_positions(content: bytes) -> set[int]:
    return {
        position
        for found in _UNVOUCHED.finditer(content)
        for group in range(1, 9)
        for position in range(*found.span(group))
    }


async def verdict_of(world: World, good: bytes, step: Step) -> str:
    """Offer the step once; return what became of it, and leave the good file behind."""
    world.log.events.clear()
    world.index.resources[INDEX_PATH].steps = [step]
    content = content_of(world, await look(world))
    assert world.index.played[-1] is step
    held = len(world.filler.held)
    verdict = "taken over"
    if content == good:
        is_trouble = bool(world.log.named("upstream-trouble"))
        verdict = "held" if held else "refused" if is_trouble else "unchanged"
        assert not held or world.log.named("crate-cksum-changed")
    else:
        assert content == step.content
        assert parse_facts(INDEX, content) == parse_facts(INDEX, good)
    if verdict == "taken over" or held:
        assert content_of(world, await look(world)) == good
        assert world.filler.held == []
    return verdict


async def flip_all(world: World, good: bytes, mask: int) -> dict[int, str]:
    # Without a validator every look is answered with the whole file.
    world.index.put(INDEX_PATH, good, etag="", has_gzip=False)
    assert content_of(world, await look(world)) == good
    verdicts: dict[int, str] = {}
    for position in range(len(good)):
        flipped = bytearray(good)
        flipped[position] ^= mask
        verdicts[position] = await verdict_of(world, good, Step(content=bytes(flipped)))
    return verdicts


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(0x01, id="lowest-bit"),
        pytest.param(0x20, id="case"),
        *(
            pytest.param(1 << bit, id=f"bit-{bit}", marks=pytest.mark.full)
            for bit in (1, 2, 3, 4, 6, 7)
        ),
    ],
)
@pytest.mark.parametrize("versions", [(b"1.0.0",), (b"1.0.0", b"1.0.1+a")], ids=["one", "two"])
async def test_a_flipped_byte_of_an_index_line_changes_no_name_version_or_cksum(
    tmp_path: Path, versions: tuple[bytes, ...], mask: int
) -> None:
    good = index_file(*versions)
    async with World(tmp_path) as world:
        verdicts = await flip_all(world, good, mask)
        taken = {position for position, verdict in verdicts.items() if verdict == "taken over"}
        # A control character or half a sequence of UTF-8 is no JSON there either.
        assert taken <= unvouched_positions(good)
        assert "unchanged" not in verdicts.values()
        if mask == 0x01:
            assert taken == unvouched_positions(good)
            held = {position for position, verdict in verdicts.items() if verdict == "held"}
            assert held  # flipped digits of versions and cksums that are still well-formed


async def test_a_flipped_byte_of_a_coded_index_is_refused_or_changes_nothing(
    tmp_path: Path,
) -> None:
    good = index_file(b"1.0.0", b"1.0.1")
    coded = gzip.compress(good, mtime=0)
    async with World(tmp_path) as world:
        world.index.put(INDEX_PATH, good, etag="", has_gzip=False)
        assert content_of(world, await look(world)) == good
        verdicts: list[str] = []
        for position in range(len(coded)):
            flipped = bytearray(coded)
            flipped[position] ^= 0x01
            step = Step(content=bytes(flipped), fields={"content-encoding": "gzip"})
            verdicts.append(await verdict_of(world, good, step))
        assert set(verdicts) == {"refused", "unchanged"}
        # Of ten bytes of head, six say nothing of the content: time, level, system.
        assert {at for at, verdict in enumerate(verdicts) if verdict == "unchanged"} <= set(
            range(3, 10)
        )

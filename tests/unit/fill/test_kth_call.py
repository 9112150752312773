"""The k-th file-system call of a fill fails, for every k: clients get whole bodies."""

from __future__ import annotations

import errno
import itertools
from pathlib import Path

import pytest

from mirror.store.budget import footprint
from tests.unit.fill.broken_world import BrokenWorld, flush_often
from tests.unit.fill.keeper_world import index_lines, noise, sha256

ERRORS = [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE]
NAMES = [errno.errorcode[number] for number in ERRORS]
BIG = noise(600_000)
CRATE = noise(20_000, 7)
MANY = 2000  # more calls than any fill makes


class Upstream:
    """Objects of one world that nobody has asked for."""

    def __init__(self, world: BrokenWorld) -> None:
        self._world = world
        self._numbers = itertools.count(1)

    def archive(self) -> tuple[str, bytes]:
        number = next(self._numbers)
        content = number.to_bytes(4, "big") + BIG
        path = f"/dist/2026-01-01/rustc-1.{number}.0-x86_64-unknown-linux-gnu.tar.xz"
        self._world.vouch(path, sha256(content))
        self._world.releases.put(path, content)
        return f"releases:{path}", content

    def crate(self) -> tuple[str, bytes]:
        number = next(self._numbers)
        name, content = f"crate{number}", number.to_bytes(4, "big") + CRATE
        self._world.index.put(f"/cr/at/{name}", index_lines(name, {"1.0.0": content}))
        path = f"/crates/{name}/{name}-1.0.0.crate"
        self._world.crates.put(path, content)
        return f"crates:{path}", content


@pytest.mark.full
@pytest.mark.parametrize("is_for_good", [False, True], ids=["once", "for-good"])
@pytest.mark.parametrize("kind", ["archive", "crate"])
@pytest.mark.parametrize("error", ERRORS, ids=NAMES)
async def test_a_fill_over_a_disk_that_fails_at_any_call_gives_whole_bodies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, kind: str, is_for_good: bool
) -> None:
    flushes = flush_often(monkeypatch)
    # Room for two archives: most fills evict, so that the calls of an eviction are among them.
    async with BrokenWorld(tmp_path, budget=2 * footprint(len(BIG)) + footprint(4096)) as world:
        upstream = Upstream(world)
        fired = whole = 0
        for k in range(1, MANY):
            key, content = upstream.archive() if kind == "archive" else upstream.crate()
            world.broken.fail_at(k, error, for_good=is_for_good)
            assert await world.fetched(key) == content, f"call {k}"
            await world.settled()
            has_fired = world.broken.fired > 0
            fired, whole = fired + has_fired, whole + 1
            world.heal()
            world.clock.move(400.0)  # hold-offs end
            assert await world.fetched(key) == content, f"after call {k}"
            await world.settled()
            world.require_tidy([key])
            if not has_fired:
                break
        print(f"{fired} calls failed ({errno.errorcode[error]}), {whole} bodies of {kind} whole")
        assert not has_fired, "not every call was reached"
        assert fired > 15
        assert bool(flushes) is (kind == "archive")
        assert set(world.log.errors) <= {"store-trouble"}
        assert world.log.errors


async def test_a_fill_over_a_disk_that_is_full_for_good_gives_whole_bodies(tmp_path: Path) -> None:
    async with BrokenWorld(tmp_path) as world:
        upstream = Upstream(world)
        for k in (1, 5, 9):
            key, content = upstream.archive()
            world.broken.fail_at(k, errno.ENOSPC, for_good=True)
            assert await world.fetched(key) == content
            await world.settled()
            assert world.broken.fired
            world.heal()
        world.require_tidy()

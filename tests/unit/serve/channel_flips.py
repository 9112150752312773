"""Generations of a channel, and workers that serve them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mirror.store.entry import former_key
from tests.unit.serve.fakes import (
    Bench,
    running_worker,
)

TARGET = "/dist/channel-rust-stable.toml"
KEY = f"releases:{TARGET}"
SUFFIXES = ("", ".sha256", ".asc")
FRESH = 1_800_000_060.0
STALE = 1_799_999_999.0


@dataclass(frozen=True)
class Generation:
    """Three files that name each other by their content."""

    name: str
    has_signature: bool = True
    size_bytes: int = 100

    @property
    def manifest(self) -> bytes:
        return self.name.encode().ljust(self.size_bytes, b".")

    @property
    def voucher(self) -> str:
        return f"{KEY}@{hashlib.sha256(self.manifest).hexdigest()}"

    def content(self, suffix: str) -> bytes:
        return self.manifest if not suffix else f"{self.name}{suffix}".encode()

    def keep(self, bench: Bench, name: str, suffix: str, fresh_until: float) -> None:
        if suffix == ".asc" and not self.has_signature:
            bench.reader.keep(
                name, b"", status=404, digest=b"", voucher=self.voucher, fresh_until=fresh_until
            )
            return
        content = self.content(suffix)
        bench.reader.keep(name, content, voucher=self.voucher, fresh_until=fresh_until)


OLD = Generation("old")
NEXT = Generation("next")


def publish(
    bench: Bench,
    generation: Generation,
    former: Generation | None = None,
    *,
    fresh_until: float = FRESH,
) -> None:
    """Commit as the keeper does: the current generation, the one before it, then the epoch."""
    for suffix in SUFFIXES:
        key = KEY + suffix
        if former is not None:
            former.keep(bench, former_key(key), suffix, math.inf)
        generation.keep(bench, key, suffix, fresh_until)
    bench.page.bump_epoch()


@asynccontextmanager
async def two_workers(path: Path) -> AsyncIterator[tuple[Bench, Bench]]:
    async with running_worker(path) as first, running_worker(path, beside=first) as second:
        yield first, second


async def get(bench: Bench, suffix: str, *lines: str, client: str = "127.0.0.1") -> bytes:
    """The content of one file; each request on a connection of its own."""
    answer = await bench.get(TARGET + suffix, *lines, client=client)
    assert answer.status == 200
    return answer.content

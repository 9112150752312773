"""A keeper over a file system with faults, and a client that wants whole bodies.

Rules:
1. The client does what a worker does: it follows growing files, and asks again when the disk gave
   up under one.
2. `require_tidy` compares what the store counts with what is on the disk.

Runs in: tests.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import pytest

from mirror.fill import landing
from mirror.fill.desk import StoreDesk
from mirror.fill.messages import FlightState, StoredAnswer
from mirror.fill.ports import PartialFile
from mirror.fill.replies import Growing, Inline, PassThrough, Reply
from mirror.store.budget import footprint
from tests.faults.files import FaultFiles
from tests.unit.fill.keeper_world import World

_TRIES = 4
FLUSH_OFTEN_BYTES = 65536


class BrokenWorld(World):
    """A `World` over `FaultFiles`, as `broken`."""

    broken: FaultFiles

    def _open(self) -> None:
        self.broken = FaultFiles()
        self.files = self.broken  # type: ignore[assignment] # in the place of the other faults
        super()._open()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self

    async def fetched(self, key: str) -> bytes:
        """Return what a client gets in the end. Raises AssertionError when that is nothing."""
        seen: list[Reply] = []
        for _ in range(_TRIES):
            reply = await self.ask(key)
            seen.append(reply)
            content = await self.content_of(reply)
            if content is not None:
                return content
        raise AssertionError(f"{key}: {seen}")

    async def content_of(self, reply: Reply) -> bytes | None:
        """Return what a reply gives; None: the disk gave up under it, or there is nothing."""
        if isinstance(reply, Inline):
            return reply.content
        if isinstance(reply, PassThrough):
            pieces: list[bytes] = []
            while piece := await reply.source.read():
                pieces.append(piece)
            return b"".join(pieces)
        if isinstance(reply, StoredAnswer):
            return Path(self.store.blob_path(reply.stored.entry.digest)).read_bytes()
        if isinstance(reply, Growing):
            return await _followed(reply)
        return None

    def heal(self) -> None:
        """The disk is well again, and the probe has said so."""
        self.broken.heal()
        self.store.probe()
        self.store.trouble.over()

    def require_tidy(self, keys: Iterable[str] = ()) -> None:
        """No temp, no reservation, no descriptor; what counts is what is there; `keys` stored."""
        assert self.partials() == [], self.partials()
        blobs = [path for path in (self.path / "store" / "blobs").glob("*/*/*") if path.is_file()]
        on_disk = sum(footprint(path.stat().st_size) for path in blobs)
        counted = (self.store.used_bytes, self.store.index.blob_bytes())
        assert counted == (on_disk, on_disk), f"{counted}, on the disk {on_disk} in {blobs}"
        for key in keys:
            stored = self.stored(key)
            assert stored is not None, f"{key} is not stored"
        assert len(self.filler.flights) == 0
        assert self.filler.waiting == 0


def flush_often(monkeypatch: pytest.MonkeyPatch) -> list[PartialFile]:
    """Bring small bodies, too, to the disk while more comes; return whose flushes began."""
    begun: list[PartialFile] = []
    flush = StoreDesk.flush

    def noted(desk: StoreDesk, partial: PartialFile) -> asyncio.Future[None]:
        begun.append(partial)
        return flush(desk, partial)

    monkeypatch.setattr(StoreDesk, "flush", noted)
    monkeypatch.setattr(landing, "FLUSH_EVERY_BYTES", FLUSH_OFTEN_BYTES)
    return begun


async def _followed(reply: Growing) -> bytes | None:
    """Follow a file to its end; None: the disk gave up under it, before or behind its opening."""
    file = reply.file
    try:
        descriptor = os.open(file.path, os.O_RDONLY)
    except FileNotFoundError:
        while file.state is FlightState.RUNNING:
            await asyncio.sleep(0)
        return None
    try:
        async with asyncio.timeout(20):
            while file.state is FlightState.RUNNING:
                await asyncio.sleep(0)
        if file.state is FlightState.FAILED:
            assert file.failure is not None
            assert file.failure.is_unstored, file.failure
            return None
        return os.pread(descriptor, file.landed + 1, 0)
    finally:
        os.close(descriptor)

"""What the request path needs from other rooms, as small Protocols.

Runs in: worker. Declarations only.
"""

from __future__ import annotations

from typing import Protocol

from mirror.accounting.layout import Outcome
from mirror.fill.bodies import Reply
from mirror.fill.messages import Ask
from mirror.route.route import ContentClass
from mirror.store.entry import NoVariant, Stored
from mirror.store.reader import BlobChanged, BlobFile, BlobMissing


class StoreView(Protocol):
    """`store.reader.StoreReader`."""

    def lookup(self, key: str) -> Stored | None: ...

    def variant(self, stored: Stored) -> Stored | NoVariant: ...

    def open_blob(self, stored: Stored) -> BlobFile | BlobMissing | BlobChanged: ...

    def load_small(self, stored: Stored) -> bytes | BlobMissing | BlobChanged: ...

    def refresh(self) -> bool: ...


class Keeper(Protocol):
    """`fill.client.KeeperClient`."""

    @property
    def is_connected(self) -> bool: ...

    async def ask(self, ask: Ask) -> Reply: ...

    def used(self, key: str) -> None: ...

    def check(self, key: str) -> None: ...

    def revalidate(self, key: str) -> None: ...

    def code(self, key: str) -> None: ...


class Counting(Protocol):
    """`accounting.counters.Counters`; the hot path adds to `view` at a row."""

    @property
    def view(self) -> memoryview[int]: ...

    def row(self, content_class: ContentClass | None, outcome: Outcome) -> int: ...


class Page(Protocol):
    """`store.page.SharedPage`."""

    @property
    def epoch(self) -> int: ...

    def beat(self, slot: int, monotonic_ms: int) -> None: ...

    def saw_epoch(self, slot: int, epoch: int) -> None: ...

    @property
    def sequence_key(self) -> bytes: ...

    def sequence_words(self) -> memoryview[int]: ...

"""What the request path needs from other rooms, as small Protocols.

Runs in: worker. Declarations only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mirror.accounting.layout import Layout
from mirror.accounting.records import Hit, RequestRecord
from mirror.fill.bodies import Reply
from mirror.fill.messages import Ask
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

    def used(
        self, key: str, requests: int, content_bytes: int, downloads: int, length_bytes: int, /
    ) -> None:
        """Note what was served of an object; see `accounting.uses.Use`."""

    def check(self, key: str) -> None: ...

    def revalidate(self, key: str) -> None: ...

    def code(self, key: str) -> None: ...


class Counting(Protocol):
    """`accounting.counters.Counters`: cells, and what each of them means."""

    @property
    def view(self) -> memoryview[int]: ...

    @property
    def layout(self) -> Layout: ...


class GroupTable(Protocol):
    """`accounting.groups.GroupTable`: the client groups of the configuration, first match first.

    A group is its place in `names`; `len(names)` stands for clients that no rule names.
    """

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def header(self) -> bytes:
        """The field of trusted proxies that names a group, in lower case; empty: there is none."""

    def of_address(self, address: str) -> int:
        """The group of an address; `len(names)` when no network has it."""

    def of_header(self, value: bytes) -> int | None:
        """The group that the field's value names."""

    def of_subject(self, subject: str) -> int | None:
        """The group of a client certificate; `subject` is as `client_groups.subject_of` says."""


class RequestLog(Protocol):
    """`accounting.access_log.AccessLog`; must not block."""

    def write(self, records: Sequence[RequestRecord]) -> None: ...

    def write_hits(self, hits: Sequence[Hit]) -> None: ...


class Page(Protocol):
    """`store.page.SharedPage`."""

    @property
    def epoch(self) -> int: ...

    def beat(self, slot: int, monotonic_ms: int) -> None: ...

    def saw_epoch(self, slot: int, epoch: int) -> None: ...

    @property
    def sequence_key(self) -> bytes: ...

    def sequence_words(self) -> memoryview[int]: ...

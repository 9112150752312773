"""Learned heads are answered like parsed ones: every byte, every count, every line of the log."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.accounting.log_lines import LogLines
from mirror.accounting.records import Hit, RequestRecord
from mirror.config import Http2
from tests.unit.accounting.log_records import plainly
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    INDEX_KEY,
    INDEX_TARGET,
    config_with,
)
from tests.unit.serve.head_edits import EDITS, edited
from tests.unit.serve.idle_worker import FedConnection, IdleWorker
from tests.unit.serve.test_head_parser import CARGO_HEAD, head

INDEX = b'{"name":"serde","vers":"1.0.0"}\n' * 40
CRATE = bytes(range(256)) * 200  # 51,200 bytes: answered from memory
# What offers h2c becomes HTTP/2 otherwise, and is answered by another path.
PLAIN = config_with(http2=Http2(enabled=False))
LINE = f"GET {INDEX_TARGET} HTTP/1.1"


@dataclass
class Log:
    """An access log in memory; each record of a hit is also read as the line that it becomes."""

    records: list[RequestRecord] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    hits: int = 0
    _maker: LogLines = field(default_factory=LogLines)

    def write(self, records: Sequence[RequestRecord]) -> None:
        self.records += records
        self.lines += map(self._maker.request, records)

    def write_hits(self, hits: Sequence[Hit]) -> None:
        self.hits += len(hits)
        self.records += [kind.record(began_at, taken_s) for kind, began_at, taken_s in hits]
        self.lines += map(plainly, self._maker.hits(hits))


class Pair:
    """Two workers over the same store: `fast` learns heads, `slow` parses each."""

    def __init__(self, path: Path, *, has_log: bool) -> None:
        self.logs = [Log(), Log()]
        self.workers = []
        self.tags = []
        for number, log in enumerate(self.logs):
            folder = path / f"{number}"
            folder.mkdir()
            worker = IdleWorker(
                folder, PLAIN, request_log=log if has_log else None, is_learning=number == 0
            )
            stored = worker.reader.keep(INDEX_KEY, INDEX, fresh_until=1_900_000_000.0)
            worker.reader.keep(CRATE_KEY, CRATE)
            self.tags = [stored.entry.digest.hex(), "f" * 64]
            self.workers.append(worker)

    def __enter__(self) -> Pair:
        for worker in self.workers:
            worker.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.__exit__(None, None, None)

    def tick(self, seconds: float) -> None:
        for worker in self.workers:
            worker.tick_after(seconds)

    def answers(self, pieces: Sequence[bytes]) -> list[tuple[bytes, bool, bool, bool]]:
        """Feed both the same reads, each on a connection of its own; what came of it."""
        found = []
        for worker in self.workers:
            with FedConnection(worker) as client:
                for piece in pieces:
                    client.feed(piece)
                end = client.is_closed, client.is_aborted, client.has_sent_eof
                found.append((client.sent, *end))
        return found

    def books(self) -> list[tuple[dict[tuple[str, ...], int], list[RequestRecord], list[bytes]]]:
        """What both have counted until now, and the records since the last time."""
        books = []
        for worker, log in zip(self.workers, self.logs, strict=True):
            worker.worker.accounts.settle()
            named = worker.counters.layout.named(tuple(worker.counters.view))
            by_target = sorted(log.records, key=repr)
            books.append((named, by_target, sorted(log.lines)))
            log.records, log.lines = [], []
        return books

    def uses(self) -> list[list[tuple[object, ...]]]:
        """What the keeper was told was served, in sum."""
        found: list[list[tuple[object, ...]]] = []
        for worker in self.workers:
            sums: dict[str, list[int]] = {}
            for use in worker.keeper.uses:
                kept = sums.setdefault(use.key, [0, 0, 0])
                kept[0] += use.requests
                kept[1] += use.content_bytes
                kept[2] = use.length_bytes
            found.append([(key, *sums[key]) for key in sorted(sums)])
        return found


@pytest.fixture(scope="module", params=[False, True], ids=["counted", "logged"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    with Pair(tmp_path_factory.mktemp("pair"), has_log=request.param) as both:
        yield both


INDEX_DIGEST = hashlib.sha256(INDEX).hexdigest()
_LINES = st.sampled_from(
    [LINE] * 4
    + [
        f"GET {CRATE_TARGET} HTTP/1.1",
        f"HEAD {INDEX_TARGET} HTTP/1.1",
        f"GET {INDEX_TARGET} HTTP/1.0",
        f"GET http://m{INDEX_TARGET} HTTP/1.1",
        f"POST {INDEX_TARGET} HTTP/1.1",
        f"GET {INDEX_TARGET}?x HTTP/1.1",
        "GET /nothing HTTP/1.1",
        "GET /livez HTTP/1.1",
    ]
)
_FIELDS = st.sampled_from(
    [
        "User-Agent: cargo/1.95.0",
        'User-Agent: "odd\\ \x7f agent" "bytes":-3,',
        "User-Agent: 1970-01-01T00:00:00.000000Z",
        "Accept: */*",
        "Connection: close",
        "connection: Close",
        "Connection: keep-alive",
        "Connection: close, x",
        "Connection: Upgrade",
        f'if-none-match: "{INDEX_DIGEST}"',
        f'If-None-Match: "{INDEX_DIGEST}"',
        'if-none-match: "' + "f" * 64 + '"',
        f'if-none-match: W/"{INDEX_DIGEST}"',
        f'if-none-match: "{INDEX_DIGEST}", "x"',
        f'If-Match: "{INDEX_DIGEST}"',
        "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT",
        "Range: bytes=5-9",
        "Range: bytes=-7",
        "Range: bytes=999999-",
        f'If-Range: "{INDEX_DIGEST}"',
        'If-Range: "x"',
        "Accept-Encoding: gzip",
        "Accept-Encoding: identity;q=0",
        "Cache-Control: no-cache",
        "Cache-Control: max-stale",
        "Want-Repr-Digest: sha-512=3",
        "X-Forwarded-For: 10.1.1.1",
        "Expect: 100-continue",
    ]
)
_HEADS = st.one_of(
    st.builds(lambda line, lines: head("Host: m", *lines, line=line), _LINES,
              st.lists(_FIELDS, max_size=3)),
    st.just(CARGO_HEAD.replace(CARGO_HEAD[: CARGO_HEAD.find(b"\r\n")], LINE.encode())),
    st.builds(edited, st.just(head("Host: m", "Connection: close", line=LINE)), EDITS),
)  # fmt: skip


def cut_at(raw: bytes, places: Sequence[int]) -> list[bytes]:
    cuts = sorted({place % (len(raw) + 1) for place in places})
    return [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


@settings(max_examples=40, deadline=None)
@given(
    heads=st.lists(_HEADS, min_size=1, max_size=4),
    places=st.lists(st.integers(0, 2000), max_size=3),
    seconds=st.sampled_from([0.0, 0.0, 1.0, 400.0]),
)
def test_learned_heads_are_answered_like_parsed_ones(
    pair: Pair, heads: list[bytes], places: list[int], seconds: float
) -> None:
    pair.tick(seconds)
    together = b"".join(heads)
    for pieces in (*([raw] for raw in heads), *([raw] for raw in heads), heads, [together],
                   cut_at(together, places)):  # fmt: skip
        fast, slow = pair.answers(pieces)
        assert fast[0].split(b"\r\n") == slow[0].split(b"\r\n"), pieces
        assert fast[1:] == slow[1:], pieces
    fast_books, slow_books = pair.books()
    assert set(fast_books[0].items()) ^ set(slow_books[0].items()) == set()
    assert fast_books[1:] == slow_books[1:]
    assert pair.uses()[0] == pair.uses()[1]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param((), b"200", id="plain"),
        pytest.param(("Connection: close",), b"200", id="last"),
        pytest.param((f'if-none-match: "{INDEX_DIGEST}"',), b"304", id="tagged"),
        pytest.param((f'If-None-Match: "{INDEX_DIGEST}"',), b"304", id="tagged-as-usual"),
    ],
)
def test_what_came_before_is_not_parsed_again(
    tmp_path: Path, fields: tuple[str, ...], status: bytes
) -> None:
    """The property above holds because of two paths, not because one of them is never taken."""
    raw = head("Host: m", *fields, line=LINE)
    with Pair(tmp_path, has_log=True) as pair:
        pair.answers([raw])
        for worker in pair.workers:
            worker.worker._shared.max_target_bytes = 1  # whatever is parsed now is refused
        fast, slow = pair.answers([raw])
        assert fast[0].split(b" ")[1] == status
        assert slow[0].split(b" ")[1] == b"414"
        pair.books()
        assert [log.hits for log in pair.logs] == [1, 0]

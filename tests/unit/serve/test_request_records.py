"""One record for each answer; together they say what the counters say, group by group."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from mirror.accounting.groups import Group, GroupTable
from mirror.accounting.records import Hit, RequestRecord
from mirror.config import Config
from mirror.serve.client_groups import subject_of
from mirror.serve.memo import MAX_TAILS
from tests.unit.serve.counted import HEAD, LARGE, SMALL, TAGGED, Served, served, wire
from tests.unit.serve.fakes import (
    CRATE_KEY,
    CRATE_TARGET,
    INDEX_KEY,
    INDEX_TARGET,
    Bench,
    config_with,
    running_worker,
)
from tests.unit.serve.flights import Flight, begin, until
from tests.unit.serve.h2_client import connected

GROUPS = GroupTable(
    [
        Group(name="runners", header_values=("ci",)),
        Group(name="office", networks=(ip_network("127.0.0.2/32"), ip_network("192.0.2.0/24"))),
    ],
    header="X-Runner-Group",
)
PROXY = config_with(trusted_proxies=("127.0.0.3/32",))


@dataclass
class Log:
    """An access log in memory."""

    records: list[RequestRecord] = field(default_factory=list)

    def write(self, records: Sequence[RequestRecord]) -> None:
        self.records += records

    def write_hits(self, hits: Sequence[Hit]) -> None:
        self.records += [kind.record(began_at, taken_s) for kind, began_at, taken_s in hits]


@asynccontextmanager
async def logging_worker(
    path: Path, config: Config | None = None
) -> AsyncIterator[tuple[Bench, Log]]:
    log = Log()
    async with running_worker(path, config, groups=GROUPS, request_log=log) as bench:
        yield bench, log


def in_words(records: Sequence[RequestRecord], group: str) -> Served:
    """What records say, as counters do."""
    counted: Served = Counter()
    for record in records:
        if record.group != group:
            continue
        row = record.content_class, record.outcome
        counted[*row, "requests"] += 1
        counted[*row, "content_bytes"] += record.content_bytes
        counted[*row, "head_bytes"] += record.head_bytes
        counted[*row, "ranged"] += record.status == 206
        counted[*row, "not_modified"] += record.status == 304
        counted[*row, "cut"] += not record.is_complete
    return +counted


def assert_agreement(bench: Bench, log: Log) -> None:
    for group in ("runners", "office", "other"):
        counted = served(bench, group)
        assert in_words(log.records, group) == counted


async def test_records_and_counters_agree_over_every_kind_of_answer(tmp_path: Path) -> None:
    async with logging_worker(tmp_path) as (bench, log):
        stored = bench.reader.keep(INDEX_KEY, SMALL, fresh_until=1_800_000_050.0)
        bench.reader.keep(CRATE_KEY, LARGE)
        tagged = TAGGED.format(INDEX_TARGET, stored.entry.digest.hex()).encode()
        crate = HEAD.replace(INDEX_TARGET.encode(), CRATE_TARGET.encode())
        for client in ("127.0.0.1", "127.0.0.2"):
            async with wire(bench, client) as sender:
                for raw in (HEAD, tagged, crate) * 4:
                    await sender.ask(raw)
                    bench.clock.advance(1)  # Age becomes longer, and ttl shorter
                    bench.worker.tick()
            await bench.get(CRATE_TARGET, "Range: bytes=5-", client=client)
            await bench.get("/nothing", client=client)
            await bench.exchange(b"NONSENSE\r\n\r\n", client)
            await bench.get(INDEX_TARGET, method="HEAD", client=client)
        async with connected(bench) as peer:
            await peer.get(CRATE_TARGET)
            await peer.get(INDEX_TARGET)
        assert_agreement(bench, log)
        assert len(log.records) == 2 * 16 + 2
        assert Counter(record.group for record in log.records) == {"other": 18, "office": 16}
        assert {record.protocol for record in log.records} == {"HTTP/1.1", "HTTP/2"}


async def test_learned_head_of_a_file_is_not_parsed_for_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crate = HEAD.replace(INDEX_TARGET.encode(), CRATE_TARGET.encode())
    async with logging_worker(tmp_path) as (bench, log), wire(bench) as client:
        stored = bench.reader.keep(CRATE_KEY, LARGE)
        monkeypatch.setattr(bench.worker._shared.contents, "_limit_bytes", 0)  # never in memory
        for _ in range(2):
            await client.ask(crate)
        parsed: list[bytes] = []
        maker, parse = bench.worker.accounts._maker, bench.worker._shared.parse
        maker._parse = lambda head: (parsed.append(head), parse(head))[1]  # type: ignore[func-returns-value]
        for _ in range(3):
            await client.ask(crate)
        assert_agreement(bench, log)
        assert parsed == []
        assert len(log.records) == 5
        first, *others = log.records
        assert first.target == CRATE_TARGET
        assert first.content_bytes == stored.entry.length
        for other in others:
            assert other == replace(first, began_at=other.began_at, duration_s=other.duration_s)


async def test_answers_after_an_entry_is_rendered_anew_have_records_too(tmp_path: Path) -> None:
    """Rendering settles what was counted of the entry; the next hits must not pass by the log."""
    async with logging_worker(tmp_path) as (bench, log), wire(bench) as client:
        bench.reader.keep(INDEX_KEY, SMALL, fresh_until=1_800_000_050.0)
        for _ in range(5):
            for _ in range(4):
                await client.ask(HEAD)
            bench.clock.advance(1)
            bench.worker.tick()
        assert_agreement(bench, log)
        assert len(log.records) == 5 * 4


async def test_learned_head_has_the_same_record_as_the_one_that_was_parsed(tmp_path: Path) -> None:
    async with logging_worker(tmp_path) as (bench, log), wire(bench, "127.0.0.2") as client:
        bench.reader.keep(INDEX_KEY, SMALL)
        lines = "Host: Mirror.test:8080\r\nUser-Agent: cargo/1.95.0\r\nAccept: */*\r\n\r\n"
        for _ in range(3):
            await client.ask(f"GET {INDEX_TARGET} HTTP/1.1\r\n{lines}".encode())
        bench.worker.accounts.settle()
        first, *others = log.records
        shown = (first.client, first.group, first.host, first.user_agent, first.target)
        assert shown == ("127.0.0.2", "office", "mirror.test:8080", "cargo/1.95.0", INDEX_TARGET)
        assert (first.scheme, first.protocol, first.upstream) == ("http", "HTTP/1.1", "index")
        assert first.cache_status.startswith("hit")
        assert others == [first, first]  # the clock stands still


@pytest.mark.full
async def test_learned_heads_are_told_apart_however_many_there_are(tmp_path: Path) -> None:
    async with logging_worker(tmp_path) as (bench, log), wire(bench) as client:
        bench.reader.keep(INDEX_KEY, SMALL)
        for _ in range(2):
            for number in range(MAX_TAILS + 20):
                lines = f"Host: m\r\nUser-Agent: agent-{number}\r\n\r\n"
                await client.ask(f"GET {INDEX_TARGET} HTTP/1.1\r\n{lines}".encode())
        bench.worker.accounts.settle()
        agents = Counter(record.user_agent for record in log.records)
        assert agents == {f"agent-{number}": 2 for number in range(MAX_TAILS + 20)}


async def test_cut_answer_has_a_record_that_says_so(tmp_path: Path) -> None:
    async with logging_worker(tmp_path) as (bench, log):
        flight = Flight(tmp_path)
        bench.keeper.script = flight.answer
        reader, writer = await begin(bench)
        await until(lambda: flight.bodies)
        await reader.readuntil(b"\r\n\r\n")
        flight.fail()
        await reader.read()
        writer.close()
        await until(lambda: log.records)
        assert [record.is_complete for record in log.records] == [False]
        assert_agreement(bench, log)


@pytest.mark.parametrize(
    ("client", "lines", "group"),
    [
        pytest.param("127.0.0.3", ("X-Runner-Group: ci",), "runners", id="trusted"),
        pytest.param("127.0.0.3", ("X-Runner-Group: other-one",), "other", id="unknown-value"),
        pytest.param("127.0.0.1", ("X-Runner-Group: ci",), "other", id="a-claim-of-a-stranger"),
        pytest.param("127.0.0.2", ("X-Runner-Group: ci",), "office", id="a-claim-from-the-office"),
        pytest.param("127.0.0.3", ("X-Forwarded-For: 192.0.2.7",), "office", id="forwarded"),
        pytest.param("127.0.0.1", ("X-Forwarded-For: 192.0.2.7",), "other", id="forged"),
        pytest.param(
            "127.0.0.3",
            ("X-Forwarded-For: 192.0.2.7", "X-Runner-Group: ci"),
            "runners",
            id="the-first-of-both",
        ),
    ],
)
async def test_requests_are_counted_for_the_group_that_a_trusted_proxy_names(
    tmp_path: Path, client: str, lines: tuple[str, ...], group: str
) -> None:
    async with logging_worker(tmp_path, PROXY) as (bench, log):
        bench.reader.keep(INDEX_KEY, SMALL)
        head = "\r\n".join([f"GET {INDEX_TARGET} HTTP/1.1", "Host: m", *lines]) + "\r\n\r\n"
        async with wire(bench, client) as sender:
            for _ in range(3):
                await sender.ask(head.encode())
        assert served(bench, group)["index", "hit", "requests"] == 3
        assert [record.group for record in log.records] == [group] * 3
        assert_agreement(bench, log)


async def test_learned_heads_are_counted_for_the_group_of_whom_the_proxy_header_names(
    tmp_path: Path,
) -> None:
    config = config_with(proxy_protocol=True, trusted_proxies=("127.0.0.1/32",))
    async with logging_worker(tmp_path, config) as (bench, log), wire(bench) as sender:
        bench.reader.keep(INDEX_KEY, SMALL)
        await sender.ask(b"PROXY TCP4 192.0.2.7 192.0.2.200 4711 80\r\n" + HEAD)
        for _ in range(3):
            await sender.ask(HEAD)
        assert served(bench, "office")["index", "hit", "requests"] == 4
        assert_agreement(bench, log)
        shown = {(record.client, record.group) for record in log.records}
        assert shown == {("192.0.2.7", "office")}


@pytest.mark.parametrize(("client", "scheme"), [("127.0.0.3", "https"), ("127.0.0.1", "http")])
async def test_only_a_trusted_proxy_says_that_its_client_came_by_tls(
    tmp_path: Path, client: str, scheme: str
) -> None:
    async with logging_worker(tmp_path, PROXY) as (bench, log):
        await bench.get("/livez", "X-Forwarded-Proto: https", client=client)
        bench.worker.accounts.settle()
        assert [record.scheme for record in log.records] == [scheme]


async def test_learned_heads_are_counted_for_the_group_of_their_connection(tmp_path: Path) -> None:
    async with running_worker(tmp_path, groups=GROUPS) as bench:
        bench.reader.keep(INDEX_KEY, SMALL)
        for client, asks in (("127.0.0.1", 3), ("127.0.0.2", 5)):
            async with wire(bench, client) as sender:
                for _ in range(asks):
                    await sender.ask(HEAD)
        assert served(bench, "other")["index", "hit", "requests"] == 3
        assert served(bench, "office")["index", "hit", "requests"] == 5
        assert served(bench, "office")["index", "hit", "content_bytes"] == 5 * len(SMALL)


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        pytest.param(((("commonName", "ci"),),), "CN=ci", id="one"),
        pytest.param(
            ((("organizationName", "Rust"),), (("commonName", "ci"),)), "CN=ci,O=Rust", id="order"
        ),
        pytest.param(((("commonName", "a,O=b"),),), "CN=a\\,O=b", id="a-comma-within-a-value"),
        pytest.param((), "", id="none"),
    ],
)
def test_subject_is_told_attribute_by_attribute(subject: object, text: str) -> None:
    assert subject_of({"subject": subject}) == text

"""`mirror.serve.client_limits`: what one client may ask, however many workers it asks."""

from __future__ import annotations

from array import array

from mirror.config import Limits
from mirror.serve.client_limits import ClientLimits, LimitedClient
from mirror.serve.client_networks import ClientNetworks
from mirror.serve.client_table import WAYS, ClientTable, words_for
from mirror.serve.request_window import WINDOW_MS
from tests.unit.serve.test_paced import Reader

KEY = b"8 octets"
CLIENT = "192.0.2.1"


class Workers:
    """Workers that share a table, and one clock."""

    def __init__(self, settings: Limits, number: int = 2, clients: int = 64) -> None:
        words = array("Q", bytes(words_for(number, clients) * 8))
        self.waits = 0
        self.now_s = 1_000.0
        self.each = [
            ClientLimits(
                settings,
                ClientNetworks(),
                ClientTable(memoryview(words), number, slot, KEY),
                self.now_s,
                count_wait=self._count,
            )
            for slot in range(number)
        ]
        self.pass_time(0.25)

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        for limits in self.each:
            limits.tick(self.now_s)

    def ask(self, worker: int, address: str = CLIENT) -> LimitedClient | str:
        """One request: its client, or the total that it is refused under."""
        limits = self.each[worker]
        client = limits.find(address)
        assert client is not None
        excess = client.excess(limits.now_ms)
        if excess is not None:
            return excess.total
        client.count(limits.now_ms)
        client.enter()
        return client

    def _count(self) -> None:
        self.waits += 1


def test_requests_of_all_workers_are_within_one_limit() -> None:
    workers = Workers(Limits(client_requests=2))
    answers = [workers.ask(number % 2) for number in range(21)]
    assert answers[20:] == ["limited_requests"]
    assert all(isinstance(each, LimitedClient) for each in answers[:20])


def test_other_clients_and_later_times_have_their_own() -> None:
    workers = Workers(Limits(client_requests=1))
    assert [workers.ask(0) for _ in range(11)][10] == "limited_requests"
    assert isinstance(workers.ask(0, "192.0.2.2"), LimitedClient)
    workers.pass_time(2 * WINDOW_MS / 1000)
    assert isinstance(workers.ask(1), LimitedClient)


def test_refusal_says_when_to_come_back_and_then_there_is_room() -> None:
    workers = Workers(Limits(client_requests=1))
    for _ in range(10):
        workers.ask(0)
    client = workers.each[1].find(CLIENT)
    assert client is not None
    excess = client.excess(workers.each[1].now_ms)
    assert excess is not None
    workers.pass_time(excess.retry_after_s)
    assert isinstance(workers.ask(1), LimitedClient)


def test_refused_requests_do_not_count() -> None:
    workers = Workers(Limits(client_requests=1))
    for _ in range(10):
        workers.ask(0)
    for _ in range(1000):
        assert workers.ask(0) == "limited_requests"
    workers.pass_time(WINDOW_MS / 1000 + 1.25)
    assert isinstance(workers.ask(0), LimitedClient)


def test_requests_at_once_are_counted_over_all_workers_until_they_end() -> None:
    workers = Workers(Limits(client_streams=3))
    going = [workers.ask(number) for number in (0, 1, 0)]
    assert [workers.ask(0), workers.ask(1)] == ["limited_at_once"] * 2
    assert isinstance(going[1], LimitedClient)
    going[1].leave()
    assert isinstance(workers.ask(0), LimitedClient)
    assert workers.ask(1) == "limited_at_once"


def test_no_request_at_once_is_left_when_all_have_ended() -> None:
    workers = Workers(Limits(client_streams=1000))
    going = [workers.ask(number % 2, f"192.0.2.{number % 7}") for number in range(200)]
    for client in going:
        assert isinstance(client, LimitedClient)
        client.leave()
    for limits in workers.each:
        for number in range(7):
            known = limits.find(f"192.0.2.{number}")
            assert known is not None
            assert known.at_once == 0
            others = limits.table.others(limits.table.hash_of(known.name))
            assert [record.at_once for record in others] == [0]


def test_rate_is_shared_between_workers_by_their_transfers() -> None:
    workers = Workers(Limits(client_rate=1_000_000))  # type: ignore[arg-type]  # a plain number
    readers: list[list[Reader]] = [[], []]
    for worker, count in ((0, 3), (1, 1)):
        client = workers.each[worker].find(CLIENT)
        assert client is not None
        assert client.allowance is not None
        readers[worker] = [Reader(client.allowance) for _ in range(count)]
        for reader in readers[worker]:
            reader.send()
    for _ in range(4):  # until each knows of the other
        workers.pass_time(0.25)
    before = [sum(reader.taken_bytes for reader in each) for each in readers]
    for _ in range(40):
        workers.pass_time(0.25)
    after = [sum(reader.taken_bytes for reader in each) for each in readers]
    assert [end - start for start, end in zip(before, after, strict=True)] == [7_500_000, 2_500_000]
    assert workers.waits == 4


def test_as_many_clients_are_remembered_as_there_are_places() -> None:
    workers = Workers(Limits(client_requests=1), number=1, clients=64)
    for number in range(2_000):
        workers.ask(0, f"198.51.{number >> 8}.{number & 255}")
    assert WAYS <= len(workers.each[0]) <= 64
    assert len(workers.each[0]) > 32


def test_forgotten_client_ends_its_requests_without_harm_to_whoever_has_its_place() -> None:
    workers = Workers(Limits(client_streams=5), number=2, clients=WAYS)
    first = workers.ask(0)
    assert isinstance(first, LimitedClient)
    others = [workers.ask(0, f"198.51.100.{number}") for number in range(WAYS)]
    assert first.place == -1
    first.leave()
    first.count(workers.each[0].now_ms)
    table = workers.each[1].table
    for number, client in enumerate(others):
        assert isinstance(client, LimitedClient)
        records = list(table.others(table.hash_of(f"198.51.100.{number}")))
        assert [record.at_once for record in records] == [1]


def test_one_with_a_request_under_way_is_forgotten_last() -> None:
    workers = Workers(Limits(client_streams=5), number=1, clients=WAYS)
    busy = workers.ask(0)
    assert isinstance(busy, LimitedClient)
    for number in range(50):
        workers.pass_time(1.0)
        client = workers.ask(0, f"198.51.100.{number}")
        assert isinstance(client, LimitedClient)
        client.leave()
    assert busy.place >= 0
    assert workers.each[0].find(CLIENT) is busy


def test_exempt_clients_are_not_known() -> None:
    workers = Workers(Limits(client_requests=1))
    assert workers.each[0].find("127.0.0.1") is None
    assert workers.each[0].find("") is None
    assert len(workers.each[0]) == 0

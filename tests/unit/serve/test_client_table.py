"""`mirror.serve.client_table`: each worker writes its own and reads the others'."""

from __future__ import annotations

from array import array

import pytest

from mirror.serve.client_memory import ClientMemory
from mirror.serve.client_table import SILENT_MS, WAYS, ClientTable, Record, words_for
from mirror.serve.request_window import Counted

KEY = b"8 octets"
SLOTS, CLIENTS = 3, 64
NOW_MS = 5_000_000


def tables(*slots: int) -> list[ClientTable]:
    words = array("Q", bytes(words_for(SLOTS, CLIENTS) * 8))
    made = [ClientTable(memoryview(words), SLOTS, slot, KEY) for slot in slots]
    for _ in range(2):  # the second time each sees all
        for table in made:
            table.beat(NOW_MS)
    return made


def write(table: ClientTable, client: str, requests: int, at_once: int = 0) -> int:
    hashed = table.hash_of(client)
    place = table.places_of(hashed)[0]
    table.write(place, hashed, Record(Counted(500, requests, 0), at_once, 0))
    return place


def seen(table: ClientTable, client: str) -> list[tuple[int, int, int]]:
    return [
        (record.counted.now, record.at_once, record.paced)
        for record in table.others(table.hash_of(client))
    ]


def test_worker_sees_what_the_others_have_and_not_its_own() -> None:
    first, second, third = tables(0, 1, 2)
    write(first, "a", 5, 2)
    place = write(second, "a", 7)
    second.count(place, Counted(501, 1, 7))
    second.set_at_once(place, 4)
    second.set_paced(place, 3)
    write(third, "b", 100)
    assert seen(first, "a") == [(1, 4, 3)]
    assert seen(second, "a") == [(5, 2, 0)]
    assert sorted(seen(third, "a")) == [(1, 4, 3), (5, 2, 0)]
    assert seen(first, "c") == []


def test_record_that_is_given_to_another_client_is_no_longer_the_first_ones() -> None:
    first, second = tables(0, 1)
    hashed = first.hash_of("a")
    place = first.places_of(hashed)[WAYS - 1]
    first.write(place, hashed, Record(Counted(500, 9, 9), 9, 9))
    first.write(place, hashed ^ 1 << 60, Record(Counted(500, 1, 1), 1, 1))
    assert seen(second, "a") == []


@pytest.mark.parametrize(
    ("silent_ms", "counts"),
    [
        pytest.param(0, True, id="alive"),
        pytest.param(SILENT_MS - 1, True, id="slow"),
        pytest.param(SILENT_MS, False, id="dead"),
        pytest.param(-250, True, id="a-tick-ahead"),
        pytest.param(-SILENT_MS, False, id="of-another-boot"),
    ],
)
def test_what_a_dead_worker_had_under_way_burdens_nobody(silent_ms: int, counts: bool) -> None:
    first, second = tables(0, 1)
    write(first, "a", 5, 2)
    first.beat(NOW_MS - silent_ms)
    second.beat(NOW_MS)
    assert bool(seen(second, "a")) is counts


def test_successor_begins_with_an_empty_slot() -> None:
    words = array("Q", bytes(words_for(SLOTS, CLIENTS) * 8))
    first, second = (ClientTable(memoryview(words), SLOTS, slot, KEY) for slot in (0, 1))
    write(first, "a", 5, 2)
    successor = ClientTable(memoryview(words), SLOTS, 0, KEY)
    successor.beat(NOW_MS)
    second.beat(NOW_MS)
    assert seen(second, "a") == []


def test_ended_worker_is_not_seen() -> None:
    first, second = tables(0, 1)
    write(first, "a", 5, 2)
    first.close()
    second.beat(NOW_MS)
    assert seen(second, "a") == []


def test_every_client_has_a_full_set_of_places_within_the_table() -> None:
    [table] = tables(0)
    assert table.places == CLIENTS
    for number in range(500):
        places = table.places_of(table.hash_of(f"client {number}"))
        assert len(places) == WAYS
        assert 0 <= places[0] <= places[-1] < CLIENTS


def test_places_depend_on_the_key() -> None:
    words = array("Q", bytes(words_for(1, 4096) * 8))
    one = ClientTable(memoryview(words), 1, 0, b"key one!")
    other = ClientTable(memoryview(words), 1, 0, b"key two!")
    clients = [f"client {number}" for number in range(50)]
    assert [one.hash_of(each) for each in clients] != [other.hash_of(each) for each in clients]


def test_memory_too_small_or_a_slot_too_many_is_a_mistake() -> None:
    words = array("Q", bytes(words_for(SLOTS, CLIENTS) * 8))
    with pytest.raises(ValueError, match="slot 3 of 3"):
        ClientTable(memoryview(words), SLOTS, SLOTS, KEY)
    with pytest.raises(ValueError, match="10 words"):
        ClientTable(memoryview(words)[:10], SLOTS, 0, KEY)


def test_memory_is_shared_by_the_tables_made_of_it() -> None:
    memory = ClientMemory(SLOTS, CLIENTS)
    first, second = memory.table(0, KEY), memory.table(1, KEY)
    first.beat(NOW_MS)
    second.beat(NOW_MS)
    write(first, "a", 5, 2)
    assert seen(second, "a") == [(5, 2, 0)]
    first.close()
    second.close()
    memory.close()

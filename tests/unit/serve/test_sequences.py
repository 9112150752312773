"""`mirror.serve.sequences`: the table against a dictionary, and what a race leaves behind."""

from __future__ import annotations

import random
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.serve.sequences import RECORD_WORDS, SEQUENCE_MS, WAYS, Sequences, Turn
from mirror.store.page import SharedPage

KEY = b"8 octets"
CHANNEL = "releases:/dist/channel-rust-stable"
MANIFEST, DIGEST, SIGNATURE = (f"{CHANNEL}.toml{suffix}" for suffix in ("", ".sha256", ".asc"))
G1, G2 = 0x1111111111111111, 0xF222222222222222
NOW = 5_000_000


def table(sets: int = 64) -> Sequences:
    return Sequences(memoryview(array("Q", bytes(sets * WAYS * RECORD_WORDS * 8))), KEY)


def words_of(sets: int = 64) -> memoryview[int]:
    return memoryview(array("Q", bytes(sets * WAYS * RECORD_WORDS * 8)))


def test_the_files_that_follow_come_from_the_generation_of_the_first() -> None:
    sequences = table()
    sequences.turn("10.0.0.1", DIGEST).give(200, G1, NOW)
    assert sequences.turn("10.0.0.1", MANIFEST).wanted(NOW + 1) == G1
    assert sequences.turn("10.0.0.1", SIGNATURE).wanted(NOW + 1) == G1


def test_a_repeated_file_begins_another_sequence() -> None:
    sequences = table()
    digest, manifest = (sequences.turn("10.0.0.1", key) for key in (DIGEST, MANIFEST))
    digest.give(200, G1, NOW)
    manifest.give(200, G1, NOW + 1)
    assert digest.wanted(NOW + 2) == 0
    digest.give(200, G2, NOW + 2)
    assert manifest.wanted(NOW + 3) == G2


def test_a_repeated_file_of_the_same_generation_forgets_what_was_given() -> None:
    sequences = table()
    digest, manifest = (sequences.turn("10.0.0.1", key) for key in (DIGEST, MANIFEST))
    digest.give(200, G1, NOW)
    manifest.give(200, G1, NOW + 1)
    digest.give(200, G1, NOW + SEQUENCE_MS - 1)
    assert manifest.wanted(NOW + SEQUENCE_MS + 100) == G1


@pytest.mark.parametrize(
    ("age_ms", "wanted"),
    [
        pytest.param(0, G1, id="at-once"),
        pytest.param(SEQUENCE_MS - 1, G1, id="just-in-time"),
        pytest.param(SEQUENCE_MS, 0, id="over"),
        pytest.param(-300, G1, id="another-workers-later-tick"),
        pytest.param(-SEQUENCE_MS, 0, id="from-another-time"),
    ],
)
def test_a_sequence_lasts_ten_seconds_from_its_beginning(age_ms: int, wanted: int) -> None:
    sequences = table()
    sequences.turn("a", DIGEST).give(200, G1, NOW)
    assert sequences.turn("a", MANIFEST).wanted(NOW + age_ms) == wanted


def test_a_file_given_late_does_not_lengthen_the_sequence() -> None:
    sequences = table()
    sequences.turn("a", DIGEST).give(200, G1, NOW)
    sequences.turn("a", MANIFEST).give(200, G1, NOW + 9_000)
    assert sequences.turn("a", SIGNATURE).wanted(NOW + SEQUENCE_MS) == 0


@pytest.mark.parametrize("other", [MANIFEST.replace("stable", "beta"), MANIFEST])
def test_clients_and_channels_do_not_mix(other: str) -> None:
    sequences = table()
    sequences.turn("10.0.0.1", DIGEST).give(200, G1, NOW)
    client = "10.0.0.1" if other != MANIFEST else "10.0.0.2"
    assert sequences.turn(client, other).wanted(NOW) == 0


@pytest.mark.parametrize("status", [200, 206, 304, 404])
def test_what_lets_a_client_know_the_file_is_given(status: int) -> None:
    sequences = table()
    sequences.turn("a", SIGNATURE).give(status, G1, NOW)
    assert sequences.turn("a", MANIFEST).wanted(NOW) == G1


@pytest.mark.parametrize("status", [412, 416, 500, 502, 503, 504])
def test_a_refusal_or_a_failure_gives_nothing(status: int) -> None:
    sequences = table()
    sequences.turn("a", DIGEST).give(status, G1, NOW)
    assert sequences.turn("a", MANIFEST).wanted(NOW) == 0


def test_a_file_of_no_known_generation_ends_the_sequence() -> None:
    sequences = table()
    sequences.turn("a", DIGEST).give(200, G1, NOW)
    sequences.turn("a", MANIFEST).give(200, 0, NOW + 1)
    assert sequences.turn("a", SIGNATURE).wanted(NOW + 2) == 0


class Model:
    """What the table means: one sequence per client, in a dictionary, none ever lost."""

    def __init__(self) -> None:
        self.running: dict[str, tuple[int, int, frozenset[str]]] = {}

    def wanted(self, client: str, key: str, now: int) -> int:
        generation, begun_at, given = self.running.get(client, (0, now, frozenset()))
        is_running = now - begun_at < SEQUENCE_MS and key not in given
        return generation if is_running else 0

    def give(self, client: str, key: str, generation: int, now: int) -> None:
        if self.wanted(client, key, now) == generation != 0:
            _, begun_at, given = self.running[client]
            self.running[client] = (generation, begun_at, given | {key})
        else:
            self.running[client] = (generation, now, frozenset((key,)))


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(("10.0.0.1", "10.0.0.2", "2001:db8::1")),
        st.sampled_from((MANIFEST, DIGEST, SIGNATURE)),
        st.sampled_from((G1, G2, 0)),
        st.integers(min_value=0, max_value=6_000),
        st.booleans(),
    ),
    max_size=40,
)


@given(requests=REQUESTS)
def test_the_table_agrees_with_a_dictionary_whichever_worker_looks(
    requests: list[tuple[str, str, int, int, bool]],
) -> None:
    words, model, now = words_of(), Model(), NOW
    workers = [Sequences(words, KEY), Sequences(words, KEY)]
    for client, key, generation, pause_ms, is_first_worker in requests:
        now += pause_ms
        turn = workers[is_first_worker].turn(client, key)
        assert turn.wanted(now) == model.wanted(client, key, now)
        turn.give(200, generation, now)
        model.give(client, key, generation, now)


@given(requests=REQUESTS, newest=st.integers(min_value=0, max_value=40))
def test_no_sequence_holds_files_of_two_generations(
    requests: list[tuple[str, str, int, int, bool]], newest: int
) -> None:
    """Whoever obeys the table never sees a mixed pair, wherever upstream flips."""
    sequences, now = table(), NOW
    seen: dict[str, dict[str, int]] = {}
    for number, (client, key, _, pause_ms, _) in enumerate(requests):
        now += pause_ms
        turn = sequences.turn(client, key)
        wanted = turn.wanted(now)
        generation = wanted or (G1 if number < newest else G2)
        turn.give(200, generation, now)
        given = seen.setdefault(client, {})
        if not wanted:
            given.clear()
        given[key] = generation
        assert len(set(given.values())) == 1


def test_a_full_set_lets_the_eldest_go() -> None:
    sequences = table(sets=1)
    clients = [f"10.0.0.{number}" for number in range(WAYS + 1)]
    for number, client in enumerate(clients):
        sequences.turn(client, DIGEST).give(200, G1, NOW + number)
    wanted = [sequences.turn(client, MANIFEST).wanted(NOW + 10) for client in clients]
    assert wanted == [0] + [G1] * WAYS


def test_the_page_holds_the_clients_of_ten_busy_seconds(tmp_path: Path) -> None:
    """10,000 clients within one sequence's length: few enough share a place that all but some per
    cent keep theirs."""
    page = SharedPage.create(str(tmp_path / "page"), 2)
    sequences = Sequences(page.sequence_words(), page.sequence_key)
    clients = [f"10.0.{n >> 8}.{n & 255}" for n in range(10_000)]
    for client in clients:
        sequences.turn(client, DIGEST).give(200, G1, NOW)
    kept = sum(sequences.turn(client, MANIFEST).wanted(NOW) == G1 for client in clients)
    assert kept > 9000
    sequences.close()
    page.close()


def test_two_mappings_of_one_page_are_one_table(tmp_path: Path) -> None:
    path = str(tmp_path / "page")
    pages = [SharedPage.create(path, 2), SharedPage.attach(path)]
    first, second = (Sequences(page.sequence_words(), page.sequence_key) for page in pages)
    first.turn("a", DIGEST).give(200, G1, NOW)
    assert second.turn("a", MANIFEST).wanted(NOW) == G1
    for sequences, page in zip((first, second), pages, strict=True):
        sequences.close()
        page.close()


def test_the_hash_has_another_key_on_every_page(tmp_path: Path) -> None:
    keys = set()
    for name in ("a", "b"):
        page = SharedPage.create(str(tmp_path / name), 1)
        keys.add(page.sequence_key)
        page.close()
    assert len(keys) == 2


def test_a_table_without_room_is_misuse() -> None:
    with pytest.raises(ValueError, match="31 words"):
        Sequences(memoryview(array("Q", bytes(31 * 8))), KEY)


def record_of(turn: Turn, words: memoryview[int], generation: int, now: int) -> list[int]:
    """The record that giving leaves in an otherwise empty table of one set."""
    words[:] = memoryview(array("Q", bytes(len(words) * 8)))
    turn.give(200, generation, now)
    return words[:4].tolist()


@given(
    takes=st.lists(st.booleans(), min_size=4, max_size=4),
    pause_ms=st.integers(min_value=0, max_value=9_000),
    same=st.booleans(),
)
def test_torn_record_is_no_record(takes: list[bool], pause_ms: int, same: bool) -> None:
    """Words of two writers side by side: either one's whole record, or nothing."""
    words = words_of(sets=1)
    sequences = Sequences(words, KEY)
    turn = sequences.turn("a", DIGEST)
    other = turn if same else sequences.turn("b", MANIFEST)
    records = (
        record_of(turn, words, G1, NOW),
        record_of(other, words, G2, NOW + pause_ms),
    )
    mixed = [records[take][at] for at, take in enumerate(takes)]
    words[:4] = memoryview(array("Q", mixed))
    found = {sequences.find(record[0], NOW + pause_ms) for record in records} - {None}
    assert bool(found) is (mixed in records)
    assert len(found) <= 1


def test_any_flipped_bit_makes_a_record_none() -> None:
    words = words_of(sets=1)
    turn = Sequences(words, KEY).turn("a", DIGEST)
    record = record_of(turn, words, G1, NOW)
    other = Sequences(words, KEY).turn("a", MANIFEST)
    assert other.wanted(NOW) == G1
    for at in range(4):
        for bit in range(64):
            words[at] = record[at] ^ (1 << bit)
            assert other.wanted(NOW) == 0
            words[at] = record[at]


def test_random_words_are_no_records() -> None:
    rng = random.Random(3)
    words = words_of(sets=8)
    sequences = Sequences(words, KEY)
    for _ in range(50):
        words[:] = memoryview(array("Q", [rng.getrandbits(64) for _ in range(len(words))]))
        turn = sequences.turn("a", DIGEST)
        assert turn.wanted(NOW) == 0
        turn.give(200, G1, NOW)
        assert sequences.turn("a", MANIFEST).wanted(NOW) == G1

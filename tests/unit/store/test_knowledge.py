"""What manifests state, packed: nothing lost, nothing found that was not stated."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.errors import StoreError
from mirror.store import knowledge
from mirror.store.knowledge import (
    DATES_MAX,
    PREFIX_BYTES,
    RECORD_BYTES,
    Packed,
    RecentDates,
    Statement,
    best,
    find,
    pack,
    split,
)

DATES = st.sampled_from(["2026-01-01", "2025-12-31", "2015-05-15"])
NAMES = st.from_regex(r"[a-z][A-Za-z0-9_.-]{0,20}", fullmatch=True)
PATHS = st.one_of(
    st.builds("/dist/{}/{}".format, DATES, NAMES),
    st.builds("/dist/{}".format, NAMES),
    st.builds("/dist/{}/{}/{}".format, DATES, NAMES, NAMES),
)
DIGESTS = st.binary(min_size=32, max_size=32)


@given(st.dictionaries(PATHS, DIGESTS, max_size=60), PATHS)
def test_packed_knowledge_answers_as_the_mapping_does(
    digests: dict[str, bytes], other: str
) -> None:
    packed = pack(digests, "m")
    for path in {*digests, other}:
        date, name = split(path)
        assert find(packed.get(date, b""), name) == digests.get(path)
    assert sum(map(len, packed.values())) == RECORD_BYTES * len(digests)


@given(PATHS, PATHS)
def test_no_two_paths_have_one_date_and_name(one: str, other: str) -> None:
    assert (split(one) == split(other)) == (one == other)


@given(st.binary(max_size=500), NAMES)
def test_damaged_records_are_no_error(records: bytes, name: str) -> None:
    found = find(records, name)
    assert found is None or len(found) <= 32


def test_1100_archives_take_53_kilobytes() -> None:
    digests = {
        f"/dist/2026-01-01/rustc-{n}.tar.xz": hashlib.sha256(b"%d" % n).digest()
        for n in range(1100)
    }
    assert [len(records) for records in pack(digests, "m").values()] == [52_800]


def test_two_names_with_one_prefix_are_refused_not_confused() -> None:
    """No two such names are known; two equal names under a date, by two paths, would be such."""
    path = "/dist/2026-01-01/a"
    assert PREFIX_BYTES == 16

    class Twice(dict[str, bytes]):
        def items(self) -> object:  # type: ignore[override] # a mapping that states a path twice
            return [(path, b"1" * 32), (path, b"2" * 32)]

    with pytest.raises(StoreError, match="one prefix"):
        pack(Twice(), "m")


def statement(digest: bytes, proof: str) -> Statement:
    return Statement(digest=digest, manifest_key="m", manifest_digest=b"d", proof=proof)


def test_the_best_statement_is_a_signed_one() -> None:
    unsigned, signed = statement(b"1", "generation"), statement(b"2", "signed-generation")
    assert best([unsigned, signed]) == signed
    assert best([unsigned]) == unsigned
    assert best([]) is None
    assert signed.voucher == "m@64"


def packed(number: int) -> list[Packed]:
    return [Packed(manifest_key=str(number), manifest_digest=b"", proof="generation", records=b"")]


def test_recent_dates_are_bounded_and_the_coldest_goes() -> None:
    dates = RecentDates()
    for number in range(DATES_MAX):
        dates.put(str(number), packed(number), dates.turn)
    assert dates.get("0") == packed(0)
    dates.put("one more", packed(99), dates.turn)
    assert dates.get("1") is None
    assert dates.get("0") is not None
    assert repr(dates) == f"<RecentDates {DATES_MAX}>"


def test_what_was_read_before_a_manifest_came_is_not_kept_after_it() -> None:
    dates = RecentDates()
    turn = dates.turn
    dates.clear()
    dates.put("2026-01-01", packed(1), turn)
    assert dates.get("2026-01-01") is None


def test_a_date_is_only_taken_from_its_place() -> None:
    assert split("/dist/2026-01-01/a") == ("2026-01-01", "a")
    for path in ("/dist/a", "/x/2026-01-01/a", "/dist/2026-01-01/a/b", "/dist/2026-01-01/"):
        assert split(path) == ("", path)
    assert knowledge.RECORD_BYTES == 48

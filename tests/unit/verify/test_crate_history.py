"""`mirror.verify.crate_history`: what an index file may say after what it has said before."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.acceptances import AcceptedCrate
from mirror.errors import VerificationError
from mirror.verify.crate_history import (
    CHANGES_MAX,
    DELETED_MAX,
    ChangeKind,
    CrateHistory,
    CrateListing,
    Judgement,
    bury,
    joined,
    judge,
    pack,
    unpack,
)

CKSUMS = {name: hashlib.sha256(name.encode()).digest() for name in "abcdef"}


def listing(text: str, name: str = "Serde") -> CrateListing:
    """`"1=a 2=b"`: version 1 with the cksum of a, version 2 with that of b."""
    versions = {v: CKSUMS[c] for v, _, c in (item.partition("=") for item in text.split())}
    digest = hashlib.sha256(f"{name} {text}".encode()).digest()
    return CrateListing(name=name, digest=digest, versions=versions)


def history(live: str, deleted: str = "") -> CrateHistory:
    return CrateHistory(
        name="Serde",
        listed=listing(live).digest,
        live=listing(live).versions,
        deleted=listing(deleted).versions,
        is_marked=bool(deleted),
    )


def nobody(_: AcceptedCrate) -> bool:
    return False


def anybody(_: AcceptedCrate) -> bool:
    return True


def told(judgement: Judgement) -> dict[str, list[str]]:
    """What a judgement found, without what is empty."""
    names = {
        "held": [change.release.version for change in judgement.held],
        "accepted": [change.release.version for change in judgement.accepted],
        "deleted": list(judgement.deleted),
        "lifted": list(judgement.lifted),
        "again": [change.release.version for change in judgement.registered_again],
        "first": list(judgement.first_seen),
    }
    return {name: versions for name, versions in names.items() if versions}


@pytest.mark.parametrize(
    ("before", "file", "found"),
    [
        pytest.param(history("1=a"), "1=a", {}, id="same"),
        pytest.param(history("1=a 2=b"), "2=b 1=a", {}, id="another-order"),
        pytest.param(None, "1=a 2=b", {"first": ["1", "2"]}, id="never-seen"),
        pytest.param(history("1=a"), "1=a 2=b", {"first": ["2"]}, id="published"),
        pytest.param(history("1=a 2=b"), "1=a", {"deleted": ["2"]}, id="line-gone"),
        pytest.param(history("1=a"), "1=b", {"held": ["1"]}, id="changed"),
        pytest.param(
            history("1=a 2=b"), "1=b 2=a", {"held": ["1", "2"]}, id="two-versions-swapped"
        ),
        pytest.param(
            history("1=a 2=b"), "1=c", {"held": ["1"], "deleted": ["2"]}, id="changed-and-gone"
        ),
        pytest.param(history("", "1=a"), "1=a", {"lifted": ["1"]}, id="listed-again"),
        pytest.param(history("", "1=a"), "1=b", {"again": ["1"]}, id="registered-again"),
        pytest.param(history("2=b", "1=a"), "2=b", {}, id="deletion-holds"),
        pytest.param(
            history("2=b", "1=a"), "1=c 2=d", {"again": ["1"], "held": ["2"]}, id="both-kinds"
        ),
        pytest.param(
            history("1=a"), "2=a", {"held": ["2"], "deleted": ["1"]}, id="moved-to-a-new-version"
        ),
        pytest.param(
            history("1=a", "2=b"), "2=a", {"held": ["2"], "deleted": ["1"]}, id="moved-to-a-buried"
        ),
        pytest.param(history("1=a"), "1=a 2=a", {"first": ["2"]}, id="twice-is-not-moved"),
        pytest.param(history("1=a"), "2=b", {"first": ["2"], "deleted": ["1"]}, id="replaced"),
    ],
)
def test_a_file_is_judged_by_the_history(
    before: CrateHistory | None, file: str, found: dict[str, list[str]]
) -> None:
    assert told(judge(before, listing(file), nobody)) == found


def test_a_change_tells_both_cksums() -> None:
    (change,) = judge(history("1=a"), listing("1=b"), nobody).held
    assert (change.before, change.release.cksum) == (CKSUMS["a"], CKSUMS["b"])
    assert change.kind is ChangeKind.CKSUM
    assert str(change.release) == f"crate Serde 1 {CKSUMS['b'].hex()}"


def test_another_spelling_of_the_name_is_a_change_of_every_version() -> None:
    judgement = judge(history("1=a 2=b"), listing("1=a 2=c", "serde"), nobody)
    assert [change.kind for change in judgement.held] == [ChangeKind.NAME, ChangeKind.CKSUM]
    assert {change.release.name for change in judgement.held} == {"serde"}


def test_another_spelling_after_a_seen_deletion_is_another_crate() -> None:
    gone = bury(history("1=a")).history
    judgement = judge(gone, listing("1=b", "serde"), nobody)
    assert told(judgement) == {"again": ["1"]}
    assert judgement.history.name == "serde"


def test_only_the_accepted_change_is_let_through() -> None:
    accepted = AcceptedCrate(name="Serde", version="2", cksum=CKSUMS["d"])
    judgement = judge(history("1=a 2=b"), listing("1=c 2=d"), accepted.__eq__)
    assert told(judgement) == {"held": ["1"], "accepted": ["2"]}


def test_an_accepted_file_is_the_history_from_then_on() -> None:
    judgement = judge(history("1=a"), listing("1=b"), anybody)
    assert judgement.must_outlive
    assert judgement.history.is_marked
    assert told(judge(judgement.history, listing("1=b"), nobody)) == {}
    assert told(judge(judgement.history, listing("1=a"), nobody)) == {"held": ["1"]}


def test_a_deletion_is_remembered_through_any_number_of_files() -> None:
    before = bury(history("1=a 2=b")).history
    assert before.listed == b""
    for file in ("3=c", "3=c 4=d", "4=d"):
        before = judge(before, listing(file), nobody).history
    assert before.deleted == {"1": CKSUMS["a"], "2": CKSUMS["b"], "3": CKSUMS["c"]}
    assert told(judge(before, listing("1=a 2=e 4=d"), nobody)) == {"lifted": ["1"], "again": ["2"]}


def test_what_is_only_first_seen_may_be_written_later() -> None:
    assert not judge(None, listing("1=a"), nobody).must_outlive
    assert not judge(history("1=a"), listing("1=a 2=b"), nobody).must_outlive
    for file in ("", "1=b 3=c"):
        assert judge(history("1=a", "3=c"), listing(file), anybody).must_outlive


def test_deletions_of_one_crate_are_bounded() -> None:
    many = {str(n): n.to_bytes(32, "big") for n in range(DELETED_MAX + 5)}
    full = CrateHistory(name="Serde", listed=b"x", live=many, deleted={}, is_marked=False)
    assert list(bury(full).history.deleted) == list(many)[5:]


def test_a_file_with_more_changes_than_can_be_accepted_is_held_whatever_is_accepted() -> None:
    many = {str(n): n.to_bytes(32, "big") for n in range(CHANGES_MAX + 5)}
    before = CrateHistory(name="Serde", listed=b"x", live=many, deleted={}, is_marked=False)
    changed = {version: cksum[::-1] for version, cksum in many.items()}
    changed["0"] = CKSUMS["a"]  # its bytes are all zero: the same in either direction
    file = CrateListing(name="Serde", digest=b"y", versions=changed)
    judgement = judge(before, file, anybody)
    assert (len(judgement.accepted), len(judgement.held)) == (CHANGES_MAX, 1)


def test_the_stored_file_adds_what_a_crash_has_lost_and_takes_nothing_back() -> None:
    before = history("1=a", "2=b")
    merged = joined(before, listing("1=c 2=b 3=d"))
    assert merged.live == {"1": CKSUMS["a"], "3": CKSUMS["d"]}
    assert merged.deleted == before.deleted
    assert joined(before, listing("1=c 2=b")) is before
    assert joined(before, listing("9=f", "serde")) is before
    assert told(judge(joined(None, listing("1=a")), listing("1=b"), nobody)) == {"held": ["1"]}


_cksums = st.sampled_from(sorted(CKSUMS.values()))
_versions = st.dictionaries(st.sampled_from("12345"), _cksums, max_size=5)
_listings = st.builds(
    CrateListing,
    name=st.just("Serde"),
    digest=st.binary(min_size=32, max_size=32),
    versions=_versions,
)
_steps = st.lists(st.one_of(st.none(), _listings), max_size=12)


@given(_steps)
def test_a_version_changes_its_cksum_only_after_upstream_showed_its_deletion(
    steps: list[CrateListing | None],
) -> None:
    """The model: what the last files taken over said, and what has been gone since."""
    before: CrateHistory | None = None
    live: dict[str, bytes] = {}
    buried: dict[str, bytes] = {}
    for file in steps:
        offered = {} if file is None else dict(file.versions)
        if file is None:
            if before is None:
                continue
            judgement = bury(before)
        else:
            judgement = judge(before, file, nobody)
            gone = {cksum for v, cksum in live.items() if v not in offered}
            is_wrong = any(
                live.get(v, cksum) != cksum or (v not in live and cksum in gone)
                for v, cksum in offered.items()
            )
            assert bool(judgement.held) == is_wrong
            if is_wrong:
                continue
        buried = {v: c for v, c in {**buried, **live}.items() if v not in offered}
        live = offered
        before = judgement.history
        assert (dict(before.live), dict(before.deleted)) == (live, buried)
        assert before.is_marked or not buried


@given(_versions, _versions, st.booleans(), st.binary(max_size=32))
def test_a_record_is_read_back_as_it_was_written(
    live: dict[str, bytes], deleted: dict[str, bytes], is_marked: bool, listed: bytes
) -> None:
    packed = CrateHistory(
        name="Serde", listed=listed, live=live, deleted=deleted, is_marked=is_marked
    )
    assert unpack(pack(packed), "serde") == packed


@given(st.binary(max_size=200))
def test_a_damaged_record_is_an_error_or_a_history(record: bytes) -> None:
    try:
        read = unpack(record, "serde")
    except VerificationError:
        return
    assert unpack(pack(read), "serde") == read


def test_a_record_with_a_short_cksum_is_refused() -> None:
    short = CrateHistory(
        name="Serde", listed=b"", live={"1": b"short"}, deleted={}, is_marked=False
    )
    with pytest.raises(VerificationError, match="expected 32 bytes, got 5 bytes"):
        unpack(pack(short), "serde")

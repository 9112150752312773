"""One object explained."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from mirror.config import Config
from mirror.control.objects import (
    NoObjectError,
    ObjectSource,
    events_about,
    explain,
    find_route,
)
from mirror.store.entry import Attestation, Entry, Stored
from mirror.store.quarantine import QuarantineSummary, Reason
from mirror.store.reader import BlobChanged, BlobFile, BlobMissing

NOW = 1_800_000_000.0
CRATE = "crates:/crates/serde/serde-1.0.0.crate"
INDEX = "index:/se/rd/serde"
CHANNEL = "releases:/dist/channel-rust-stable.toml"


def _entry(key: str, **changes: object) -> Stored:
    entry = Entry(
        key=key, status=200, digest=b"\x01" * 32, length=5, media_type="text/plain",
        last_modified=0, upstream_etag="", upstream_last_modified="", fetched_at=NOW - 50,
        confirmed_at=NOW - 10, fresh_until=NOW + 50, proof="parsed", voucher="",
    )  # fmt: skip
    attestation = Attestation(inode=1, size=5, ctime_ns=1)
    return Stored(entry=replace(entry, **changes), attestation=attestation)  # type: ignore[arg-type] # the fields of a test


@dataclass
class FakeStore:
    stored: dict[str, Stored] = field(default_factory=dict)
    opened: BlobMissing | BlobChanged | None = None  # None: the file is there

    def lookup(self, key: str) -> Stored | None:
        return self.stored.get(key)

    def open_blob(self, stored: Stored) -> BlobFile | BlobMissing | BlobChanged:
        return self.opened or BlobFile(os.open(os.devnull, os.O_RDONLY))


@dataclass
class FakeFile:
    landed: int = 30
    length: int = 100
    sendable: int = 20


@dataclass
class FakeFill:
    key: str
    keys: tuple[str, ...]
    began_at_s: float
    file: FakeFile | None


@dataclass
class FakeFills:
    flights: list[FakeFill] = field(default_factory=list)
    waiting: int = 0


@dataclass
class FakeQuarantine:
    reasons: tuple[Reason, ...] = ()

    def summary(self) -> QuarantineSummary:
        return QuarantineSummary(
            count=len(self.reasons), used_bytes=0, oldest_at=None, newest=self.reasons
        )


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def source(store: FakeStore) -> Iterator[ObjectSource]:
    descriptors = set(os.listdir("/proc/self/fd"))
    yield ObjectSource(
        config=Config(), reader=store, fills=FakeFills(), quarantine=FakeQuarantine()
    )
    assert set(os.listdir("/proc/self/fd")) <= descriptors  # what was opened was closed


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        pytest.param(CRATE, CRATE, id="key"),
        pytest.param("  /crates/serde/serde-1.0.0.crate ", CRATE, id="path"),
        pytest.param("https://static.crates.io/crates/serde/1.0.0/download", CRATE, id="upstream"),
        pytest.param("http://mirror.example:8080/index/se/rd/serde", INDEX, id="own-url"),
        pytest.param("https://index.crates.io/se/rd/serde", INDEX, id="index-host"),
        pytest.param("//dist/channel-rust-stable.toml", CHANNEL, id="no-authority-but-slashes"),
    ],
)
def test_what_an_operator_has_at_hand_is_understood(asked: str, key: str) -> None:
    if asked.startswith("//"):
        asked = "/" + asked.lstrip("/")
    assert find_route(asked).key == key


@pytest.mark.parametrize(
    "asked",
    ["", " ", "x" * 3000, "é", "/livez", "/nothing/here", "<script>alert(1)</script>",
     "http://[::1", "/dist/../etc/passwd", "crates:/../x", "/crates/%2e%2e", "\x00"],
)  # fmt: skip
def test_other_names_are_refused_with_a_sentence(asked: str) -> None:
    with pytest.raises(NoObjectError, match=r"\w \w"):
        find_route(asked)


def _verdict(key: str, source: ObjectSource) -> tuple[str, str]:
    verdict = explain(find_route(key), source, now=NOW, now_s=9.0)["verdict"]
    return verdict["word"], verdict["cache_status"]


@pytest.mark.parametrize(
    ("key", "changes", "expected"),
    [
        pytest.param(INDEX, {}, ("hit", "hit; ttl=50"), id="fresh"),
        pytest.param(INDEX, {"fresh_until": NOW - 5}, ("hit",), id="stale-while-revalidate"),
        pytest.param(INDEX, {"fresh_until": NOW - 500}, ("revalidated", "fwd=stale"), id="stale"),
        pytest.param(INDEX, {"status": 404, "digest": b"", "length": 0}, ("negative",), id="404"),
        pytest.param(INDEX, {"status": 404, "fresh_until": NOW - 1}, ("miss",), id="old-404"),
        pytest.param(CRATE, {"fresh_until": math.inf}, ("hit", "hit"), id="crate"),
        pytest.param(
            CRATE, {"fresh_until": math.inf, "confirmed_at": NOW - 5000},
            ("revalidated", "fwd=stale"), id="crate-whose-index-is-old",
        ),
    ],
)  # fmt: skip
def test_the_verdict_is_the_workers_own(
    source: ObjectSource,
    store: FakeStore,
    key: str,
    changes: dict[str, object],
    expected: tuple[str, ...],
) -> None:
    store.stored[key] = _entry(key, **changes)
    assert _verdict(key, source)[: len(expected)] == expected


def test_an_index_file_confirmed_lately_vouches_for_its_crates(
    source: ObjectSource, store: FakeStore
) -> None:
    store.stored[CRATE] = _entry(CRATE, fresh_until=math.inf, confirmed_at=NOW - 5000)
    store.stored[INDEX] = _entry(INDEX)
    assert _verdict(CRATE, source)[0] == "hit"
    listing = explain(find_route(CRATE), source, now=NOW, now_s=9.0)["listing"]
    assert listing == {"key": INDEX, "confirmed_at": NOW - 10}


@pytest.mark.parametrize(
    ("opened", "word", "file"),
    [(None, "hit", "intact"), (BlobMissing(), "miss", "missing"),
     (BlobChanged(), "miss", "changed")],
)  # fmt: skip
def test_the_file_is_looked_at(
    source: ObjectSource,
    store: FakeStore,
    opened: BlobMissing | BlobChanged | None,
    word: str,
    file: str,
) -> None:
    store.stored[INDEX], store.opened = _entry(INDEX), opened
    document = explain(find_route(INDEX), source, now=NOW, now_s=9.0)
    assert (document["verdict"]["word"], document["stored"]["file"]) == (word, file)


def test_nothing_stored_is_a_miss_and_a_fill_is_joined(
    source: ObjectSource, tmp_path: Path
) -> None:
    assert _verdict(CHANNEL, source)[0] == "miss"
    fill = FakeFill(CHANNEL, (CHANNEL, CHANNEL + ".asc"), 7.0, FakeFile())
    filling = replace(source, fills=FakeFills([fill]))
    document = explain(find_route(CHANNEL + ".asc"), filling, now=NOW, now_s=9.0)
    assert document["verdict"]["word"] == "collapsed"
    assert document["flight"] == {
        "key": CHANNEL,
        "age_s": 2.0,
        "landed_bytes": 30,
        "sendable_bytes": 20,
        "length_bytes": 100,
    }


def test_what_lies_in_quarantine_is_told(source: ObjectSource) -> None:
    reason = Reason(keys=(CRATE,), expected="aa", got="bb", length=4, reason="wrong", at=NOW)
    held = replace(source, quarantine=FakeQuarantine((reason,)))
    assert explain(find_route(CRATE), held, now=NOW, now_s=9.0)["quarantine"] == [
        {"reason": "wrong", "expected": "aa", "got": "bb", "size_bytes": 4, "taken_at": NOW}
    ]
    assert explain(find_route(INDEX), held, now=NOW, now_s=9.0)["quarantine"] == []


def test_events_that_name_the_object_are_found_newest_first() -> None:
    events: list[dict[str, object]] = [
        {"event": "a", "key": CRATE}, {"event": "b", "keys": [INDEX, CRATE]},
        {"event": "c", "key": INDEX}, {"event": "d", "keys": CRATE}, {"event": "e"},
    ]  # fmt: skip
    assert [event["event"] for event in events_about(CRATE, events)] == ["b", "a"]

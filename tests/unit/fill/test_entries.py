"""How entries are made: lifetimes by tempo, validators that may be sent back."""

from __future__ import annotations

import math

import pytest

from mirror.config import Freshness
from mirror.fill.entries import EntryMaker, Head, fresh_until, head_of
from mirror.route.match import route_of_key
from mirror.route.route import Route

MAKER = EntryMaker(freshness=Freshness())


def route(key: str) -> Route:
    found = route_of_key(key)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("key", "lifetime_s"),
    [
        ("releases:/dist/2026-01-01/channel-rust-nightly.toml", math.inf),
        ("releases:/dist/channel-rust-nightly.toml", 60),
        ("releases:/dist/rust-1.95.0-x86_64-unknown-linux-gnu.tar.gz", 7 * 86400),
        ("releases:/rustup/release-stable.toml", 60),
        ("releases:/manifests.txt", 3600),
        ("index:/se/rd/serde", 60),
        ("crates:/crates/serde/serde-1.0.0.crate", math.inf),
    ],
)
def test_the_lifetime_follows_the_tempo(key: str, lifetime_s: float) -> None:
    assert fresh_until(route(key), 1000.0, Freshness()) == 1000.0 + lifetime_s


@pytest.mark.parametrize(
    ("fields", "head"),
    [
        pytest.param({}, ("", "", -1), id="nothing"),
        pytest.param({"etag": '"a"', "content-length": "5"}, ('"a"', "", 5), id="plain"),
        pytest.param(
            {"content-length": "5", "transfer-encoding": "chunked"}, ("", "", -1), id="chunked"
        ),
        pytest.param({"content-length": "-5"}, ("", "", -1), id="a-negative-length"),
        pytest.param({"content-length": "5, 5"}, ("", "", -1), id="two-lengths"),
        pytest.param({"etag": '"' + "x" * 600 + '"'}, ("", "", -1), id="an-endless-etag"),
        pytest.param({"etag": '"a\r\nX: y"'}, ("", "", -1), id="a-smuggled-line"),
        pytest.param({"last-modified": "\xe4"}, ("", "", -1), id="not-ascii"),
    ],
)
def test_what_a_head_says(fields: dict[str, str], head: tuple[str, str, int]) -> None:
    etag, last_modified, length = head
    assert head_of(fields) == Head(etag=etag, last_modified=last_modified, length=length)


def test_the_version_that_a_bucket_names_is_kept_with_the_entry() -> None:
    head = head_of({"x-amz-version-id": "v1"})
    key = route("releases:/rustup/release-stable.toml")
    entry = MAKER.present(key, digest=bytes(32), head=head, length=1, now=5.0, proof="parsed")
    assert entry.upstream_version == "v1"
    assert MAKER.confirmed(entry, key, 6.0).upstream_version == "v1"
    later = head_of({"x-amz-version-id": "v2"})
    assert MAKER.confirmed(entry, key, 6.0, later).upstream_version == "v2"


def test_only_a_strong_etag_is_strong() -> None:
    assert head_of({"etag": '"a"'}).strong_etag == '"a"'
    assert head_of({"etag": 'W/"a"'}).strong_etag == ""
    assert head_of({"etag": "a"}).strong_etag == ""


def test_a_confirmation_moves_times_and_validators_and_keeps_the_digest() -> None:
    index = route("index:/se/rd/serde")
    head = Head(etag='"1"', last_modified="", length=3)
    entry = MAKER.present(index, digest=b"d" * 32, head=head, length=3, now=1.0, proof="parsed")
    again = MAKER.confirmed(entry, index, 100.0, Head(etag='"2"', last_modified="", length=-1))
    assert (again.digest, again.fetched_at, again.confirmed_at) == (b"d" * 32, 1.0, 100.0)
    assert (again.upstream_etag, again.fresh_until) == ('"2"', 160.0)
    assert MAKER.suspect(again).fresh_until == 0.0


def test_an_absence_is_short_lived() -> None:
    entry = MAKER.absent(route("index:/se/rd/serde"), 100.0)
    assert (entry.status, entry.digest, entry.length, entry.fresh_until) == (404, b"", 0, 130.0)

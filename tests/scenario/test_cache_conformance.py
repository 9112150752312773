"""What RFC 9110 and RFC 9111 say a cache does with what is stored, stale or absent.

Rules:
1. A row is named by the section that decides it. The rows are the cases of the public HTTP cache
   test suite that concern a cache whose routes and lifetimes are fixed, written again from the RFC.
2. Every row has an object of its own, or one that no row changes. What is to be stale has aged
   before the first row, so no row waits for that.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import Reply, at_once, fetch
from tests.scenario.upstream_objects import count_of, fresh_archive, log_of, requests_total
from tests.structured_fields import Parameters, Token, parse_single

LIFETIME_S = 3600
SETTINGS = {
    "serve.workers": "1",
    "freshness.rustup": f"{LIFETIME_S}s",
    "freshness.index": "100ms",
    "freshness.stale_while_revalidate": "0s",
    "freshness.client_floor": "0s",
    "upstream.attempts": "1",
}
AGED_S = 0.5  # beyond the lifetime of an index file, and the quarter second of a worker's clock
FRESH_PATH = "/rustup/release-stable.toml"
DATE_850, DATE_ASCTIME = "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    path: str
    content: bytes
    etag: str
    last_modified: str

    @property
    def key(self) -> str:
        return f"index:{self.path.removeprefix('/index')}"

    def filled(self, text: str) -> str:
        """`{etag}`, `{opaque}` (without its quotes), and the date in its three forms."""
        date = parsedate_to_datetime(self.last_modified) if self.last_modified else None
        return text.format(
            etag=self.etag,
            opaque=self.etag.strip('"'),
            date=self.last_modified,
            date_850=date and date.strftime(DATE_850),
            date_asctime=date and date.strftime(DATE_ASCTIME),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`status` 206 is the first two bytes.

    `filled_with`: fields that upstream sent with the content (None: did not send). `fault`: of the
    answer to validation. `sends`: the conditions that upstream is sent; None: it is asked behind
    the answer.
    """

    name: str
    lines: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    method: str = "GET"
    filled_with: Mapping[str, str | None] = field(default_factory=dict)
    fault: Mapping[str, object] = field(default_factory=dict)
    sends: Mapping[str, str] | None = None
    detail: str = ""


def words(reply: Reply) -> Parameters:
    return parse_single(reply.cache_status)


def published(simulator: SimulatorProcess, name: str) -> str:
    """Publish a crate and return the path of its index file."""
    simulator.control.publish_crate(name, "1.0.0")
    return f"/index/{name[:2]}/{name[2:4]}/{name}"


def stored_at(mirror: Edge, path: str) -> Stored:
    reply = fetch(mirror.port, path)
    assert reply.status == 200
    return Stored(
        path=path,
        content=reply.content,
        etag=reply.fields["etag"],
        last_modified=reply.fields.get("last-modified", ""),
    )


def is_hit(mirror: Edge, path: str) -> bool:
    return "hit" in fetch(mirror.port, path).cache_status


# What is fresh is answered without a word to upstream.

ONLY_TAG = {"If-None-Match": "{etag}"}
EARLY, LATE = "Thu, 01 Jan 2009 00:00:00 GMT", "Fri, 31 Dec 2038 23:59:59 GMT"
FRESH: dict[str, tuple[dict[str, str], int]] = {
    "13.1.2-strong": (ONLY_TAG, 304),
    "13.1.2-weak": ({"If-None-Match": "W/{etag}"}, 304),
    "13.1.2-first-of-a-list": ({"If-None-Match": '{etag}, "1234", "5678"'}, 304),
    "13.1.2-in-a-list": ({"If-None-Match": '"1234", {etag}, "5678"'}, 304),
    "13.1.2-last-of-a-list": ({"If-None-Match": '"1234", "5678", {etag}'}, 304),
    "13.1.2-beside-bytes-above-ascii": ({"If-None-Match": '"\xe4", {etag}'}, 304),
    "13.1.2-star": ({"If-None-Match": "*"}, 304),
    "13.1.2-another": ({"If-None-Match": '"1234"'}, 200),
    "8.8.3-unquoted": ({"If-None-Match": "{opaque}"}, 200),
    "8.8.3-weakness-in-lower-case": ({"If-None-Match": "w/{etag}"}, 200),
    "8.8.3-weakness-with-a-backslash": ({"If-None-Match": "W\\{etag}"}, 200),
    "8.8.3-weakness-without-a-slash": ({"If-None-Match": "W{etag}"}, 200),
    "13.1.3-equal": ({"If-Modified-Since": "{date}"}, 304),
    "13.1.3-later": ({"If-Modified-Since": LATE}, 304),
    "13.1.3-earlier": ({"If-Modified-Since": EARLY}, 200),
    "5.6.7-rfc-850": ({"If-Modified-Since": "{date_850}"}, 304),
    "5.6.7-asctime": ({"If-Modified-Since": "{date_asctime}"}, 304),
    "13.2.2-tag-before-date": ({**ONLY_TAG, "If-Modified-Since": EARLY}, 304),
    "13.2.2-other-tag-before-date": ({"If-None-Match": '"1"', "If-Modified-Since": LATE}, 200),
    "14.1.2-first-two": ({"Range": "bytes=0-1"}, 206),
    "13.2.2-tag-before-range": ({**ONLY_TAG, "Range": "bytes=0-1"}, 304),
    "5.2.1.1-old-enough": ({"Cache-Control": f"max-age={LIFETIME_S}"}, 200),
    "5.2.1.2-max-stale": ({"Cache-Control": "max-stale=1000"}, 200),
    "5.2.1.3-fresh-enough": ({"Cache-Control": "min-fresh=10"}, 200),
    "5.2.1.5-no-store": ({"Cache-Control": "no-store"}, 200),
    "5.2.1.7-only-if-cached": ({"Cache-Control": "only-if-cached"}, 200),
    "5.2.3-unknown": ({"Cache-Control": "unrecognised=1"}, 200),
    "5.4-other-pragma": ({"Pragma": "unrecognised"}, 200),
    "5.4-pragma-beside-cache-control": ({"Pragma": "no-cache", "Cache-Control": "x"}, 200),
    "4.1-cookie": ({"Cookie": "a=b"}, 200),
    "3.5-credentials": ({"Authorization": "Basic eDp5"}, 200),
}


@pytest.fixture(scope="module")
def fresh(mirror: Edge) -> Stored:
    wait_until(partial(is_hit, mirror, FRESH_PATH), "it is stored")
    return stored_at(mirror, FRESH_PATH)


@pytest.mark.parametrize("name", FRESH)
def test_what_is_fresh(name: str, mirror: Edge, upstream: SimulatorProcess, fresh: Stored) -> None:
    lines, status = FRESH[name]
    reply = fetch(mirror.port, fresh.path, {k: fresh.filled(v) for k, v in lines.items()})
    assert_is(reply, fresh, status)
    assert words(reply)["hit"] is True
    assert requests_total(upstream) == 0


def assert_is(reply: Reply, stored: Stored, status: int, method: str = "GET") -> None:
    contents = {200: stored.content, 206: stored.content[:2], 304: b""}
    assert (reply.status, reply.is_complete) == (status, True)
    assert reply.content == (b"" if method == "HEAD" else contents[status])
    assert reply.fields["etag"] == stored.etag  # also of a 304: RFC 9110 section 15.4.5
    assert int(reply.fields["age"]) >= 0
    assert "date" in reply.fields


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param({"Cache-Control": "no-cache"}, id="5.2.1.4-no-cache"),
        pytest.param({"Cache-Control": "max-age=0"}, id="5.2.1.1-max-age-0"),
        pytest.param({"Cache-Control": f"min-fresh={LIFETIME_S + 1}"}, id="5.2.1.3-min-fresh"),
        pytest.param({"Pragma": "no-cache"}, id="5.4-pragma-alone"),
    ],
)
def test_what_is_fresh_but_not_for_this_client_is_validated(
    lines: dict[str, str], mirror: Edge, upstream: SimulatorProcess, fresh: Stored
) -> None:
    replies: list[Reply] = []

    def is_forwarded() -> bool:  # a worker's clock sees the last confirmation a quarter second late
        replies.append(fetch(mirror.port, fresh.path, lines))
        return "fwd" in words(replies[-1])

    wait_until(is_forwarded, "upstream is asked")
    said = words(replies[-1])
    assert (said["fwd"], said["fwd-status"]) == (Token("request"), 304)
    assert_is(replies[-1], fresh, 200)
    assert requests_total(upstream) == 1
    assert "if-none-match" in log_of(upstream, fresh.path)[-1]["fields"]


@pytest.mark.parametrize(
    ("method", "status"),
    [("POST", 405), ("PUT", 405), ("DELETE", 405), ("PATCH", 405), ("OPTIONS", 405),
     ("M-SEARCH", 501)],
)  # fmt: skip
def test_unsafe_methods_reach_nobody_and_invalidate_nothing(
    method: str, status: int, mirror: Edge, upstream: SimulatorProcess, fresh: Stored
) -> None:
    """RFC 9111 sections 3 and 4.4, RFC 9110 section 15.5.6."""
    reply = fetch(mirror.port, fresh.path, method=method)
    assert reply.status == status
    assert status != 405 or reply.fields["allow"] == "GET, HEAD"
    assert is_hit(mirror, fresh.path)
    assert requests_total(upstream) == 0


def test_age_counts_from_the_last_confirmation(mirror: Edge, fresh: Stored) -> None:
    """RFC 9111 section 5.1."""
    begun_at = time.monotonic()
    replies: list[Reply] = [fetch(mirror.port, fresh.path)]
    first = int(replies[0].fields["age"])

    def is_older() -> bool:
        replies.append(fetch(mirror.port, fresh.path))
        return int(replies[-1].fields["age"]) > first

    wait_until(is_older, "its age grows")
    ages = [int(reply.fields["age"]) for reply in replies]
    assert ages == sorted(ages)
    assert ages[-1] <= first + time.monotonic() - begun_at + 1
    ttl = words(replies[-1])["ttl"]
    assert isinstance(ttl, int)
    assert ttl + ages[-1] in (LIFETIME_S - 1, LIFETIME_S)


# What is stale is validated first, and stands in for an upstream that is away.

BOTH = {"if-none-match": "", "if-modified-since": ""}  # whatever upstream's validators are
WEAK = 'W/"abcdef"'
STALE = (
    Row(name="4.3.1-both-validators", sends=BOTH),
    Row(name="4.3.1-weak-tag", filled_with={"ETag": WEAK},
        sends={"if-none-match": WEAK, "if-modified-since": ""}),
    Row(name="4.3.1-only-a-tag", filled_with={"Last-Modified": None},
        sends={"if-none-match": ""}),
    Row(name="4.3.1-only-a-date", filled_with={"ETag": None}, sends={"if-modified-since": ""}),
    Row(name="4.3.1-no-validator", filled_with={"ETag": None, "Last-Modified": None}, sends={}),
    Row(name="4.3.2-client-s-tag", lines=ONLY_TAG, status=304, sends=BOTH),
    Row(name="4.3.2-client-s-other-tag", lines={"If-None-Match": '"x"'}, sends=BOTH),
    # A date of its own second is withheld until the clock is past it (RFC 9110 section 8.8.2.1).
    Row(name="4.3.2-client-s-date", lines={"If-Modified-Since": "{date}"}, status=304, sends=BOTH,
        filled_with={"Last-Modified": EARLY}),
    Row(name="4.3.2-range", lines={"Range": "bytes=0-1"}, status=206, sends=BOTH),
    Row(name="4.3.5-head", method="HEAD", sends=BOTH),
    Row(name="4.3.3-500", fault={"kind": "status", "status": 500}, sends=BOTH,
        detail="stale-if-error"),
    Row(name="4.3.3-503", fault={"kind": "status", "status": 503}, sends=BOTH,
        detail="stale-if-error"),
    Row(name="4.3.3-429", fault={"kind": "status", "status": 429}, sends=BOTH,
        detail="stale-if-error"),
    Row(name="4.2.4-closed", fault={"kind": "drop"}, sends=BOTH, detail="stale-if-error"),
    Row(name="4.2.4-reset", fault={"kind": "drop", "how": "rst"}, sends=BOTH,
        detail="stale-if-error"),
    Row(name="4.2.4-client-allows-it-too", lines={"Cache-Control": "stale-if-error=60"},
        fault={"kind": "status", "status": 503}, sends=BOTH, detail="stale-if-error"),
    Row(name="5.2.1.1-max-age-0", lines={"Cache-Control": "max-age=0"}, sends=BOTH),
    Row(name="5.2.1.2-max-stale-of-any-age", lines={"Cache-Control": "max-stale"},
        detail="stale-while-revalidate"),
    Row(name="5.2.1.2-max-stale-long-enough", lines={"Cache-Control": "max-stale=1000"},
        detail="stale-while-revalidate"),
    Row(name="5.2.1.2-max-stale-too-short", lines={"Cache-Control": "max-stale=0"}, sends=BOTH),
)  # fmt: skip


DOOMED = ("changing", "vanished", "unasked")  # by what becomes of them upstream


@pytest.fixture(scope="module")
def stale(mirror: Edge, module_simulator: SimulatorProcess) -> dict[str, Stored]:
    """An object of each row, and those that something becomes of; all past their lifetime."""
    found: dict[str, Stored] = {}
    for number, row in enumerate(STALE):
        path = published(module_simulator, f"ageing{number}")
        if row.filled_with:
            change = {"kind": "fields", "fields": row.filled_with, "path": path[6:]}
            module_simulator.control.faults({**change, "count": 1, "name": row.name})
        found[row.name] = stored_at(mirror, path)
        if row.filled_with:
            assert module_simulator.control.faults_fired()[row.name] == 1
    for name in DOOMED:
        found[name] = stored_at(mirror, published(module_simulator, name))
    aged_at = time.monotonic() + AGED_S
    wait_until(lambda: time.monotonic() > aged_at, "they are stale")
    return found


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in STALE])
def test_what_is_stale(
    row: Row, mirror: Edge, stale: dict[str, Stored], upstream: SimulatorProcess
) -> None:
    stored = stale[row.name]
    if row.fault:
        upstream.control.faults({**row.fault, "path": stored.path[6:], "name": "fault"})
    lines = {name: stored.filled(value) for name, value in row.lines.items()}
    reply = fetch(mirror.port, stored.path, lines, method=row.method)
    assert_is(reply, stored, row.status, row.method)
    said = words(reply)
    assert said.get("detail", "") == row.detail
    if row.sends is None:
        assert said["hit"] is True
        wait_until(lambda: count_of(upstream, stored.key)["not_modified"] == 1, "it is asked")
        return
    requests = count_of(upstream, stored.key)["requests"]
    assert said["fwd"] in (Token("stale"), Token("request"))
    assert upstream.control.faults_fired() == ({"fault": requests} if row.fault else {})
    assert row.fault or requests == 1
    sent = log_of(upstream, stored.path.removeprefix("/index"))[-1]["fields"]
    assert {name for name in sent if name.startswith("if-")} == set(row.sends)
    assert all(sent[name] == value for name, value in row.sends.items() if value)


def test_a_changed_object_replaces_the_stale_one(
    mirror: Edge, stale: dict[str, Stored], upstream: SimulatorProcess
) -> None:
    """RFC 9111 section 4.3.3; the client's tag is the former one."""
    stored = stale["changing"]
    upstream.control.publish_crate("changing", "1.0.1")
    reply = fetch(mirror.port, stored.path, {"If-None-Match": stored.etag})
    assert (reply.status, words(reply)["fwd-status"], words(reply)["stored"]) == (200, 200, True)
    assert reply.fields["etag"] != stored.etag
    assert reply.content.startswith(stored.content)


def test_an_object_that_is_gone_is_no_longer_served(
    mirror: Edge, stale: dict[str, Stored], upstream: SimulatorProcess
) -> None:
    """RFC 9111 section 4.3.3: a 404 is a full answer and no failure."""
    stored = stale["vanished"]
    upstream.control.delete_crate("vanished")
    reply = fetch(mirror.port, stored.path, {"If-None-Match": stored.etag})
    assert (reply.status, words(reply)["fwd"]) == (404, Token("stale"))
    assert words(fetch(mirror.port, stored.path))["hit"] is True
    assert count_of(upstream, stored.key)["requests"] == 1


def test_a_stale_object_is_not_asked_about_for_only_if_cached(
    mirror: Edge, stale: dict[str, Stored], upstream: SimulatorProcess
) -> None:
    """RFC 9111 section 5.2.1.7."""
    reply = fetch(mirror.port, stale["unasked"].path, {"Cache-Control": "only-if-cached"})
    assert reply.status == 504
    assert requests_total(upstream) == 0


# What nobody has stored is asked for in the mirror's own words.

COLD: dict[str, tuple[dict[str, str], str, int]] = {
    "4-get": ({}, "GET", 200),
    "9.3.2-head-fills": ({}, "HEAD", 200),
    "13.1.2-conditions-stay-here": ({"If-None-Match": '"abcdef"'}, "GET", 200),
    "8.8.3-unquoted-conditions-too": ({"If-None-Match": "abcdef"}, "GET", 200),
    "13.1.3-dates-stay-here": ({"If-Modified-Since": EARLY}, "GET", 200),
    "14.2-ranges-of-small-objects-stay-here": ({"Range": "bytes=0-1"}, "GET", 206),
    "5.2.1.4-no-cache": ({"Cache-Control": "no-cache"}, "GET", 200),
    "5.2.1.5-no-store": ({"Cache-Control": "no-store"}, "GET", 200),
}


@pytest.mark.parametrize("name", COLD)
def test_what_is_absent_is_fetched_once(
    name: str, mirror: Edge, upstream: SimulatorProcess
) -> None:
    lines, method, status = COLD[name]
    path = published(upstream, f"coldest{list(COLD).index(name)}")
    reply = fetch(mirror.port, path, lines, method=method)
    (record,) = log_of(upstream, path.removeprefix("/index"))
    assert (reply.status, record["method"], record["status"]) == (status, "GET", 200)
    assert not {"if-none-match", "if-modified-since", "range", "cache-control"} & set(
        record["fields"]
    )
    assert words(reply)["stored"] is True
    stored = stored_at(mirror, path)
    assert_is(reply, stored, status, method)


def test_only_if_cached_of_what_is_absent_is_504(mirror: Edge, upstream: SimulatorProcess) -> None:
    """RFC 9111 section 5.2.1.7."""
    path = published(upstream, "unfetched")
    assert fetch(mirror.port, path, {"Cache-Control": "only-if-cached"}).status == 504
    assert requests_total(upstream) == 0


def test_requests_at_once_are_one_upstream(mirror: Edge, upstream: SimulatorProcess) -> None:
    """RFC 9111 section 4: collapsed requests."""
    path = published(upstream, "collapse")
    upstream.control.faults({"kind": "delay", "ms": 300, "path": path[6:], "name": "slow"})
    replies = at_once(5, lambda _: fetch(mirror.port, path))
    assert {(reply.status, reply.sha256) for reply in replies} == {(200, replies[0].sha256)}
    assert upstream.control.faults_fired() == {"slow": 1}
    assert [("collapsed" in words(reply)) for reply in replies].count(False) == 1


def test_ranges_of_a_part_and_then_the_whole_cost_every_byte_once(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    """RFC 9111 sections 3.3 and 3.4: incomplete content is kept, used and completed."""
    archive = fresh_archive(600_000)
    size = archive.length
    for value, start, end in (
        ("-5", size - 5, size),
        ("-5", size - 5, size),
        (f"{size - 4}-{size - 2}", size - 4, size - 1),
        (f"{size - 3}-", size - 3, size),
        ("-1", size - 1, size),
    ):
        reply = fetch(mirror.port, archive.path, {"Range": f"bytes={value}"})
        assert (reply.status, reply.content) == (206, archive.content.read(start, end))
        assert reply.fields["content-range"] == f"bytes {start}-{end - 1}/{size}"
    whole = fetch(mirror.port, archive.path)
    assert (whole.status, whole.sha256) == (200, archive.sha256)
    wait_until(partial(is_hit, mirror, archive.path), "it is stored")
    assert count_of(upstream, archive.key)["bytes"] == size


# What upstream says beside the content.

PASSING: dict[str, dict[str, str]] = {
    "3.1-listed-by-connection": {"Connection": "a, b", "A": "1", "B": "2"},
    "3.1-proxy-connection": {"Proxy-Connection": "keep-alive"},
    "3.1-keep-alive": {"Keep-Alive": "timeout=5"},
    "3.1-upgrade": {"Upgrade": "h2c"},
    "3.1-proxy-authenticate": {"Proxy-Authenticate": "Basic"},
    "3.1-www-authenticate": {"WWW-Authenticate": "Basic"},
    "7.3-set-cookie": {"Set-Cookie": "a=b"},
    # The mirror is the server of these objects: what it knows of them it says itself.
    "3.1-strict-transport-security": {"Strict-Transport-Security": "max-age=1"},
    "3.1-unknown": {"X-Test": "1"},
}
LIFETIMES: dict[str, dict[str, str]] = {
    "5.2.2.5-no-store": {"Cache-Control": "no-store"},
    "5.2.2.7-private": {"Cache-Control": "private"},
    "5.2.2.4-no-cache": {"Cache-Control": "no-cache"},
    "5.2.2.1-max-age-0": {"Cache-Control": "max-age=0, must-revalidate"},
    "5.3-expired": {"Expires": EARLY},
    "5.4-pragma": {"Pragma": "no-cache"},
    "4.1-vary-star": {"Vary": "*"},
    "rfc9213-cdn-cache-control": {"CDN-Cache-Control": "no-store"},
}


@pytest.mark.parametrize("name", [*PASSING, *LIFETIMES])
def test_what_upstream_says_of_caching_is_settled_here(
    name: str, mirror: Edge, upstream: SimulatorProcess
) -> None:
    """Neither its fields nor its lifetimes go on: both are of this server (`docs/http.md`)."""
    said = (PASSING | LIFETIMES)[name]
    archive = fresh_archive(3000)
    upstream.control.faults(
        {"kind": "fields", "fields": said, "path": archive.path, "name": "fields"}
    )
    first = fetch(mirror.port, archive.path)
    wait_until(partial(is_hit, mirror, archive.path), "it is stored")
    second = fetch(mirror.port, archive.path)
    for reply in (first, second):
        assert (reply.status, reply.sha256) == (200, archive.sha256)
        assert all(reply.fields.get(key.lower()) != value for key, value in said.items())
    assert upstream.control.faults_fired()["fields"] == 1
    assert count_of(upstream, archive.key)["requests"] == 1

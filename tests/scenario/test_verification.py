"""Right bytes or none: whatever upstream sends, no client gets a complete wrong object.

One script spoils many objects at once (the mirror holds a spoiled key off for seconds, so the cases
share that wait); each claim is then judged for each case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import Reply, at_once, digests, fetch
from tests.scenario.upstream_objects import (
    DAY,
    Archive,
    count_of,
    fresh_archive,
    log_of,
    reference,
    sha256_of,
)

SETTINGS = {
    "freshness.channel": "300ms",
    "freshness.stale_while_revalidate": "0s",
    "freshness.rustup": "300ms",
    "freshness.index": "300ms",
    "freshness.negative": "300ms",
    "upstream.read_timeout": "1s",
    "upstream.hold": "1s",
}
pytestmark = pytest.mark.full  # takes 10 s
LARGE = fresh_archive(1_000_000)
LAST_BYTE = fresh_archive(700_000)
SMALL = fresh_archive(100_000)
TOO_LONG = fresh_archive(400_000)
TOO_SHORT = fresh_archive(500_000)
PAGE = fresh_archive(300_000)
PAGE_AS_PROOF = fresh_archive(310_000)
SKEWED = fresh_archive(600_000)
CHUNKED = fresh_archive(800_000)
RUSTUP_INIT = "/rustup/archive/1.29.0/x86_64-unknown-linux-gnu/rustup-init"
COMPONENT = f"/dist/{DAY}/rustc-1.94.0-x86_64-unknown-linux-gnu.tar.xz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`path` is asked for at the mirror; `faults` spoil it; `key` is what the event names."""

    path: str
    faults: tuple[Mapping[str, object], ...]
    event: str
    key: str


def spoiled(archive: Archive, kind: str, event: str = "digest-mismatch", **more: object) -> Case:
    rule = {"kind": kind, "path": archive.path, **more}
    return Case(path=archive.path, faults=(rule,), event=event, key=archive.key)


CASES = {
    "archive-wrong-byte": spoiled(LARGE, "corrupt", at=500_000),
    "archive-wrong-last-byte": spoiled(LAST_BYTE, "corrupt", at=LAST_BYTE.length - 1),
    "archive-kept-in-memory-wrong-byte": spoiled(SMALL, "corrupt", at=0),
    "archive-announced-too-long": spoiled(TOO_LONG, "length", "upstream-trouble", delta=1000),
    "archive-announced-too-short": spoiled(TOO_SHORT, "length", delta=-1000),
    "archive-is-a-page": spoiled(PAGE, "html"),
    "proof-is-a-page": Case(
        path=PAGE_AS_PROOF.path,
        faults=({"kind": "html", "path": f"{PAGE_AS_PROOF.path}.sha256"},),
        event="content-refused",
        key=f"{PAGE_AS_PROOF.key}.sha256",
    ),
    "proof-of-another-release": Case(
        path=SKEWED.path,
        faults=({"kind": "former", "path": f"{SKEWED.path}.sha256"},),
        event="digest-mismatch",
        key=SKEWED.key,
    ),
    "archive-without-length-wrong-byte": Case(
        path=CHUNKED.path,
        faults=(
            {"kind": "chunked", "path": CHUNKED.path},
            {"kind": "corrupt", "path": CHUNKED.path, "at": 700_000},
        ),
        event="digest-mismatch",
        key=CHUNKED.key,
    ),
    "component-wrong-byte": Case(
        path=COMPONENT,
        faults=({"kind": "corrupt", "path": COMPONENT, "at": 1000},),
        event="digest-mismatch",
        key=f"releases:{COMPONENT}",
    ),
    "crate-wrong-byte": Case(
        path="/crates/heavy/heavy-1.0.0.crate",
        faults=({"kind": "corrupt", "path": "/crates/heavy/heavy-1.0.0.crate", "at": 99_999},),
        event="digest-mismatch",
        key="crates:/crates/heavy/heavy-1.0.0.crate",
    ),
    "small-crate-wrong-byte": Case(
        path="/crates/q/q-1.0.0.crate",
        faults=({"kind": "corrupt", "path": "/crates/q/q-1.0.0.crate", "at": 10},),
        event="digest-mismatch",
        key="crates:/crates/q/q-1.0.0.crate",
    ),
    "rustup-init-wrong-byte": Case(
        path=RUSTUP_INIT,
        faults=({"kind": "corrupt", "path": RUSTUP_INIT, "at": 5},),
        event="digest-mismatch",
        key=f"releases:{RUSTUP_INIT}",
    ),
    "channel-manifest-wrong-byte": Case(
        path="/dist/channel-rust-beta.toml",
        faults=(
            {"kind": "corrupt", "path": "/dist/channel-rust-beta.toml", "at": 50},
            # Where it would be recovered from.
            {"kind": "html", "path": "/dist/2026-04-18/channel-rust-beta.toml"},
        ),
        event="channel-skew",
        key="releases:/dist/channel-rust-beta.toml",
    ),
    "dated-manifest-is-a-page": Case(
        path="/dist/2026-05-16/channel-rust-nightly.toml",
        faults=({"kind": "html", "path": "/dist/2026-05-16/channel-rust-nightly.toml"},),
        event="channel-skew",
        key="releases:/dist/2026-05-16/channel-rust-nightly.toml",
    ),
    "index-file-is-garbage": Case(
        path="/index/2/io",
        faults=({"kind": "corrupt", "path": "/2/io", "at": 0},),
        event="content-refused",
        key="index:/2/io",
    ),
    "index-file-is-a-page": Case(
        path="/index/3/r/rgb",
        faults=({"kind": "html", "path": "/3/r/rgb"},),
        event="content-refused",
        key="index:/3/r/rgb",
    ),
}
EACH_CASE = pytest.mark.parametrize("name", list(CASES))


@dataclass(kw_only=True)
class Aftermath:
    """What the script saw. `fired` and `events` are of the spoiled phase."""

    right: dict[str, str] = field(default_factory=dict)
    spoiled: dict[str, Reply] = field(default_factory=dict)
    fired: dict[str, int] = field(default_factory=dict)
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    wrong_blobs: list[str] = field(default_factory=list)
    quarantined: str = ""
    healed: dict[str, Reply] = field(default_factory=dict)
    fetched_bytes: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def aftermath(mirror: Edge, module_simulator: SimulatorProcess) -> Aftermath:
    upstream, seen = module_simulator, Aftermath()
    seen.right = {name: sha256_of(reference(url(upstream, case))) for name, case in CASES.items()}
    rules = [
        {**rule, "name": f"{name}/{rule['kind']}"}
        for name, case in CASES.items()
        for rule in case.faults
    ]
    upstream.control.faults(*rules)
    names = list(CASES)
    replies = at_once(len(names), lambda number: fetch(mirror.port, CASES[names[number]].path))
    seen.spoiled = dict(zip(names, replies, strict=True))
    seen.fired = upstream.control.faults_fired()
    seen.events = {name: mirror.event_of(case.event, case.key) for name, case in CASES.items()}
    seen.wrong_blobs = mirror.wrong_blobs()
    seen.quarantined = quarantined(mirror)
    upstream.control.clear_faults()
    upstream.control.reset_counts()
    for name in names:
        seen.healed[name] = heal(mirror, CASES[name].path, seen.right[name])
    seen.fetched_bytes = {
        name: count_of(upstream, case.key.removesuffix(".sha256"))["bytes"]
        for name, case in CASES.items()
    }
    return seen


def url(upstream: SimulatorProcess, case: Case) -> str:
    if case.path.startswith("/crates/"):
        return upstream.crates_url + case.path
    if case.path.startswith("/index/"):
        return upstream.index_url + case.path.removeprefix("/index")
    return upstream.releases_url + case.path


def quarantined(mirror: Edge) -> str:
    """Return the records of the quarantine as one text."""
    folder = mirror.store / "quarantine"
    return "\n".join(path.read_text() for path in folder.glob("*.json"))


def heal(mirror: Edge, path: str, right: str) -> Reply:
    """Ask until the object is right again; a complete wrong one on the way is a failure."""
    replies: list[Reply] = []

    def is_right() -> bool:
        reply = fetch(mirror.port, path)
        replies.append(reply)
        assert not (reply.status == 200 and reply.is_complete and reply.sha256 != right)
        return reply.status == 200 and reply.is_complete

    wait_until(is_right, f"{path} is served again")
    return replies[-1]


@EACH_CASE
def test_spoiled_object_never_reaches_a_client_whole(name: str, aftermath: Aftermath) -> None:
    reply = aftermath.spoiled[name]
    assert all(aftermath.fired[f"{name}/{rule['kind']}"] for rule in CASES[name].faults)
    assert reply.status >= 500 or (reply.status == 200 and not reply.is_complete), reply


@EACH_CASE
def test_spoiled_object_raises_an_event_with_key_and_cause(name: str, aftermath: Aftermath) -> None:
    event = aftermath.events[name]
    assert event["level"] in ("error", "warning")
    if event["event"] == "digest-mismatch":
        assert len(bytes.fromhex(event["expected"])) == len(bytes.fromhex(event["got"])) == 32
        assert event["expected"] != event["got"]
    elif event["event"] != "upstream-trouble":
        assert event["expected"] != event["got"]


@EACH_CASE
def test_object_is_fetched_anew_once_upstream_is_right(name: str, aftermath: Aftermath) -> None:
    assert aftermath.healed[name].sha256 == aftermath.right[name]
    assert aftermath.fetched_bytes[name] > 0


def test_nothing_but_verified_content_is_ever_published(mirror: Edge, aftermath: Aftermath) -> None:
    assert aftermath.wrong_blobs == mirror.wrong_blobs() == []
    assert set(aftermath.right.values()) <= set(mirror.blobs())


def test_mismatch_names_the_digest_that_was_expected_and_the_one_that_came(
    aftermath: Aftermath,
) -> None:
    wrong = bytearray(LARGE.content.read(0, LARGE.length))
    wrong[500_000] ^= 0xFF
    event = aftermath.events["archive-wrong-byte"]
    assert (event["expected"], event["got"]) == (LARGE.sha256, sha256_of(bytes(wrong)))


def test_spoiled_bytes_lie_in_quarantine_until_the_good_object_is_here(
    mirror: Edge, aftermath: Aftermath
) -> None:
    got = aftermath.events["archive-wrong-byte"]["got"]
    assert got in aftermath.quarantined
    wait_until(lambda: got not in quarantined(mirror), "the quarantine is cleared")


# A body that breaks off upstream goes on inside the fill: the client sees one whole response.

CUT_AT = 600_000
RESETS_MAX = 8


def cut_fetch(
    how: str, mirror: Edge, upstream: SimulatorProcess
) -> tuple[Archive, list[dict[str, Any]]]:
    """Fetch an archive whose first transfer breaks off; return it and what upstream was asked."""
    archive = fresh_archive(1_000_000)
    name = f"cut {archive.path}"
    upstream.control.faults(
        {"kind": "cut", "path": archive.path, "at": CUT_AT, "how": how, "count": 1, "name": name}
    )
    assert digests([fetch(mirror.port, archive.path)]) == {(200, True, archive.sha256)}
    assert upstream.control.faults_fired()[name] == 1
    return archive, log_of(upstream, archive.path)


def check_continuation(
    archive: Archive, first: Mapping[str, Any], second: Mapping[str, Any]
) -> int:
    """Return where the second transfer began, which must go on with the first one's version."""
    assert second["fields"]["if-range"] == archive.content.etag
    start = int(second["fields"]["range"].removeprefix("bytes=").removesuffix("-"))
    assert second["status"] == 206
    assert (first["content_bytes"], second["content_bytes"]) == (CUT_AT, archive.length - start)
    return start


def test_body_cut_upstream_goes_on_by_range_under_its_entity_tag(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive, (first, second) = cut_fetch("fin", mirror, upstream)
    assert check_continuation(archive, first, second) == CUT_AT


def test_body_reset_upstream_goes_on_by_range_with_what_the_reset_left(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    """A reset may destroy what was under way: all of it, and then the whole is asked for again."""
    for _ in range(RESETS_MAX):
        archive, (first, second) = cut_fetch("rst", mirror, upstream)
        if "range" in second["fields"]:
            assert 0 < check_continuation(archive, first, second) <= CUT_AT
            return
        assert second["status"] == 200
    pytest.fail(f"{RESETS_MAX} resets left nothing to go on with")


def test_body_that_stalls_upstream_goes_on_after_the_read_timeout(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(900_000)
    upstream.control.faults(
        {"kind": "stall", "path": archive.path, "at": 524_288, "count": 1, "name": "stall"}
    )
    assert digests([fetch(mirror.port, archive.path)]) == {(200, True, archive.sha256)}
    assert upstream.control.faults_fired()["stall"] == 1
    first, *resumed = [record["status"] for record in log_of(upstream, archive.path)]
    assert first == 200
    assert set(resumed) == {206}  # one, unless this machine is slow too


RESUME_FAULTS: dict[str, dict[str, object]] = {
    "range-ignored": {"kind": "no_ranges"},
    "wrong-content-range": {"kind": "content_range", "delta": 7, "count": 1},
    "always-a-wrong-content-range": {"kind": "content_range", "delta": -3},
    "entity-tag-changed": {"kind": "fields", "fields": {"ETag": '"of-another-day"'}, "count": 1},
    "refused-at-first": {"kind": "status", "status": 503, "skip": 1, "count": 1},
}


@pytest.mark.parametrize("name", list(RESUME_FAULTS))
def test_trouble_on_resume_never_splices_a_wrong_body(
    name: str, mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(1_000_000)
    cut = {"kind": "cut", "path": archive.path, "at": CUT_AT, "count": 1, "name": "cut"}
    upstream.control.faults(cut, {**RESUME_FAULTS[name], "path": archive.path, "name": "resume"})
    reply = fetch(mirror.port, archive.path)
    fired = upstream.control.faults_fired()
    assert fired["cut"] == 1
    assert fired["resume"] >= 1
    assert len(log_of(upstream, archive.path)) >= 2
    if name == "always-a-wrong-content-range":
        assert not reply.is_complete
    else:
        assert digests([reply]) == {(200, True, archive.sha256)}


def test_body_that_keeps_breaking_off_is_aborted_and_its_prefix_is_used_later(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(1_000_000)
    upstream.control.faults(
        {"kind": "cut", "path": archive.path, "at": CUT_AT, "count": 1, "name": "cut"},
        {"kind": "drop", "path": archive.path, "skip": 1, "name": "drop"},
    )
    reply = fetch(mirror.port, archive.path)
    # Whether its head is out by then decides how the client is told.
    assert reply.status == 503 or (reply.status == 200 and not reply.is_complete), reply
    assert upstream.control.faults_fired()["drop"] >= 1
    upstream.control.clear_faults()
    upstream.control.reset_counts()
    assert heal(mirror, archive.path, archive.sha256).sha256 == archive.sha256
    # The head had to be asked for again before the prefix was found.
    assert count_of(upstream, archive.key)["ranged"] == 1

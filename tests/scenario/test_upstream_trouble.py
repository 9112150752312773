"""Upstream fails, is slow, or has nothing: what clients are told, and what upstream is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import Reply, at_once, digests, fetch
from tests.scenario.upstream_objects import (
    count_of,
    fresh_archive,
    log_of,
    reference,
    requests_total,
    sha256_of,
)

# Short freshness shows revalidation; absences are kept long, so that one request is all there is.
SETTINGS = {
    "freshness.channel": "300ms",
    "freshness.stale_while_revalidate": "0s",
    "freshness.rustup": "300ms",
    "freshness.index": "300ms",
    "freshness.negative": "60s",
    "upstream.attempts": "2",
    "upstream.read_timeout": "500ms",
    # All these troubles are one upstream's: its circuit would open (test_upstream_overload).
    "upstream.breaker_failures": "1000",
}


def until_stale_copy_is_asked_about(mirror: Edge, path: str) -> Reply:
    """Ask until the freshness lifetime is over, so that the answer needed upstream's word."""
    replies: list[Reply] = []

    def is_forwarded() -> bool:
        replies.append(fetch(mirror.port, path))
        return "fwd=stale" in replies[-1].cache_status

    wait_until(is_forwarded, f"{path} became stale")
    return replies[-1]


# Never a 404: rustup would report a version that does not exist.

TROUBLES: dict[str, dict[str, object]] = {
    "500": {"kind": "status", "status": 500},
    "502": {"kind": "status", "status": 502},
    "503": {"kind": "status", "status": 503},
    "403": {"kind": "status", "status": 403},
    "429": {"kind": "status", "status": 429},
    "no-answer": {"kind": "drop"},
    "silence": {"kind": "delay", "ms": 60_000},
}


@pytest.mark.parametrize("name", list(TROUBLES))
def test_upstream_trouble_never_becomes_404_for_rustup(
    name: str, mirror: Edge, upstream: SimulatorProcess
) -> None:
    day = f"2026-11-{10 + list(TROUBLES).index(name)}"  # not settled for manifests.txt, or unlisted
    archive = fresh_archive(300_000)
    toolchain = f"/dist/channel-rust-1.{200 + list(TROUBLES).index(name)}.0.toml"
    binary = f"/rustup/archive/1.{day[-2:]}.0/x86_64-unknown-linux-gnu/rustup-init"
    paths = [archive.path, f"{archive.path}.asc", toolchain, f"{toolchain}.sha256", binary]
    for path in paths:
        upstream.control.faults({**TROUBLES[name], "path": f"{path}*", "name": path})
    for reply in at_once(len(paths), lambda number: fetch(mirror.port, paths[number])):
        assert reply.status >= 500, reply
        if reply.status == 503:
            assert int(reply.fields["retry-after"]) > 0
    fired = upstream.control.faults_fired()
    assert min(fired[archive.path], fired[toolchain], fired[binary]) > 0


def test_refused_connections_never_become_404(mirror: Edge, upstream: SimulatorProcess) -> None:
    upstream.control.stop_serving()
    paths = [
        fresh_archive(300_000).path,
        "/dist/channel-rust-1.300.0.toml.sha256",
        "/dist/2026-05-19/channel-rust-nightly.toml.sha256",
        "/rustup/archive/1.28.0/x86_64-unknown-linux-gnu/rustup-init",
        "/crates/birch-core/birch-core-0.0.9.crate",
        "/index/am/be/amber-nothing",
    ]
    for path in paths:
        reply = fetch(mirror.port, path)
        assert reply.status == 503, (path, reply)
        assert int(reply.fields["retry-after"]) > 0


def test_retry_after_of_upstream_is_handed_on(mirror: Edge, upstream: SimulatorProcess) -> None:
    path = "/dist/channel-rust-1.301.0.toml.sha256"
    upstream.control.faults(
        {"kind": "status", "status": 503, "retry_after": "17", "path": path, "name": "busy"}
    )
    reply = fetch(mirror.port, path)
    assert (reply.status, reply.fields["retry-after"]) == (503, "17")
    assert upstream.control.faults_fired()["busy"] == 1  # so long a wish ends the attempts


# What is stored serves meanwhile.

# Each an object of its own: after a failure a key is held off for seconds.
STALE_CASES = [
    ("503", "/dist/channel-rust-stable.toml", "/dist/channel-rust-stable.toml.sha256"),
    ("503", "/index/ha/rv/harvest", "/ha/rv/harvest"),
    ("no-answer", "/dist/channel-rust-beta.toml.sha256", "/dist/channel-rust-beta.toml.sha256"),
    ("no-answer", "/index/pl/us/plusmeta", "/pl/us/plusmeta"),
    ("silence", "/dist/channel-rust-nightly.toml", "/dist/channel-rust-nightly.toml.sha256"),
    ("silence", "/index/fa/di/fading", "/fa/di/fading"),
    ("500", "/rustup/release-stable.toml", "/rustup/release-stable.toml"),
]


@pytest.mark.parametrize(("trouble", "path", "asked"), STALE_CASES)
def test_stored_copy_is_served_stale_while_upstream_fails(
    trouble: str, path: str, asked: str, mirror: Edge, upstream: SimulatorProcess
) -> None:
    right = warm(mirror, path)
    upstream.control.faults({**TROUBLES[trouble], "path": asked, "name": "trouble"})

    def is_stale() -> bool:
        reply = fetch(mirror.port, path)
        assert (reply.status, reply.sha256) == (200, right.sha256)
        has_failed = upstream.control.faults_fired()["trouble"] > 0
        return has_failed and "stale-if-error" in reply.cache_status

    wait_until(is_stale, "upstream was asked, failed, and the copy is served as stale")


def warm(mirror: Edge, path: str) -> Reply:
    replies: list[Reply] = []

    def is_served() -> bool:
        replies.append(fetch(mirror.port, path))
        return replies[-1].status == 200

    wait_until(is_served, f"{path} is served")
    return replies[-1]


def test_page_in_place_of_an_index_file_leaves_the_stored_copy_in_place(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    right = warm(mirror, "/index/qu/ar/quartz-core")
    upstream.control.faults({"kind": "html", "path": "/qu/ar/quartz-core", "name": "page"})
    reply = until_stale_copy_is_asked_about(mirror, "/index/qu/ar/quartz-core")
    assert (reply.status, reply.sha256) == (200, right.sha256)
    assert upstream.control.faults_fired()["page"] >= 1


# Absent objects.


def test_absence_is_remembered_for_many_clients(mirror: Edge, upstream: SimulatorProcess) -> None:
    """Two requests: a `.sha256` alone could be missing because upstream is between two releases."""
    path = "/dist/channel-rust-1.302.0.toml"
    replies = at_once(8, lambda _: fetch(mirror.port, path))
    replies += [fetch(mirror.port, path) for _ in range(20)]
    assert {reply.status for reply in replies} == {404}
    assert requests_total(upstream) == 2


def test_crate_that_upstream_answers_with_403_is_absent(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    """The index names it, S3 without the right to list says 403 for what is not there."""
    path = "/crates/io/io-1.0.0.crate"
    upstream.control.faults({"kind": "status", "status": 403, "path": path, "name": "denied"})
    assert fetch(mirror.port, path).status == 404
    assert upstream.control.faults_fired()["denied"] == 1


def test_version_that_the_index_does_not_name_costs_no_crate_request(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    for _ in range(5):
        assert fetch(mirror.port, "/crates/x9/x9-77.0.0.crate").status == 404
    assert log_of(upstream, "/crates/x9/x9-77.0.0.crate") == []


def test_claimed_checksum_that_is_wrong_is_404_without_a_fetch(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    path = "/crates/Under_Score/Under_Score-1.0.0.crate"
    for target in (
        f"/crates/Under_Score/1.0.0/{'ab' * 32}/download",
        f"/crates/Under_Score/{'ab' * 32}/Under_Score-1.0.0.crate",
    ):
        assert fetch(mirror.port, target).status == 404
        assert log_of(upstream, path) == []
    right = reference(f"{upstream.crates_url}{path}")
    upstream.control.reset_counts()
    claim = sha256_of(right)
    for target in (
        f"/crates/Under_Score/1.0.0/{claim}/download",
        f"/crates/Under_Score/{claim}/Under_Score-1.0.0.crate",
        "/crates/Under_Score/1.0.0/download",
        path,
    ):
        reply = fetch(mirror.port, target)
        assert digests([reply]) == {(200, True, claim)}
    assert count_of(upstream, f"crates:{path}")["requests"] == 1


UNKNOWN_PATHS = [
    "/dist/",
    "/dist/2026-03-05/",
    "/dist/2026-13-05/rustc-1.94.0-x86_64-unknown-linux-gnu.tar.xz",
    "/dist/index.html",
    "/dist/rustc-1.94.0.exe.bat",
    "/dist/.hidden.tar.gz",
    "/rustup/dist/rustup-init",
    "/rustup/archive/latest/x86_64-unknown-linux-gnu/rustup-init",
    "/rustup/www/",
    "/crates/",
    "/crates/serde",
    "/crates/serde/other-1.0.0.crate",
    "/crates/9lives/9lives-1.0.0.crate",
    "/index/",
    "/index/se/rd/Serde",
    "/index/se/rd/tokio",
    "/index/1/serde",
    "/crates.io-index/ab/cd",
    "/api/v1/crates/serde",
    "/api/v1/crates",
    "/doc/std/index.html",
    "/wp-login.php",
    "/favicon.ico",
    "/.git/config",
    "/admin",
    "/metrics",
    "/status",
]


@pytest.mark.parametrize("path", UNKNOWN_PATHS)
def test_unknown_path_is_404_without_a_request_upstream(
    path: str, mirror: Edge, upstream: SimulatorProcess
) -> None:
    assert fetch(mirror.port, path).status == 404
    assert requests_total(upstream) == 0


# Dated manifests and `manifests.txt`.

LIST = "/manifests.txt"


def test_unlisted_dated_manifests_cost_no_request(mirror: Edge, upstream: SimulatorProcess) -> None:
    warm(mirror, LIST)
    upstream.control.reset_counts()
    names = ["channel-rust-nightly.toml", "channel-rust-beta.toml", "channel-rust-stable.toml"]
    targets = [
        f"/dist/2026-06-{day:02}/{name}{suffix}"
        for day in range(1, 11)
        for name in names
        for suffix in ("", ".sha256", ".asc")
    ]
    targets += [f"/dist/2026-05-17/channel-rust-nightly{s}" for s in ("", ".sha256", ".asc")]
    assert {fetch(mirror.port, target).status for target in targets} == {404}
    assert requests_total(upstream) == 0


def test_listed_dated_manifest_is_fetched(mirror: Edge, upstream: SimulatorProcess) -> None:
    path = "/dist/2026-05-15/channel-rust-nightly.toml"
    right = sha256_of(reference(f"{upstream.releases_url}{path}"))
    assert digests([fetch(mirror.port, path)]) == {(200, True, right)}
    proof = fetch(mirror.port, f"{path}.sha256")
    assert proof.content.split()[0].decode() == right


def test_version_1_name_before_the_first_listed_date_is_asked_for(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    path = "/dist/2015-05-15/channel-rust-nightly"
    assert fetch(mirror.port, path).status == 404
    assert len(log_of(upstream, path)) == 1


def test_date_that_is_not_settled_is_asked_for(mirror: Edge, upstream: SimulatorProcess) -> None:
    path = "/dist/2099-01-01/channel-rust-nightly.toml.sha256"
    assert fetch(mirror.port, path).status == 404
    assert len(log_of(upstream, path)) == 1


def test_without_the_list_upstream_is_asked(tmp_path: Path, upstream: SimulatorProcess) -> None:
    upstream.control.faults({"kind": "status", "path": LIST, "name": "no-list"})
    path = "/dist/2026-07-01/channel-rust-nightly.toml.sha256"
    with Edge(tmp_path, upstream, settings=SETTINGS) as other:
        assert fetch(other.port, path).status == 404
    assert len(log_of(upstream, path)) == 1
    assert upstream.control.faults_fired()["no-list"] >= 1


# Revalidation.


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/index/ch/ro/chronicle", "index:/ch/ro/chronicle"),
        ("/dist/channel-rust-1.94.toml", "releases:/dist/channel-rust-1.94.toml.sha256"),
        ("/rustup/rustup-init.sh", "releases:/rustup/rustup-init.sh"),
    ],
)
def test_stale_copy_costs_one_conditional_request_and_no_content(
    path: str, asked: str, mirror: Edge, upstream: SimulatorProcess
) -> None:
    right = warm(mirror, path)
    upstream.control.reset_counts()
    reply = until_stale_copy_is_asked_about(mirror, path)
    assert (reply.status, reply.sha256) == (200, right.sha256)
    assert "fwd-status=304" in reply.cache_status
    counts = upstream.control.counts()["total"]
    assert counts["requests"] == counts["not_modified"] >= 1
    assert counts["bytes"] == 0
    assert count_of(upstream, asked)["not_modified"] == counts["requests"]


def test_immutable_objects_are_never_asked_about_again(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(300_000)
    warm(mirror, archive.path)  # a busy machine may take longer than this mirror's read_timeout
    warm(mirror, "/dist/channel-rust-1.94.toml")
    upstream.control.reset_counts()
    until_stale_copy_is_asked_about(mirror, "/dist/channel-rust-1.94.toml")  # time passes
    assert "hit" in fetch(mirror.port, archive.path).cache_status
    assert count_of(upstream, archive.key)["requests"] == 0
    assert count_of(upstream, f"{archive.key}.sha256")["requests"] == 0

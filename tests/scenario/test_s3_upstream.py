"""A mirror filled from buckets: alone, before or behind a CDN, and with trouble of each kind.

The buckets are those of an S3 server (`tests.s3_server`), filled from the simulator; what such a
server cannot do to a connection, a proxy in front of it does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess
from mirror.simulator.tcp_proxy import TcpFaults
from tests.s3_server import OWNER, STRANGER, S3Server, start_s3_server
from tests.scenario.attacked import BUCKET, ProxyThread
from tests.scenario.edge import Edge
from tests.scenario.exchange import fetch
from tests.scenario.upstream_objects import (
    Archive,
    count_of,
    fresh_archive,
    reference,
    requests_total,
    sha256_of,
)

pytestmark = pytest.mark.full  # `make check-full` runs it

CHANNEL = "/dist/channel-rust-stable.toml"
RELEASES = [
    CHANNEL,
    f"{CHANNEL}.sha256",
    f"{CHANNEL}.asc",
    "/rust-key.gpg.ascii",
    "/manifests.txt",
    "/rustup/release-stable.toml",
]
CRATE = "/crates/q/q-1.0.0.crate"
PLUS = "/crates/plusmeta/plusmeta-1.0.0+build.5.crate"
INDEX = ["/1/q", "/pl/us/plusmeta", "/config.json"]
VERSIONED = "versioned"
CUT_AT = 1_000_000
ERROR_PAGE_BYTES = 1000
ARCHIVE_BYTES = 3_000_000

EdgeMaker = Callable[..., Edge]


@pytest.fixture(scope="module")
def s3(module_simulator: SimulatorProcess) -> Iterator[S3Server]:
    with start_s3_server() as server:
        server.create_bucket(BUCKET)
        server.create_bucket(VERSIONED, versioned=True)
        copy_tree(module_simulator.releases_url, server, RELEASES, "releases")
        copy_tree(module_simulator.crates_url, server, [CRATE, PLUS], "crates")
        copy_tree(module_simulator.index_url, server, INDEX, "index")
        yield server


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[ProxyThread]:
    running = ProxyThread("127.0.0.1", s3.port, Counter())
    running.start()
    yield running
    running.stop()


@pytest.fixture
def new_edge(tmp_path: Path, upstream: SimulatorProcess) -> Iterator[EdgeMaker]:
    """Return a maker of running mirrors; none of them may have crashed in the end."""
    with ExitStack() as stack:
        started: list[Edge] = []

        def make(**settings: str) -> Edge:
            plain = {key.replace("__", "."): value for key, value in settings.items()}
            plain = {"upstream.attempts": "2", **plain}
            edge = Edge(tmp_path / f"edge{len(started)}", upstream, workers=1, settings=plain)
            started.append(stack.enter_context(edge))
            return edge

        yield make
        for edge in started:
            assert edge.own_faults() == []
            assert edge.wrong_blobs() == []


def copy_tree(url: str, s3: S3Server, paths: list[str], prefix: str, bucket: str = BUCKET) -> None:
    """Upload what a simulated host has at `paths`."""
    for path in paths:
        s3.put(bucket, prefix + path, reference(url + path))


def put_archive(s3: S3Server, bucket: str = BUCKET) -> Archive:
    """Upload an archive that nobody has asked for before, with its `.sha256`."""
    archive = fresh_archive(ARCHIVE_BYTES)
    name = archive.path.rpartition("/")[2]
    s3.put(bucket, f"releases{archive.path}.sha256", f"{archive.sha256}  {name}\n".encode())
    s3.put(bucket, f"releases{archive.path}", archive.content.read(0, archive.length))
    return archive


def s3_releases(
    s3: S3Server, tmp_path: Path, *, endpoint: str = "", bucket: str = BUCKET
) -> dict[str, str]:
    secret = tmp_path / "secret"
    return {
        "upstream.releases.urls": f"s3://{bucket}/releases",
        **s3.settings("releases", endpoint=endpoint, secret=secret),
    }


def upstream_traffic(edge: Edge) -> dict[str, int]:
    total = edge.status()["traffic"]["total"]
    return {name: total[name] for name in ("upstream_requests", "fetched_bytes")}


def test_everything_a_client_needs_comes_out_of_buckets_once(
    s3: S3Server, upstream: SimulatorProcess, new_edge: EdgeMaker, tmp_path: Path
) -> None:
    buckets = {}
    for name in ("releases", "crates", "index"):
        buckets[f"upstream.{name}.urls"] = f"s3://{BUCKET}/{name}/"
        buckets |= s3.settings(name, secret=tmp_path / "secret")
    edge = new_edge(**buckets)
    archive = put_archive(s3)
    bodies = 0
    for url, paths, prefix in (
        (upstream.releases_url, [f"{CHANNEL}.sha256", CHANNEL, "/rustup/release-stable.toml"], ""),
        (upstream.index_url, INDEX[:2], "/index"),
        (upstream.crates_url, [CRATE, PLUS], ""),
    ):
        for path in paths:
            reply = fetch(edge.port, prefix + path)
            right = reference(url + path)
            assert (reply.status, reply.sha256) == (200, sha256_of(right)), path
            bodies += len(right)
    assert fetch(edge.port, archive.path).sha256 == archive.sha256
    cold = upstream_traffic(edge)
    assert cold["fetched_bytes"] >= bodies + archive.length, "bytes from S3 are counted"
    assert cold["upstream_requests"] >= 8
    for path in (archive.path, CRATE, PLUS):
        assert fetch(edge.port, path).cache_status.startswith("rust-mirror; hit"), path
    assert upstream_traffic(edge) == cold, "warm objects ask no bucket"
    upstream_asked = requests_total(upstream)
    assert fetch(edge.port, "/dist/2026-05-17/channel-rust-nightly.toml.sha256").status == 404
    assert fetch(edge.port, "/index/q/q/qqqq").status == 404
    assert requests_total(upstream) == upstream_asked, "the CDN is not configured, so not asked"
    assert edge.stop() == 0
    assert "not-checked" not in "\n".join(edge.raw_lines), "no event shows the secret"


def test_a_bucket_takes_over_from_a_cdn_that_dies_and_gives_back(
    s3: S3Server, upstream: SimulatorProcess, new_edge: EdgeMaker, tmp_path: Path
) -> None:
    settings = s3_releases(s3, tmp_path)
    settings["upstream.releases.urls"] = f"{upstream.releases_url},s3://{BUCKET}/releases"
    edge = new_edge(**settings)
    first, second, third = put_archive(s3), put_archive(s3), fresh_archive(ARCHIVE_BYTES)
    assert fetch(edge.port, first.path).sha256 == first.sha256
    assert count_of(upstream, first.key)["requests"] == 1, "in order of preference"
    upstream.control.stop_serving()
    assert fetch(edge.port, second.path).sha256 == second.sha256
    failed = edge.named("upstream-failed")
    assert [item["url"].startswith(upstream.releases_url) for item in failed] == [True]
    urls = edge.status()["upstreams"][0]["urls"]
    assert [(url["url"], url["is_failing"]) for url in urls] == [
        (upstream.releases_url, True),
        (f"s3://{BUCKET}/releases", False),
    ]
    upstream.control.resume_serving()
    s3.stop()
    try:
        assert fetch(edge.port, third.path).sha256 == third.sha256
    finally:
        s3.start()
    assert count_of(upstream, third.key)["requests"] == 1
    assert edge.named("upstream-failed")[-1]["url"].startswith("s3://")


@pytest.mark.full
def test_a_cdn_takes_over_from_a_bucket_that_dies_in_the_middle_of_a_body(
    s3: S3Server,
    proxy: ProxyThread,
    upstream: SimulatorProcess,
    new_edge: EdgeMaker,
    tmp_path: Path,
) -> None:
    endpoint = f"http://127.0.0.1:{proxy.port}"
    settings = s3_releases(s3, tmp_path, endpoint=endpoint)
    settings["upstream.releases.urls"] = f"s3://{BUCKET}/releases,{upstream.releases_url}"
    edge = new_edge(**settings)
    archive = put_archive(s3)
    marker = archive.content.read(CUT_AT - 20, CUT_AT)
    proxy.use(TcpFaults(cut_at=marker))
    assert fetch(edge.port, archive.path).sha256 == archive.sha256
    assert proxy.counts.cut == 1
    # The CDN has an entity tag of its own for the same bytes, so If-Range brings the whole; what
    # clients have already is skipped.
    asked = count_of(upstream, archive.key)
    assert (asked["requests"], asked["bytes"]) == (1, archive.length)
    assert len(edge.named("fill-resumes")) == 1


@pytest.mark.parametrize("bucket", [pytest.param(BUCKET, marks=pytest.mark.full), VERSIONED])
def test_a_cut_body_is_continued(
    bucket: str, s3: S3Server, proxy: ProxyThread, new_edge: EdgeMaker, tmp_path: Path
) -> None:
    """By a range; from a versioned bucket this server gives the whole, which is used from there."""
    endpoint = f"http://127.0.0.1:{proxy.port}"
    edge = new_edge(**s3_releases(s3, tmp_path, endpoint=endpoint, bucket=bucket))
    archive = put_archive(s3, bucket)
    proxy.use(TcpFaults(cut_at=archive.content.read(CUT_AT - 20, CUT_AT)))
    reply = fetch(edge.port, archive.path)
    assert (reply.status, reply.sha256) == (200, archive.sha256)
    assert proxy.counts.cut == 1
    assert len(edge.named("fill-resumes")) == 1
    fetched = upstream_traffic(edge)["fetched_bytes"]
    again = fetched - archive.length - archive.proof_bytes
    if bucket == BUCKET:
        # What S3 says about a file that is absent counts as far as it came.
        assert 0 <= again < ERROR_PAGE_BYTES, "nothing came twice"
    else:
        assert again >= CUT_AT - (64 << 10), "the whole came in answer to a range"


def test_bytes_that_change_on_the_way_are_not_served(
    s3: S3Server, proxy: ProxyThread, new_edge: EdgeMaker, tmp_path: Path
) -> None:
    edge = new_edge(**s3_releases(s3, tmp_path, endpoint=f"http://127.0.0.1:{proxy.port}"))
    archive = put_archive(s3)
    proxy.use(TcpFaults(corrupt_after=archive.content.read(CUT_AT - 20, CUT_AT)))
    reply = fetch(edge.port, archive.path)
    assert not (reply.status == 200 and reply.is_complete)
    assert proxy.counts.corrupted > 0
    assert edge.event_of("digest-mismatch", archive.key)["expected"] == archive.sha256


@pytest.mark.full
def test_a_bucket_with_another_object_is_passed_over_before_a_byte_flows(
    s3: S3Server, upstream: SimulatorProcess, new_edge: EdgeMaker, tmp_path: Path
) -> None:
    settings = s3_releases(s3, tmp_path)
    settings["upstream.releases.urls"] = f"s3://{BUCKET}/releases,{upstream.releases_url}"
    edge = new_edge(**settings)
    archive = put_archive(s3)
    s3.put(BUCKET, f"releases{archive.path}", b"something else" * 1000)
    assert fetch(edge.port, archive.path).sha256 == archive.sha256
    (event,) = edge.named("upstream-checksum-differs")
    assert event["url"] == f"s3://{BUCKET}/releases{archive.path}"
    assert (event["expected"], event["stated"]) == (
        archive.sha256,
        sha256_of(b"something else" * 1000),
    )
    assert count_of(upstream, archive.key)["requests"] == 1
    assert edge.named("digest-mismatch") == [], "nothing had to be hashed for it"


def test_trouble_with_a_bucket_never_becomes_a_404(
    s3: S3Server, new_edge: EdgeMaker, tmp_path: Path
) -> None:
    archive = put_archive(s3)
    denied = s3_releases(s3, tmp_path) | {"upstream.releases.s3.access_key_id": STRANGER}
    absent = s3_releases(s3, tmp_path, bucket="no-such-bucket")
    for settings, reason in ((denied, "access denied"), (absent, "there is no bucket")):
        edge = new_edge(**settings)
        for path in (archive.path, f"{CHANNEL}.sha256", "/rustup/release-stable.toml"):
            assert fetch(edge.port, path).status in (502, 503), path
        assert reason in edge.named("upstream-failed")[0]["reason"]


@pytest.mark.full
def test_a_role_opens_what_the_keys_alone_do_not(
    s3: S3Server, new_edge: EdgeMaker, tmp_path: Path
) -> None:
    """The keys are a stranger's, whom the bucket denies (see above); the role is its owner's."""
    archive = put_archive(s3)
    role = {
        "upstream.releases.s3.access_key_id": STRANGER,
        "upstream.releases.s3.role_arn": f"arn:aws:iam::{OWNER}:role/reader",
        "upstream.releases.s3.sts_endpoint": s3.url,
    }
    edge = new_edge(**(s3_releases(s3, tmp_path) | role))
    assert fetch(edge.port, archive.path).sha256 == archive.sha256


def test_a_crate_that_a_bucket_denies_is_absent(
    s3: S3Server, upstream: SimulatorProcess, new_edge: EdgeMaker, tmp_path: Path
) -> None:
    """As at crates.io: whoever may not list a bucket is denied what is not in it."""
    settings = s3.settings("crates", secret=tmp_path / "secret")
    settings |= {
        "upstream.crates.urls": f"s3://{BUCKET}/crates",
        "upstream.crates.s3.access_key_id": STRANGER,
    }
    edge = new_edge(**settings)
    assert fetch(edge.port, CRATE).status == 404
    assert count_of(upstream, "index:/1/q")["requests"] == 1

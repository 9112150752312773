"""How upstream is asked: under this product's name, with nothing of the client, never in a loop."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge
from tests.scenario.exchange import digests, fetch
from tests.scenario.upstream_objects import count_of, fresh_archive, log_of, requests_total

SETTINGS = {"upstream.contact": "ops@mirror.example"}
CARGO = {"User-Agent": "cargo/1.94.0", "Accept-Encoding": "gzip"}


def test_requests_upstream_name_this_product_and_never_the_client(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    seen = len(upstream.control.log())
    secrets = {**CARGO, "Cookie": "a=b", "Authorization": "Bearer x", "X-Forwarded-For": "9.9.9.9"}
    for path in ("/index/gl/ea/glean", "/crates/rgb/rgb-1.0.0.crate", fresh_archive(5000).path):
        assert fetch(mirror.port, path, secrets).status in (200, 404)
    records = upstream.control.log()[seen:]
    assert len(records) >= 4
    for record in records:
        fields: Mapping[str, str] = record["fields"]
        assert re.fullmatch(
            r"rust-edge-mirror/\S+ \(\+?ops@mirror\.example\)", fields["user-agent"]
        )
        assert re.fullmatch(r"rust-mirror-[0-9a-f]{16}", fields["cdn-loop"])
        assert fields.keys() <= {
            "host", "user-agent", "accept", "accept-encoding", "cdn-loop", "connection",
            "if-none-match", "if-modified-since",
        }  # fmt: skip


def loop_token(mirror: Edge, upstream: SimulatorProcess) -> str:
    """Return the name that this mirror puts into CDN-Loop, as upstream sees it."""
    path = fresh_archive(5000).path
    fetch(mirror.port, path)
    upstream.control.reset_counts()
    return str(log_of(upstream, path)[0]["fields"]["cdn-loop"])


@pytest.mark.parametrize("form", ["{}", "other, {}; v=1", 'a;b="c, d", {}'])
def test_request_that_came_through_this_mirror_before_is_508(
    form: str, mirror: Edge, upstream: SimulatorProcess
) -> None:
    value = form.format(loop_token(mirror, upstream))
    path = fresh_archive(5000).path
    assert fetch(mirror.port, path, {"CDN-Loop": value}).status == 508
    assert requests_total(upstream) == 0


def test_request_through_another_cdn_is_served(mirror: Edge, upstream: SimulatorProcess) -> None:
    archive = fresh_archive(5000)
    reply = fetch(mirror.port, archive.path, {"CDN-Loop": "fastly, rust-mirror-of-others"})
    assert digests([reply]) == {(200, True, archive.sha256)}
    for key in (archive.key, f"{archive.key}.sha256"):
        assert count_of(upstream, key)["requests"] == 1


def test_mirror_may_be_the_upstream_of_another_mirror(
    mirror: Edge, tmp_path: Path, upstream: SimulatorProcess
) -> None:
    settings = {
        "upstream.releases.urls": mirror.url,
        "upstream.crates.urls": mirror.url,
        "upstream.index.urls": f"{mirror.url}/index",
    }
    archive = fresh_archive(300_000)
    with Edge(tmp_path, upstream, settings=settings) as outer:
        assert digests([fetch(outer.port, archive.path)]) == {(200, True, archive.sha256)}
        assert fetch(outer.port, "/crates/q/q-1.0.0.crate").status == 200
    assert count_of(upstream, archive.key)["requests"] == 1

"""How old an answer may be: stale ones while upstream is asked or away, clients' wishes, and what
Cache-Status, Proxy-Status and Age say of it."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import Reply, at_once, digests, fetch
from tests.scenario.upstream_objects import count_of, fresh_archive, requests_total, sha256_of
from tests.structured_fields import Parameters, Token, parse_single

FLOOR_S = 0.5
SETTINGS = {
    "freshness.index": "1s",
    "freshness.channel": "300ms",
    "freshness.rustup": "1h",  # only a client's wish has it asked about
    "freshness.stale_while_revalidate": "60s",
    "freshness.client_floor": "500ms",
    "upstream.attempts": "1",
    "upstream.read_timeout": "4s",
}


class PlainServer(socketserver.BaseRequestHandler):
    """Answers a TLS greeting in plain HTTP, as a server on the wrong port does."""

    def handle(self) -> None:
        self.request.recv(65536)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.fixture(scope="module")
def mirror(
    tmp_path_factory: pytest.TempPathFactory, module_simulator: SimulatorProcess
) -> Iterator[Edge]:
    """As everywhere, but crates are asked for by TLS of a server that does not speak it."""
    root = tmp_path_factory.mktemp("mirror")
    with socketserver.TCPServer(("127.0.0.1", 0), PlainServer) as plain:
        threading.Thread(target=plain.serve_forever).start()
        try:
            host, port = plain.server_address[:2]
            settings = {**SETTINGS, "upstream.crates.urls": f"https://{host!s}:{port}"}
            with Edge(root, module_simulator, settings=settings) as running:
                yield running
        finally:
            plain.shutdown()
    assert running.own_faults() == []


def cache_status_of(reply: Reply) -> Parameters:
    return parse_single(reply.cache_status)


def fetch_until_stale(mirror: Edge, path: str) -> Reply:
    """Ask until the answer is stale: that first one has the background request made."""
    replies: list[Reply] = []

    def is_stale() -> bool:
        replies.append(fetch(mirror.port, path))
        assert replies[-1].status == 200
        return cache_status_of(replies[-1]).get("detail") == "stale-while-revalidate"

    wait_until(is_stale, f"{path} is stale")
    return replies[-1]


@pytest.mark.full
def test_one_background_request_for_all_and_nobody_waits(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    path, key = "/index/ha/rv/harvest", "index:/ha/rv/harvest"
    warm = fetch(mirror.port, path)
    assert warm.status == 200
    upstream.control.reset_counts()
    upstream.control.faults({"kind": "delay", "ms": 3300, "path": "/ha/rv/harvest", "name": "slow"})
    first = fetch_until_stale(mirror, path)
    assert cache_status_of(first)["hit"] is True

    def is_stale_to_every_worker() -> bool:
        """A worker reads its clock four times a second; each connection is one's or the other's."""
        asked = (cache_status_of(fetch(mirror.port, path)) for _ in range(20))
        return all(said.get("detail") == "stale-while-revalidate" for said in asked)

    wait_until(is_stale_to_every_worker, "both workers have read their clocks")
    replies = at_once(30, lambda _: fetch(mirror.port, path))
    words = [cache_status_of(reply) for reply in replies]
    # All of these came back before upstream said a word: its answer ends the staleness.
    assert {said.get("detail") for said in words} == {"stale-while-revalidate"}
    assert all(isinstance(said["ttl"], int) and said["ttl"] < 0 for said in words)
    assert digests(replies) == digests([warm])

    def is_fresh() -> bool:
        said = cache_status_of(fetch(mirror.port, path))
        return isinstance(said["ttl"], int) and said["ttl"] >= 0

    wait_until(is_fresh, "the background request ended")
    assert upstream.control.faults_fired() == {"slow": 1}
    assert count_of(upstream, key) | {"bytes": 0} == {
        "requests": 1, "bytes": 0, "not_modified": 1, "ranged": 0, "errors": 0,
    }  # fmt: skip


def test_what_is_served_stale_of_a_channel_is_one_generation(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    path = "/dist/channel-rust-beta.toml"
    before = fetch(mirror.port, f"{path}.sha256")
    upstream.control.advance("beta")
    stale = fetch_until_stale(mirror, f"{path}.sha256")
    assert stale.sha256 == before.sha256
    manifest = fetch(mirror.port, path)  # its sequence goes on, whatever has been switched to
    assert manifest.sha256 == stale.content.split()[0].decode()

    def is_next() -> bool:
        return fetch(mirror.port, f"{path}.sha256").sha256 != before.sha256

    wait_until(is_next, "the background request brought the next generation")


def test_a_flood_of_no_cache_costs_one_request_per_floor(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    path, key = "/rustup/release-stable.toml", "releases:/rustup/release-stable.toml"
    assert fetch(mirror.port, path).status == 200
    upstream.control.reset_counts()
    fields = ({"Cache-Control": "no-cache"}, {"Pragma": "no-cache"}, {"Cache-Control": "max-age=0"})

    def ask(number: int) -> list[Reply]:
        return [fetch(mirror.port, path, fields[(number + turn) % 3]) for turn in range(15)]

    begun_at = time.monotonic()
    replies: list[Reply] = []
    while time.monotonic() - begun_at < 2 * FLOOR_S:
        replies += [reply for some in at_once(8, ask) for reply in some]
    asked = count_of(upstream, key)["requests"]
    floors = (time.monotonic() - begun_at) / FLOOR_S
    assert {reply.status for reply in replies} == {200}
    assert len(replies) >= 120
    assert 1 <= asked <= floors + 1
    forwarded = [said for said in map(cache_status_of, replies) if "fwd" in said]
    assert {(said["fwd"], said["fwd-status"]) for said in forwarded} == {(Token("request"), 304)}


def test_only_if_cached_asks_nobody(mirror: Edge, upstream: SimulatorProcess) -> None:
    archive = fresh_archive(5000)
    wish = {"Cache-Control": "only-if-cached"}
    cold = fetch(mirror.port, archive.path, wish)
    assert (cold.status, cold.cache_status) == (504, "")
    assert requests_total(upstream) == 0
    assert fetch(mirror.port, archive.path).sha256 == archive.sha256

    def is_given() -> bool:  # the body is answered before it is stored
        warm = fetch(mirror.port, archive.path, wish)
        return (warm.status, warm.sha256) == (200, archive.sha256)

    wait_until(is_given, "the stored copy is given")


def test_what_never_changes_is_not_revalidated_at_a_clients_wish(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(5000)
    assert fetch(mirror.port, archive.path).sha256 == archive.sha256
    upstream.control.reset_counts()
    time_of_floor = time.monotonic() + FLOOR_S
    wait_until(lambda: time.monotonic() > time_of_floor, "the floor is passed")
    reply = fetch(mirror.port, archive.path, {"Cache-Control": "no-cache, max-age=0"})
    assert cache_status_of(reply) == {"hit": True}
    assert requests_total(upstream) == 0


# Why an answer cannot be given, in the words of RFC 9209.

RELEASE = "/rustup/archive/1.{}.0/release.toml"
FAULTS: dict[str, tuple[dict[str, object], Parameters]] = {
    "reset": ({"kind": "drop", "how": "rst"}, {"error": Token("connection_terminated")}),
    "closed": ({"kind": "drop"}, {"error": Token("connection_terminated")}),
    "silence": (
        {"kind": "delay", "ms": 30_000},
        {"error": Token("connection_read_timeout")},
    ),
    "500": (
        {"kind": "status", "status": 500},
        {"error": Token("destination_unavailable"), "received-status": 500},
    ),
    "429": (
        {"kind": "status", "status": 429},
        {"error": Token("destination_unavailable"), "received-status": 429},
    ),
    "cut": (
        {"kind": "cut", "at": 3},
        {"error": Token("http_response_incomplete"), "received-status": 200},
    ),
    "wrong": ({"kind": "html"}, {}),
}
PATHS = {
    name: f"/index/{path}"
    for name, path in zip(
        FAULTS,
        ("gl/ea/glean", "pl/us/plusmeta", "fa/di/fading", "am/be/amber", "bi/rc/birch-core",
         "3/r/rgb", "2/zz"),
        strict=True,
    )
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    # Waiting for silence costs its whole time-out.
    [pytest.param(name, marks=[pytest.mark.full] * (name == "silence")) for name in FAULTS],
)
def test_proxy_status_says_what_went_wrong(
    name: str, mirror: Edge, upstream: SimulatorProcess
) -> None:
    fault, expected = FAULTS[name]
    path = PATHS[name].removeprefix("/index")
    upstream.control.faults({**fault, "path": path, "site": "index", "name": name})
    reply = fetch(mirror.port, PATHS[name])
    said = parse_single(reply.fields["proxy-status"])
    assert upstream.control.faults_fired()[name] > 0
    assert said.pop("details") in ("unavailable", "wrong-content")
    assert (reply.status in (502, 503), said) == (True, expected)
    assert "127.0.0.1" not in reply.fields["proxy-status"]
    assert "cache-status" not in reply.fields


def test_proxy_status_of_refused_connections(mirror: Edge, upstream: SimulatorProcess) -> None:
    upstream.control.stop_serving()
    reply = fetch(mirror.port, "/rustup/archive/1.27.1/x86_64-unknown-linux-gnu/rustup-init.sha256")
    said = parse_single(reply.fields["proxy-status"])
    assert (reply.status, said["error"]) == (503, Token("connection_refused"))


def test_proxy_status_of_a_server_that_speaks_no_tls(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    reply = fetch(mirror.port, "/crates/q/q-1.0.0.crate")
    said = parse_single(reply.fields["proxy-status"])
    assert (reply.status, said["error"]) == (503, Token("tls_protocol_error"))


def test_upstream_away_is_told_with_the_copy_that_stands_in(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    path = "/index/qu/ar/quartz-core"
    right = fetch(mirror.port, path)
    upstream.control.faults({"kind": "status", "status": 503, "path": "/qu/ar/*", "name": "away"})
    replies: list[Reply] = []

    def is_asked() -> bool:
        replies.append(fetch(mirror.port, path, {"Cache-Control": "no-cache"}))
        return "fwd" in cache_status_of(replies[-1])

    wait_until(is_asked, "the floor is passed")
    said = cache_status_of(replies[-1])
    assert upstream.control.faults_fired()["away"] == 1
    assert (replies[-1].status, replies[-1].sha256) == (200, right.sha256)
    assert said["fwd"] in (Token("request"), Token("stale"))
    assert said["fwd-status"] == 503
    assert said["detail"] == "stale-if-error"

    def is_held() -> bool:
        # A worker reads its clock four times a second: to another one the floor may still apply.
        held = cache_status_of(fetch(mirror.port, path, {"Cache-Control": "no-cache"}))
        assert held["hit"] is True
        return held.get("detail") == "stale-if-error"

    wait_until(is_held, "both workers are past the floor")
    assert upstream.control.faults_fired()["away"] == 1  # nobody is asked again


def test_a_remembered_absence_has_an_age(mirror: Edge, upstream: SimulatorProcess) -> None:
    path = "/index/no/ne/none-such"
    first, second = fetch(mirror.port, path), fetch(mirror.port, path)
    assert (first.status, second.status) == (404, 404)
    assert cache_status_of(first)["stored"] is True
    assert cache_status_of(second)["hit"] is True
    assert 0 <= int(second.fields["age"]) <= 30
    assert second.sha256 == sha256_of(b"No such object.\n")

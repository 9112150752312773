from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mirror.errors import UpstreamError, VerificationError
from mirror.simulator.built_in_client import BuiltInClient
from mirror.simulator.faults import parse_rules
from mirror.simulator.simulator import Simulator
from mirror.simulator.upstream import SimulatedUpstream, SimulatorOptions


@pytest.fixture(scope="module")
def upstream() -> SimulatedUpstream:
    return SimulatedUpstream(SimulatorOptions(dl="local"))


@pytest.fixture
async def simulator(upstream: SimulatedUpstream) -> AsyncIterator[Simulator]:
    async with Simulator(upstream) as running:
        yield running


async def test_install_asks_digest_then_manifest_then_archives_each_on_its_connection(
    simulator: Simulator,
) -> None:
    client = BuiltInClient()
    archives = await client.install_toolchain(simulator.releases_url, profile="minimal")
    paths = [record["path"] for record in simulator.tally.log()]
    assert paths[:2] == ["/dist/channel-rust-stable.toml.sha256", "/dist/channel-rust-stable.toml"]
    assert sorted(map(str, paths[2:])) == sorted(archives)
    assert len(archives) == 3
    assert simulator.tally.connections["releases"] == 5
    assert (client.counts.requests, client.counts.bytes) == (5, simulator.tally.total.bytes)


async def test_dated_nightly_is_installed_without_what_it_lacks(simulator: Simulator) -> None:
    archives = await BuiltInClient().install_toolchain(simulator.releases_url, "nightly-2026-05-18")
    assert len(archives) == 5


async def test_fetch_walks_the_whole_tree(simulator: Simulator) -> None:
    crates = await BuiltInClient().fetch_crates(simulator.index_url + "/", ["harvest"])
    names = {name.rpartition("-1.0.0")[0] for name in crates}
    assert names == set(simulator.upstream.registry.closure("harvest"))
    assert "fading-1.0.0" in crates
    assert simulator.tally.classes["crate"].requests == len(crates)
    assert simulator.tally.classes["config"].requests == 1


async def test_wrong_byte_of_an_archive_is_refused(simulator: Simulator) -> None:
    simulator.faults.add(parse_rules([{"kind": "corrupt", "path": "/dist/*/rustc-*", "at": 9}]))
    with pytest.raises(VerificationError):
        await BuiltInClient().install_toolchain(simulator.releases_url)


async def test_skewed_digest_of_the_manifest_is_refused(simulator: Simulator) -> None:
    simulator.faults.add(parse_rules([{"kind": "former", "path": "*.toml.sha256"}]))
    with pytest.raises(VerificationError):
        await BuiltInClient().install_toolchain(simulator.releases_url)


async def test_absent_crate_and_absent_server_are_upstream_errors(simulator: Simulator) -> None:
    with pytest.raises(UpstreamError):
        await BuiltInClient().fetch_crates(simulator.index_url, ["no-such-crate"])
    await simulator.listeners.stop()
    with pytest.raises(UpstreamError):
        await BuiltInClient().fetch_crates(simulator.index_url, ["harvest"])

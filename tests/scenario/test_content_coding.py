"""Index files and manifests as gzip variants, on a running mirror and over its accidents."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mirror.simulator.process import SimulatorProcess
from mirror.simulator.real_clients import ClientHome, find_real_clients, write_workspace
from mirror.store.entry import Stored
from mirror.store.reader import StoreReader
from tests.scenario.edge import EVENT_DEADLINE_S, Edge, wait_until
from tests.scenario.exchange import Reply, fetch
from tests.scenario.upstream_objects import reference

# One worker: another one would look for a variant that it missed within a second, not at once.
SETTINGS = {"freshness.index": "1h", "freshness.channel": "1h", "serve.workers": "1"}
GZIP = {"Accept-Encoding": "deflate, gzip"}  # as cargo says it
BIG_INDEX = "/index/ch/ro/chronicle"
CHANNEL = "/dist/channel-rust-stable.toml"


@pytest.fixture
def edge(tmp_path: Path, upstream: SimulatorProcess) -> Iterator[Edge]:
    with Edge(tmp_path, upstream, settings=SETTINGS) as running:
        yield running
    assert running.own_faults() == []


def original(upstream: SimulatorProcess, target: str) -> bytes:
    if target.startswith("/index/"):
        return reference(f"{upstream.index_url}/{target.removeprefix('/index/')}")
    return reference(f"{upstream.releases_url}{target}")


def told_right(reply: Reply, content: bytes) -> bool:
    """Whether the reply is the variant; either form must say the truth about itself."""
    is_coded = "content-encoding" in reply.fields
    digest = hashlib.sha256(content).hexdigest()
    assert (reply.status, reply.is_complete) == (200, True), reply
    assert reply.fields["vary"] == "Accept-Encoding"
    assert (gzip.decompress(reply.content) if is_coded else reply.content) == content
    assert reply.fields["etag"] == (f'"{digest}-gzip"' if is_coded else f'"{digest}"')
    sent = base64.b64encode(hashlib.sha256(reply.content).digest()).decode()
    assert reply.fields["repr-digest"] == f"sha-256=:{sent}:"
    return is_coded


def coded(edge: Edge, upstream: SimulatorProcess, target: str) -> Reply:
    """Ask until the variant comes; every answer on the way is right."""
    content = original(upstream, target)
    replies: list[Reply] = []

    def is_coded() -> bool:
        replies.append(fetch(edge.port, target, GZIP))
        return told_right(replies[-1], content)

    wait_until(is_coded, f"{target} has a variant")
    return replies[-1]


def variant_file(edge: Edge, reply: Reply) -> Path:
    return edge.blobs()[reply.sha256]


@pytest.mark.parametrize("target", [BIG_INDEX, CHANNEL])
def test_variant_appears_and_is_told_right(
    mirror: Edge, upstream: SimulatorProcess, target: str
) -> None:
    edge, content = mirror, original(upstream, target)
    assert not told_right(fetch(edge.port, target), content)
    used_bytes = edge.status()["store"]["used_bytes"]
    assert not told_right(fetch(edge.port, target, GZIP), content)  # nobody waits for it
    whole = coded(edge, upstream, target)
    assert whole.length < 0.9 * len(content)
    assert edge.status()["store"]["used_bytes"] > used_bytes
    assert not told_right(fetch(edge.port, target), content)
    assert told_right(fetch(edge.port, target, GZIP), content)
    part = fetch(edge.port, target, {**GZIP, "Range": "bytes=5-99"})
    assert (part.status, part.content) == (206, whole.content[5:100])
    assert part.fields["content-range"] == f"bytes 5-99/{whole.length}"
    assert part.fields["content-encoding"] == "gzip"
    for tag in (whole.fields["etag"], whole.fields["etag"].replace("-gzip", "")):
        for wish in ({}, GZIP):
            reply = fetch(edge.port, target, {**wish, "If-None-Match": tag})
            assert (reply.status, reply.fields["vary"]) == (304, "Accept-Encoding")


def test_archives_and_crates_are_never_coded(mirror: Edge) -> None:
    for target in (
        "/crates/heavy/heavy-1.0.0.crate",
        "/dist/2026-03-05/cargo-1.94.0-x86_64-unknown-linux-gnu.tar.gz",
        f"{CHANNEL}.sha256",
        f"{CHANNEL}.asc",
    ):
        for _ in range(3):
            reply = fetch(mirror.port, target, GZIP)
            assert reply.status == 200
            assert not {"content-encoding", "vary"} & set(reply.fields)


@pytest.mark.full
def test_variant_survives_a_restart_and_a_kill(edge: Edge, upstream: SimulatorProcess) -> None:
    first = coded(edge, upstream, BIG_INDEX)
    edge.stop()
    edge.start()
    assert fetch(edge.port, BIG_INDEX, GZIP).sha256 == first.sha256
    edge.kill_all()
    edge.start()
    assert fetch(edge.port, BIG_INDEX, GZIP).sha256 == first.sha256


@pytest.mark.full
def test_lost_index_and_lost_variant_are_made_again_as_the_same_bytes(
    edge: Edge, upstream: SimulatorProcess
) -> None:
    first = coded(edge, upstream, BIG_INDEX)
    edge.stop()
    for path in edge.store.glob("index.db*"):
        path.unlink()
    edge.start()
    assert coded(edge, upstream, BIG_INDEX).sha256 == first.sha256
    edge.stop()
    variant_file(edge, first).unlink()
    edge.start()
    assert coded(edge, upstream, BIG_INDEX).sha256 == first.sha256
    assert edge.wrong_blobs() == []


@pytest.mark.full
def test_flip_in_the_variants_file_is_found_told_and_healed(
    edge: Edge, upstream: SimulatorProcess
) -> None:
    first = coded(edge, upstream, BIG_INDEX)
    path = variant_file(edge, first)
    flipped = bytearray(path.read_bytes())
    flipped[100] ^= 1
    path.chmod(0o600)
    path.write_bytes(flipped)
    edge.stop()  # a worker may hold the right bytes in memory
    edge.start()
    content = original(upstream, BIG_INDEX)
    assert not told_right(fetch(edge.port, BIG_INDEX, GZIP), content)
    assert coded(edge, upstream, BIG_INDEX).sha256 == first.sha256
    [condemned] = edge.named("blob-condemned")
    assert condemned["keys"] == ["index:/ch/ro/chronicle"]
    assert edge.wrong_blobs() == []


@pytest.mark.full
def test_verify_reads_variants_too(mirror: Edge, upstream: SimulatorProcess) -> None:
    edge = mirror
    first = coded(edge, upstream, "/dist/channel-rust-nightly.toml")
    report = verify(edge, upstream)
    assert report["files"] == len(edge.blobs())
    assert (report["wrong"], report["strays"]) == ([], 0)
    path = variant_file(edge, first)
    flipped = bytearray(path.read_bytes())
    flipped[100] ^= 1
    os.chmod(path, 0o600)
    path.write_bytes(flipped)
    [finding] = verify(edge, upstream)["wrong"]
    assert finding["path"] == str(path)
    assert finding["key"].endswith("/channel-rust-nightly.toml")  # or the dated copy of it
    path.unlink()  # for whoever shares this mirror


def verify(edge: Edge, upstream: SimulatorProcess) -> dict[str, Any]:
    """What `rust-mirror verify --all --json` says of the running mirror's store."""
    command = [sys.executable, "-m", "mirror", "verify", "--all", "--json"]
    for key, path in (("store.path", edge.store), ("state.path", edge.state)):
        command += ["--set", f"{key}={path}"]
    command += ["--set", f"trust.release_key_fingerprints={upstream.fingerprint}"]
    printed = subprocess.run(command, capture_output=True, text=True, check=False)
    document: dict[str, Any] = json.loads(printed.stdout)
    return document


@pytest.mark.full
def test_cargo_is_given_variants_and_takes_them(tmp_path: Path, upstream: SimulatorProcess) -> None:
    clients = find_real_clients()
    if clients is None:
        pytest.skip("rustup with an installed toolchain is absent: install it to run this scenario")
    with Edge(tmp_path / "edge", upstream, settings=SETTINGS) as edge:
        for name in ("first", "second"):
            home = ClientHome(
                tmp_path / name, clients, releases_url=edge.url, index_url=f"{edge.url}/index"
            )
            work = write_workspace(home.root / "work", {"chronicle": "0"})
            fetched = home.cargo("fetch", workspace=work)
            assert fetched.returncode == 0, fetched.stderr
            # The first was given the identity, and had the variant made by asking.
            wait_until(lambda: has_variant(edge), "cargo's wish is heard", EVENT_DEADLINE_S)
        assert told_right(fetch(edge.port, BIG_INDEX, GZIP), original(upstream, BIG_INDEX))


def has_variant(edge: Edge) -> bool:
    reader = StoreReader(str(edge.store))
    try:
        stored = reader.lookup("index:/ch/ro/chronicle")
        return stored is not None and isinstance(reader.variant(stored), Stored)
    finally:
        reader.close()

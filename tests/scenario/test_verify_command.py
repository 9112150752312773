"""`rust-mirror verify`: what lies on disk is judged by its bytes and by what vouches for it."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import pytest

from mirror.cli.main import run
from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge, wait_until
from tests.scenario.upstream_objects import DAY, fresh_archive

STABLE = "/dist/channel-rust-stable.toml"
ARCHIVE = f"/dist/{DAY}/rustc-1.94.0-x86_64-unknown-linux-gnu.tar.xz"
CRATE = "/crates/q/q-1.0.0.crate"
BIG = fresh_archive(300_000)
FILLED = (
    STABLE,
    f"{STABLE}.sha256",
    f"{STABLE}.asc",
    "/rust-key.gpg.ascii",
    "/manifests.txt",
    "/rustup/rustup-init.sh",
    "/index/1/q",
    CRATE,
    "/crates/harvest/harvest-1.0.0.crate",
    ARCHIVE,
    BIG.path,
    f"{BIG.path}.sha256",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`rust-mirror verify` for one mirror; `code` and `output` are those of one call."""

    edge: Edge
    options: tuple[str, ...]
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self.capsys.readouterr()
        code = run(["verify", *self.options, *words])
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err

    def json(self, *words: str) -> tuple[int, dict[str, Any]]:
        code, output, _ = self(*words, "--json")
        document: dict[str, Any] = json.loads(output)
        return code, document


def options_of(edge: Edge, simulator: SimulatorProcess) -> tuple[str, ...]:
    settings = {
        "store.path": edge.store,
        "state.path": edge.state,
        "upstream.releases.urls": simulator.releases_url,
        "upstream.crates.urls": simulator.crates_url,
        "upstream.index.urls": simulator.index_url,
        **trust(simulator),
    }
    return tuple(part for item in settings.items() for part in ("--set", "{}={}".format(*item)))


def trust(simulator: SimulatorProcess) -> dict[str, str]:
    return {
        "trust.channel_manifest": "signature",
        "trust.release_key_fingerprints": simulator.fingerprint,
    }


def filled_edge(root: Path, simulator: SimulatorProcess) -> Edge:
    edge = Edge(root, simulator, settings=trust(simulator)).start()
    names = set()
    for path in FILLED:
        status, _, content = edge.get(path)
        assert status == 200, (path, content)
        names.add(hashlib.sha256(content).hexdigest())
    wait_until(lambda: names <= edge.blobs().keys(), "everything is stored")
    return edge


@pytest.fixture(scope="module")
def at_rest(tmp_path_factory: pytest.TempPathFactory, module_simulator: SimulatorProcess) -> Edge:
    """A filled mirror that does not run; tests that damage it repair it."""
    edge = filled_edge(tmp_path_factory.mktemp("rest"), module_simulator)
    assert edge.stop() == 0
    return edge


@pytest.fixture
def verify(
    at_rest: Edge, upstream: SimulatorProcess, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(edge=at_rest, options=options_of(at_rest, upstream), capsys=capsys)


def blob_of(edge: Edge, content: bytes) -> Path:
    return edge.blobs()[hashlib.sha256(content).hexdigest()]


def upstream_content(simulator: SimulatorProcess, path: str) -> bytes:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        simulator.releases_url + path
    ) as response:
        content: bytes = response.read()
    return content


def flip(content: bytes) -> bytes:
    return content[:100_000] + bytes([content[100_000] ^ 1]) + content[100_001:]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "flipped-bit": flip,
    "truncated": lambda content: content[:-1],
    "extended": lambda content: content + b"\0",
    "zeroed": lambda content: bytes(len(content)),
    "emptied": lambda _: b"",
}


def test_everything_good_ends_with_0_and_counts_every_class(verify: Command) -> None:
    code, report = verify.json("--all")
    assert (code, report["is_good"], report["wrong"], report["strays"]) == (0, True, [], 0)
    sums = {name: (s["objects"], s["wrong"]) for name, s in report["classes"].items()}
    assert sums["crate"] == (2, 0)
    assert sums["index"] == (2, 0)
    assert sums["rustup"] == (1, 0)
    assert sums["release"][0] >= 9
    assert report["classes"]["crate"]["good"] == 2
    assert report["files"] == len(verify.edge.blobs())


def test_printed_table_names_the_classes_and_why_something_is_weak(verify: Command) -> None:
    code, output, _ = verify("--all")
    assert code == 0
    assert "everything is good" in output
    assert "nobody vouches for it" in output
    assert "crate" in output


def test_verifying_writes_nothing_into_a_store_that_nobody_runs(verify: Command) -> None:
    before = sorted(os.listdir(verify.edge.store))
    index = (verify.edge.store / "index.db").stat()
    assert verify("--all")[0] == 0
    assert sorted(os.listdir(verify.edge.store)) == before
    assert (verify.edge.store / "index.db").stat().st_mtime_ns == index.st_mtime_ns


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_file_with_its_time_restored_is_named_alone(
    verify: Command, damage: Callable[[bytes], bytes]
) -> None:
    file = verify.edge.blobs()[BIG.sha256]
    whole, times = file.read_bytes(), file.stat()
    file.write_bytes(damage(whole))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    try:
        code, report = verify.json("--all")
        one, explained = verify.json(BIG.path)
    finally:
        file.write_bytes(whole)
    assert code == 1
    assert [(f["key"], f["path"], f["expected"]) for f in report["wrong"]] == [
        (BIG.key, str(file), BIG.sha256)
    ]
    assert report["wrong"][0]["got"] == hashlib.sha256(damage(whole)).hexdigest()
    assert (one, explained["objects"][0]["grade"]) == (1, "wrong")


def test_damaged_voucher_condemns_itself_and_not_what_it_vouched_for(
    verify: Command, upstream: SimulatorProcess
) -> None:
    manifest = upstream_content(upstream, STABLE)
    file = blob_of(verify.edge, manifest)
    file.write_bytes(manifest.replace(b"rustc", b"rustd", 1))
    try:
        code, report = verify.json("--all")
        archive, explained = verify.json(ARCHIVE)
    finally:
        file.write_bytes(manifest)
    assert code == 1
    wrong = {finding["key"] for finding in report["wrong"]}
    assert f"releases:{STABLE}" in wrong
    assert all(key.endswith("channel-rust-stable.toml") for key in wrong)
    assert report["reasons"]["its voucher is damaged"] >= 1
    # One object's chain must hold from end to end.
    assert (archive, explained["objects"][0]["grade"]) == (1, "wrong")


def test_missing_file_is_wrong_and_the_mirror_will_fetch_it(verify: Command) -> None:
    file = verify.edge.blobs()[BIG.sha256]
    aside = file.with_suffix(".aside")
    file.rename(aside)
    try:
        code, report = verify.json("--all")
    finally:
        aside.rename(file)
    assert code == 1
    assert [(f["key"], f["got"]) for f in report["wrong"]] == [(BIG.key, "no file")]
    assert "fetches it anew" in report["wrong"][0]["advice"]


def test_file_without_an_entry_is_told_and_is_no_error(verify: Command) -> None:
    stray = verify.edge.store / "blobs" / "00" / "00" / ("0" * 64)
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"x")
    try:
        code, report = verify.json("--all")
    finally:
        stray.unlink()
    assert (code, report["stray_paths"]) == (0, [str(stray)])


def test_crate_is_vouched_for_by_its_index_line_and_nobody_signs_that(verify: Command) -> None:
    code, output, _ = verify("q", "1.0.0")
    assert code == 0
    assert "crates:/crates/q/q-1.0.0.crate" in output
    assert "index:/1/q, stored and re-read, states this digest as its cksum" in output
    assert "nobody signs the index" in output


def test_archive_is_vouched_for_by_its_signed_manifest_and_the_pinned_key(
    verify: Command, upstream: SimulatorProcess
) -> None:
    code, document = verify.json(ARCHIVE)
    assert code == 0
    found = document["objects"][0]
    texts = " | ".join(step["text"] for step in found["steps"])
    assert found["grade"] == "good"
    assert "channel-rust-stable.toml, stored and re-read, states this digest" in texts
    assert "verified again: sha512 of 2026-03-05 12:00:00 UTC, made by the key" in texts
    assert upstream.fingerprint in texts
    assert "pinned in [trust] release_key_fingerprints" in texts


@pytest.mark.parametrize("suffix", ["", ".sha256", ".asc"])
def test_each_file_of_a_generation_stands_on_the_signature(verify: Command, suffix: str) -> None:
    code, document = verify.json(STABLE + suffix)
    assert (code, document["objects"][0]["grade"]) == (0, "good")
    assert document["objects"][0]["proof"] == "signed-generation"


def test_key_that_is_not_the_pinned_one_breaks_the_chain(verify: Command) -> None:
    others = ("--set", "trust.release_key_fingerprints=" + "AB" * 20)
    code, document = verify.json(STABLE, *others)
    assert (code, document["objects"][0]["grade"]) == (1, "wrong")
    code, report = verify.json("--all", *others)
    assert (code, [found["key"] for found in report["wrong"]]) == (
        1,
        ["releases:/rust-key.gpg.ascii"],
    )


def test_archive_beside_its_digest_file_says_that_nobody_signs_it(verify: Command) -> None:
    code, document = verify.json(BIG.key)
    found = document["objects"][0]
    assert (code, found["grade"], found["steps"][-1]["why"]) == (
        0,
        "weak",
        "by digest only, not signed",
    )


def test_url_of_the_mirror_or_of_upstream_names_the_same_object(
    verify: Command, upstream: SimulatorProcess
) -> None:
    for url in (upstream.crates_url + CRATE, "http://mirror.test:8080" + CRATE):
        code, document = verify.json(url)
        assert (code, document["objects"][0]["key"]) == (0, f"crates:{CRATE}")


def test_object_that_is_not_stored_is_told_with_code_1(verify: Command) -> None:
    code, output, _ = verify("serde-1.0.0")
    assert code == 1
    assert output.startswith("serde-1.0.0: not stored here (looked for crates:/crates/serde/")


def test_mistaken_name_is_one_line_with_a_hint_and_code_2(verify: Command) -> None:
    code, _, errors = verify("no such name!")
    assert code == 2
    assert [line.partition(":")[0] for line in errors.splitlines()] == ["error", "hint"]


def test_same_upstream_is_said_to_be_the_same(verify: Command) -> None:
    code, document = verify.json("--against-upstream")
    assert (code, document["objects"]) == (0, [])
    assert document["counts"]["same"] >= len(FILLED)


def test_immutable_object_replaced_upstream_is_an_alarm_and_the_stored_one_stays(
    verify: Command, upstream: SimulatorProcess
) -> None:
    upstream.control.replace(CRATE, b"another crate", site="crates")
    upstream.control.replace("/rustup/rustup-init.sh", b"#!/bin/sh\n# newer\n")
    upstream.control.remove(BIG.path)
    try:
        code, document = verify.json("--against-upstream")
        code_of_newer, _, _ = verify("--against-upstream", "/rustup/rustup-init.sh")
    finally:
        upstream.control.restore_all()
    verdicts = {found["key"]: found["verdict"] for found in document["objects"]}
    assert code == 1
    assert verdicts[f"crates:{CRATE}"] == "alarm"
    assert verdicts["releases:/rustup/rustup-init.sh"] == "newer"
    assert verdicts[BIG.key] == "deleted"
    assert code_of_newer == 0
    assert verify("q", "1.0.0")[0] == 0


def test_upstream_away_is_no_agreement(verify: Command, upstream: SimulatorProcess) -> None:
    upstream.control.stop_serving()
    try:
        code, document = verify.json("--against-upstream", CRATE)
    finally:
        upstream.control.resume_serving()
    assert (code, document["counts"]["unreachable"]) == (1, 1)


def test_missing_store_is_one_line_and_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", "--all", "--set", f"store.path={tmp_path}"]) == 1
    assert capsys.readouterr().err.startswith(f"error: store {tmp_path}: there is no store here\n")


def test_running_mirror_is_verified_and_puts_right_what_was_found(
    tmp_path: Path, upstream: SimulatorProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    edge = filled_edge(tmp_path, upstream)
    verify = Command(edge=edge, options=options_of(edge, upstream), capsys=capsys)
    try:
        assert verify("--all")[0] == 0
        file = edge.blobs()[BIG.sha256]
        file.chmod(0o644)
        file.write_bytes(bytes(BIG.length))
        assert verify("--all")[0] == 1
        status, _, content = edge.get(BIG.path)
        assert (status, hashlib.sha256(content).hexdigest()) == (200, BIG.sha256)
        wait_until(lambda: bool(edge.named("quarantine-cleared")), "the quarantine is cleared")
        assert edge.named("blob-condemned")[0]["digest"] == BIG.sha256
        assert edge.named("quarantine-cleared")[0]["key"] == BIG.key
        quarantine = edge.status()["trust"]["quarantine"]
        assert (quarantine["count"], quarantine["newest"]) == (0, [])
        assert os.listdir(edge.store / "quarantine") == []
        assert verify("--all")[0] == 0
        assert edge.get(BIG.path)[1]["cache-status"].endswith("hit")
    finally:
        edge.stop()


@pytest.mark.full
def test_killed_mirrors_index_is_read_with_what_it_committed_last(
    tmp_path: Path, upstream: SimulatorProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    edge = filled_edge(tmp_path, upstream)
    edge.kill_all()
    assert (edge.store / "index.db-wal").exists()
    code, report = Command(edge=edge, options=options_of(edge, upstream), capsys=capsys).json(
        "--all"
    )
    assert (code, report["classes"]["crate"]["objects"]) == (0, 2)


@pytest.mark.full
def test_index_that_contradicts_a_stored_crate_is_told(
    tmp_path: Path, upstream: SimulatorProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    edge = filled_edge(tmp_path, upstream)
    edge.stop()
    verify = Command(edge=edge, options=options_of(edge, upstream), capsys=capsys)
    # Somebody with the disk in his hands lets the crate's name point to another stored crate.
    with apsw.Connection(str(edge.store / "index.db")) as index:
        index.execute(
            "UPDATE entry SET (digest, length) = (SELECT digest, length FROM entry WHERE key ="
            " 'crates:/crates/harvest/harvest-1.0.0.crate') WHERE key = ?",
            (f"crates:{CRATE}",),
        )
    index.close()
    code, report = verify.json("--all")
    assert code == 1
    assert [finding["key"] for finding in report["wrong"]] == [f"crates:{CRATE}"]
    assert "states cksum" in report["wrong"][0]["reason"]

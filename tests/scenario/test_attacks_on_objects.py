"""Attacks on archives, crates, index files and rustup's files: refused, told, and over by itself.

Every attack is played against a simulated upstream over HTTP and against a real S3 server.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from mirror.simulator.process import SimulatorProcess
from mirror.simulator.registry import index_path
from tests.scenario.attack_script import (
    Attack,
    Stage,
    Stages,
    Upstream,
    each_attack,
    flipped,
)
from tests.scenario.attacked import HttpUpstream
from tests.scenario.upstream_objects import DAY, fresh_archive, sha256_of

# Minutes of real processes in all; `make test` has the attacks on channels.
pytestmark = pytest.mark.full

SETTINGS = {
    "freshness.channel": "300ms",
    "freshness.stale_while_revalidate": "0s",
    "freshness.rustup": "300ms",
    "freshness.index": "300ms",
    "freshness.negative": "300ms",
    "freshness.crate_check": "300ms",
    "freshness.crate_wait": "600ms",
    "upstream.read_timeout": "1s",
    "upstream.hold": "1s",
    "upstream.max_small": "1MiB",
    "store.max_object": "4MiB",
}
PAGE = b"<!doctype html><html><body><h1>503 Service Unavailable</h1></body></html>\n"
HOST = "x86_64-unknown-linux-gnu"
MANIFEST = f"/dist/{DAY}/channel-rust-stable.toml"
COMPONENT = f"/dist/{DAY}/{{}}-1.94.0-{HOST}.tar.xz"
RUSTUP_HEAD = "/rustup/release-stable.toml"
RUSTUP_INIT = f"/rustup/archive/{{}}/{HOST}/rustup-init"
RUSTUP_DIST = f"/rustup/dist/{HOST}/rustup-init"
CRATES: list[str] = []
Change = Callable[[bytes], bytes]


def with_proofs(path: str) -> tuple[str, ...]:
    return (f"{path}.sha256", f"{path}.asc")


def triple(manifest: str) -> tuple[str, ...]:
    return (manifest, *with_proofs(manifest))


def digest_line(path: str, content: bytes) -> bytes:
    return f"{sha256_of(content)}  {path.rpartition('/')[2]}\n".encode()


def changed(path: str, change: Change) -> Callable[[Upstream], None]:
    """Return the attack that replaces one object by a change of itself."""

    def spoil(upstream: Upstream) -> None:
        upstream.replace(path, change(upstream.content(path)))

    return spoil


def flip_at(at: int) -> Change:
    return lambda content: flipped(content, at)


def archive(change: Change, *, length: int = 150_000) -> Attack:
    path = fresh_archive(length).path
    return Attack(
        paths=(path,),
        sources=(f"{path}.sha256",),
        spoil=changed(path, change),
        events=("digest-mismatch",),
    )


def archive_proof(change: Change) -> Attack:
    """The archive is right; its `.sha256` is not, so nobody vouches for it."""
    path = fresh_archive(20_000).path
    proof = f"{path}.sha256"
    return Attack(
        paths=(path,), sources=(proof,), spoil=changed(proof, change), told_about=(path, proof)
    )


def swapped_archives() -> Attack:
    first, second = (fresh_archive(30_000).path for _ in range(2))

    def spoil(upstream: Upstream) -> None:
        contents = upstream.content(first), upstream.content(second)
        upstream.replace(first, contents[1])
        upstream.replace(second, contents[0])

    return Attack(
        paths=(first, second),
        sources=(f"{first}.sha256", f"{second}.sha256"),
        spoil=spoil,
        events=("digest-mismatch",),
    )


def archive_that_its_manifest_does_not_know() -> Attack:
    """Archive and `.sha256` agree with each other, but not with the signed manifest."""
    path = COMPONENT.format("rustfmt")

    def spoil(upstream: Upstream) -> None:
        false = flipped(upstream.content(path), 1000)
        upstream.replace(path, false)
        upstream.replace(f"{path}.sha256", digest_line(path, false))
        upstream.replace(f"{path}.asc", upstream.simulator.control.sign(false, key="other"))

    return Attack(
        paths=(path,),
        known=triple(MANIFEST),
        sources=with_proofs(path),
        spoil=spoil,
        events=("digest-mismatch",),
    )


def digest_file_that_its_manifest_contradicts() -> Attack:
    path = COMPONENT.format("clippy") + ".sha256"
    return Attack(
        paths=(path,), known=triple(MANIFEST), spoil=changed(path, lambda _: b"0" * 64 + _[64:])
    )


def endless(path: str, *sources: str) -> Attack:
    def spoil(upstream: Upstream) -> None:
        assert isinstance(upstream, HttpUpstream)
        upstream.endless(path)

    return Attack(paths=(path,), sources=sources, spoil=spoil, forms=("http",))


def endless_archive() -> Attack:
    path = fresh_archive(100_000).path
    return endless(path, f"{path}.sha256")


def crate_name() -> str:
    CRATES.append(f"target{len(CRATES)}")
    return CRATES[-1]


def crate_of(name: str) -> str:
    return f"/crates/{name}/{name}-1.0.0.crate"


def index_of(name: str) -> str:
    return f"/index{index_path(name)}"


def crate(change: Change) -> Attack:
    name = crate_name()
    path = crate_of(name)
    return Attack(
        paths=(path,),
        sources=(index_of(name),),
        spoil=changed(path, change),
        events=("digest-mismatch",),
    )


def swapped_crates() -> Attack:
    first, second = crate_name(), crate_name()
    paths = crate_of(first), crate_of(second)

    def spoil(upstream: Upstream) -> None:
        contents = [upstream.content(path) for path in paths]
        upstream.replace(paths[0], contents[1])
        upstream.replace(paths[1], contents[0])

    return Attack(
        paths=paths,
        sources=(index_of(first), index_of(second)),
        spoil=spoil,
        events=("digest-mismatch",),
    )


def index_line(change: Change, *, held_before: bool = True) -> Attack:
    path = index_of(crate_name())
    return Attack(paths=(path,), spoil=changed(path, change), held_before=held_before)


def after(marker: bytes, step: int = 0) -> Change:
    """Flip a byte of what follows `marker`."""
    return lambda content: flipped(content, content.index(marker) + len(marker) + step)


def other_digit(content: bytes) -> bytes:
    """Change the first digit of the `cksum` to another hexadecimal one."""
    at = content.index(b'"cksum":"') + len(b'"cksum":"')
    return content[:at] + (b"1" if content[at] == ord("0") else b"0") + content[at + 1 :]


def other_bytes(name: str, upstream: Upstream) -> None:
    """Register the version with other bytes: crate and index line agree with each other."""
    true = upstream.content(crate_of(name))
    false = flipped(true, len(true) // 2)
    line = upstream.content(index_of(name))
    upstream.replace(crate_of(name), false)
    upstream.replace(
        index_of(name), line.replace(sha256_of(true).encode(), sha256_of(false).encode())
    )


def changed_cksum(*, asks_first: str = "") -> Attack:
    name = crate_name()
    paths = (index_of(name), crate_of(name))
    return Attack(
        paths=paths if not asks_first else (asks_first, *paths),
        spoil=lambda upstream: other_bytes(name, upstream),
        held_before=True,
    )


def rustup_binary(path: str, change: Change) -> Attack:
    return Attack(paths=(path,), sources=(f"{path}.sha256",), spoil=changed(path, change))


def next_rustup_with_another_binary() -> Attack:
    """The next version's `.sha256` is right, the binary is not."""

    def advance(upstream: Upstream) -> None:
        upstream.simulator.control.advance("rustup")
        upstream.bring((RUSTUP_DIST, f"{RUSTUP_DIST}.sha256", RUSTUP_HEAD))

    return Attack(
        paths=(RUSTUP_DIST,),
        sources=(f"{RUSTUP_DIST}.sha256",),
        news=advance,
        spoil=changed(RUSTUP_DIST, flip_at(-1)),
        held_before=True,
    )


def older_rustup(content: bytes) -> bytes:
    return re.sub(rb"1\.29\.\d+", b"1.29.0", content)


_RANDOM = random.Random(3)
ATTACKS: dict[str, Attack] = {
    "archive-first-byte-flipped": archive(flip_at(0)),
    "archive-last-byte-flipped": archive(flip_at(-1)),
    "archive-withheld-block-flipped": archive(flip_at(150_000 - 65_536)),
    "archive-random-byte-flipped": archive(flip_at(_RANDOM.randrange(150_000))),
    "large-archive-byte-flipped": archive(flip_at(1_234_567), length=3_000_000),
    "small-archive-first-byte-flipped": archive(flip_at(0), length=3_000),
    "small-archive-last-byte-flipped": archive(flip_at(-1), length=3_000),
    "archive-truncated-by-a-byte": archive(lambda content: content[:-1]),
    "archive-truncated-to-half": archive(lambda content: content[: len(content) // 2]),
    "archive-truncated-to-nothing": archive(lambda _content: b""),
    "archive-appended-to": archive(lambda content: content + b"\0"),
    "archive-is-a-page": archive(lambda _content: PAGE),
    "archives-swapped": swapped_archives(),
    "archive-endless": endless_archive(),
    "archive-not-the-manifest-s": archive_that_its_manifest_does_not_know(),
    "sha256-first-byte-flipped": archive_proof(flip_at(0)),
    "sha256-last-digit-flipped": archive_proof(flip_at(63)),
    "sha256-truncated": archive_proof(lambda content: content[:40]),
    "sha256-is-a-page": archive_proof(lambda _content: PAGE),
    "sha256-of-an-archive-of-the-manifest": digest_file_that_its_manifest_contradicts(),
    "crate-first-byte-flipped": crate(flip_at(0)),
    "crate-last-byte-flipped": crate(flip_at(-1)),
    "crate-middle-byte-flipped": crate(flip_at(200)),
    "crate-truncated": crate(lambda content: content[:-1]),
    "crate-appended-to": crate(lambda content: content + b"\0"),
    "crate-is-a-page": crate(lambda _content: PAGE),
    "crates-swapped": swapped_crates(),
    "index-first-byte-flipped": index_line(flip_at(0)),
    "index-last-byte-flipped": index_line(flip_at(-1)),
    "index-name-flipped": index_line(after(b'"name":"', 3)),
    "index-vers-flipped": index_line(after(b'"vers":"')),
    "index-cksum-digit-changed": index_line(other_digit),
    "index-truncated": index_line(lambda content: content[:-20]),
    "index-appended-to": index_line(lambda content: content + b"{}\n"),
    "index-is-a-page": index_line(lambda _content: PAGE),
    "index-nobody-knew-is-a-page": index_line(lambda _content: PAGE, held_before=False),
    "index-nobody-knew-first-byte-flipped": index_line(flip_at(0), held_before=False),
    "crate-cksum-changed": changed_cksum(),
    "rustup-init-first-byte-flipped": rustup_binary(RUSTUP_INIT.format("1.29.0"), flip_at(0)),
    "rustup-init-truncated": rustup_binary(
        RUSTUP_INIT.format("1.29.9"), lambda content: content[:-1]
    ),
    "rustup-init-of-the-next-version-flipped": next_rustup_with_another_binary(),
    "rustup-release-goes-backwards": Attack(
        paths=(RUSTUP_HEAD,), spoil=changed(RUSTUP_HEAD, older_rustup), held_before=True
    ),
    "rustup-installer-is-a-page": Attack(
        paths=("/rustup/rustup-init.sh",), spoil=changed("/rustup/rustup-init.sh", lambda _: PAGE)
    ),
}

EACH = pytest.mark.parametrize(("form", "name"), each_attack(ATTACKS))


@pytest.fixture(scope="module")
def stages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    return Stages(request, tmp_path_factory.mktemp("attacks"), ATTACKS, SETTINGS)


def publish_crates(simulator: SimulatorProcess) -> None:
    """Publish every crate that an attack has been made for."""
    for name in CRATES:
        simulator.control.publish_crate(name, "1.0.0")


def prepare(simulator: SimulatorProcess) -> None:
    publish_crates(simulator)
    versions = [simulator.control.advance("rustup") for _ in range(2)]
    assert versions == ["1.29.9", "1.29.18"]  # the head is neither of those attacked


def stage_of(stages: Stages, form: str) -> Stage:
    return stages.of(form, prepare)


@EACH
def test_attack_reaches_no_client_and_no_store(form: str, name: str, stages: Stages) -> None:
    seen = stage_of(stages, form).seen[name]
    assert seen.fetched_false, "the spoiled object was never fetched"
    assert seen.spoiled
    assert seen.lies() == []
    assert seen.false & seen.published == set()


@EACH
def test_attack_raises_an_event(form: str, name: str, stages: Stages) -> None:
    assert stage_of(stages, form).seen[name].events


@pytest.mark.parametrize(
    ("form", "name"),
    each_attack(
        {name: attack for name, attack in ATTACKS.items() if attack.held_before},
    ),
)
def test_former_good_object_is_served_on(form: str, name: str, stages: Stages) -> None:
    assert stage_of(stages, form).seen[name].refusals() == []


@EACH
def test_good_object_is_served_once_upstream_has_it(form: str, name: str, stages: Stages) -> None:
    seen = stage_of(stages, form).seen[name]
    assert {path: reply.sha256 for path, reply in seen.healed.items()} == seen.true


@pytest.mark.parametrize("form", ["http", pytest.param("s3", marks=pytest.mark.full)])
def test_everything_stored_is_right_and_nothing_stays_held(form: str, stages: Stages) -> None:
    stage = stage_of(stages, form)
    assert stage.wrong_blobs == []
    assert stage.own_faults == []
    assert stage.lists["held_total"] == 0
    assert stage.lists["quarantine"]["count"] == 0

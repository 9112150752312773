"""Attacks that need steps in order, or the wire: each against both forms of upstream.

Over S3 what its checksums forbid is played by the proxy in front of it; a plan for the wire is in
force for everything that passes, so these attacks come one after another.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mirror.simulator.process import start_simulator
from mirror.simulator.registry import index_path
from tests.scenario.attack_script import (
    COMMON_PATHS,
    Upstream,
    ask_plainly,
    attacked_upstream,
    events_about,
    flipped,
    heal,
)
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import Reply, fetch
from tests.scenario.upstream_objects import fresh_archive, sha256_of

# Minutes of real processes in all; `make test` has the attacks on channels.
pytestmark = pytest.mark.full

SETTINGS = {
    "freshness.channel": "300ms",
    "freshness.stale_while_revalidate": "0s",
    "freshness.index": "300ms",
    "freshness.negative": "300ms",
    "freshness.manifests": "300ms",
    "freshness.crate_check": "100ms",
    "freshness.crate_wait": "300ms",
    "upstream.read_timeout": "1s",
    "upstream.hold": "1s",
}
TOLD_WITHIN_S = 20.0
CUT_AT = 600_000
_NUMBERS = itertools.count(1)
EACH_FORM = pytest.mark.parametrize("form", ["http", pytest.param("s3", marks=pytest.mark.full)])


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A mirror before an upstream that can be attacked."""

    upstream: Upstream
    edge: Edge

    def status(self) -> dict[str, Any]:
        trust: dict[str, Any] = self.edge.status()["trust"]
        return trust


class Worlds:
    """One world per form, made when a test first asks for it."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self._root = root
        self._stack = stack
        self._made: dict[str, World] = {}

    def of(self, form: str) -> World:
        if form not in self._made:
            simulator = self._stack.enter_context(start_simulator())
            upstream = self._stack.enter_context(attacked_upstream(form, simulator, self._root))
            upstream.bring(COMMON_PATHS)
            settings = {**SETTINGS, **upstream.settings()}
            edge = Edge(self._root / form, simulator, settings=settings)
            self._made[form] = World(upstream=upstream, edge=self._stack.enter_context(edge))
        return self._made[form]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    with ExitStack() as stack:
        yield Worlds(tmp_path_factory.mktemp("attacks"), stack)


@pytest.fixture
def world(form: str, worlds: Worlds) -> Iterator[World]:
    found = worlds.of(form)
    yield found
    found.upstream.restore_all()
    assert found.edge.wrong_blobs() == []
    assert found.edge.own_faults() == []


def new_crate(world: World) -> tuple[str, str, str]:
    """Publish a crate that nobody has asked for; return its name and both paths."""
    name = f"victim{next(_NUMBERS)}"
    world.upstream.simulator.control.publish_crate(name, "1.0.0")
    paths = f"/index{index_path(name)}", f"/crates/{name}/{name}-1.0.0.crate"
    world.upstream.bring(paths)
    return name, *paths


def ask_until_told(world: World, path: str, since: int, told_about: str = "") -> list[Reply]:
    """Ask in both protocols until an event names the object; return every reply."""
    replies: list[Reply] = []

    def is_told() -> bool:
        replies.extend((fetch(world.edge.port, path), ask_plainly(world.edge.port, path)))
        return bool(events_about(world.edge, (told_about or path,), since))

    wait_until(is_told, f"somebody is told about {path}", TOLD_WITHIN_S)
    return replies


def given(replies: list[Reply]) -> set[str]:
    """Return the digests of what arrived whole."""
    return {reply.sha256 for reply in replies if reply.status == 200 and reply.is_complete}


@EACH_FORM
@pytest.mark.parametrize("kind", ["archive", pytest.param("crate", marks=pytest.mark.full)])
def test_other_bytes_than_the_checksum_says_are_refused(kind: str, form: str, world: World) -> None:
    """Validators, lengths and S3's stored checksum are those of the true object."""
    if kind == "archive":
        path = fresh_archive(300_000).path
        world.upstream.bring((path, f"{path}.sha256"))
    else:
        _, _, path = new_crate(world)
    true = world.upstream.content(path)
    since = len(world.edge.events)
    world.upstream.spoil_on_the_wire(path, len(true) // 2)
    replies = ask_until_told(world, path, since)
    assert world.upstream.fired() > 0
    assert given(replies) == set()
    assert sha256_of(flipped_by_wire(true)) not in world.edge.blobs()
    world.upstream.restore_all()
    heal(world.edge, path, sha256_of(true))


def flipped_by_wire(true: bytes) -> bytes:
    at = len(true) // 2
    return true[:at] + bytes([true[at] ^ 0xFF]) + true[at + 1 :]


@EACH_FORM
def test_resume_with_a_wrong_content_range_splices_nothing(form: str, world: World) -> None:
    archive = fresh_archive(1_000_000)
    world.upstream.bring((archive.path, f"{archive.path}.sha256"))
    since, fired = len(world.edge.events), world.upstream.fired()
    world.upstream.cut_and_answer_wrongly(archive.path, CUT_AT)
    replies = [fetch(world.edge.port, archive.path)]
    assert world.upstream.requests(archive.path) >= 2
    assert world.upstream.fired() > fired
    assert given(replies) <= {archive.sha256}
    if not given(replies):
        ask_until_told(world, archive.path, since)
    world.upstream.restore_all()
    heal(world.edge, archive.path, archive.sha256)


@EACH_FORM
def test_false_checksum_in_a_crate_s_path_is_no_object_and_asks_nobody(
    form: str, world: World
) -> None:
    name, index, path = new_crate(world)
    true = world.upstream.content(path)
    false = sha256_of(true + b"x")
    heal(world.edge, index, sha256_of(world.upstream.content(index)))
    claimed = f"/crates/{name}/1.0.0/{{}}/download"
    for ask in (fetch, ask_plainly):
        assert ask(world.edge.port, claimed.format(false)).status == 404
    assert world.upstream.requests(path) == 0
    heal(world.edge, claimed.format(sha256_of(true)), sha256_of(true))
    assert fetch(world.edge.port, claimed.format(false)).status == 404
    assert fetch(world.edge.port, path).sha256 == sha256_of(true)
    assert world.upstream.requests(path) == 1


def registered_again(world: World, index: str, path: str) -> tuple[bytes, bytes]:
    """Return index file and crate as they are when the version has other bytes."""
    true = world.upstream.content(path)
    false = flipped(true, len(true) // 2)
    line = world.upstream.content(index)
    return line.replace(sha256_of(true).encode(), sha256_of(false).encode()), false


@EACH_FORM
def test_crate_registered_again_with_other_bytes_is_held_and_named(form: str, world: World) -> None:
    """Nobody saw a deletion: the name, version and `cksum` are those an operator may accept."""
    name, index, path = new_crate(world)
    truths = {each: sha256_of(world.upstream.content(each)) for each in (index, path)}
    for each, digest in truths.items():
        heal(world.edge, each, digest)
    line, false = registered_again(world, index, path)
    since = len(world.edge.events)
    world.upstream.replace(index, line)
    world.upstream.replace(path, false)
    assert given(ask_until_told(world, index, since)) == {truths[index]}
    assert given([fetch(world.edge.port, path), ask_plainly(world.edge.port, path)]) == {
        truths[path]
    }
    accept = f"crate {name} 1.0.0 {sha256_of(false)}"
    assert [item["accept"] for item in world.status()["held"]] == [accept]
    world.upstream.restore_all()
    wait_until(
        lambda: bool(fetch(world.edge.port, index)) and world.status()["held_total"] == 0,
        "nothing is held any more",
        TOLD_WITHIN_S,
    )


@EACH_FORM
def test_crate_deleted_and_registered_again_never_has_its_former_bytes(
    form: str, world: World
) -> None:
    """The deletion was seen: what is registered later is another crate under the name."""
    _, index, path = new_crate(world)
    before = sha256_of(world.upstream.content(path))
    heal(world.edge, index, sha256_of(world.upstream.content(index)))
    heal(world.edge, path, before)
    line, other = registered_again(world, index, path)
    world.upstream.remove(index)
    world.upstream.remove(path)
    for each in (index, path):
        wait_until(
            lambda each=each: fetch(world.edge.port, each).status == 404,  # type: ignore[misc]  # a default binds the loop's value
            f"the deletion of {each} is seen",
            TOLD_WITHIN_S,
        )
    world.upstream.stop()
    assert fetch(world.edge.port, path).status in (404, 503)  # a deletion once seen holds
    world.upstream.resume()
    world.upstream.replace(index, line)
    world.upstream.replace(path, other)
    heal(world.edge, index, sha256_of(line))
    replies: list[Reply] = []

    def is_there() -> bool:
        replies.append(fetch(world.edge.port, path))
        return replies[-1].status == 200

    wait_until(is_there, "the crate registered later is served", TOLD_WITHIN_S)
    assert given(replies) == {sha256_of(other)}
    assert before not in given(replies)


@EACH_FORM
def test_index_line_false_from_the_start_lets_no_crate_through(form: str, world: World) -> None:
    """Nobody can tell that a first `cksum` is false; but then the crate is refused."""
    name, index, path = new_crate(world)
    true = world.upstream.content(path)
    line = world.upstream.content(index)
    stated = json.loads(line)["cksum"]
    assert stated == sha256_of(true)
    since = len(world.edge.events)
    world.upstream.replace(index, line.replace(stated.encode(), b"0" * 64))
    assert given(ask_until_told(world, path, since)) == set()
    assert name
    assert sha256_of(true) not in world.edge.blobs()


@EACH_FORM
def test_frozen_upstream_raises_an_alarm_until_a_release_comes(form: str, world: World) -> None:
    """Months without a beta: somebody may be hiding releases. What is there is served on."""
    head = "/dist/channel-rust-beta.toml"
    paths = [head + suffix for suffix in ("", ".sha256", ".asc")]
    world.upstream.bring(paths)
    since = len(world.edge.events)
    heal(world.edge, head, sha256_of(world.upstream.content(head)))
    wait_until(
        lambda: any("frozen" in event["event"] for event in world.edge.events[since:]),
        "the frozen channel is told about",
        TOLD_WITHIN_S,
    )
    assert is_frozen(world, "beta") is True
    today = datetime.now(UTC).date().isoformat().encode()
    text = world.upstream.content(head).replace(b'date = "2026-04-18"', b'date = "%b"' % today)
    world.upstream.replace(head, text)
    line = sha256_of(text).encode() + b"  channel-rust-beta.toml\n"
    world.upstream.replace(paths[1], line)
    world.upstream.replace(paths[2], world.upstream.simulator.control.sign(text))
    heal(world.edge, head, sha256_of(text))
    wait_until(lambda: is_frozen(world, "beta") is False, "the alarm is over", TOLD_WITHIN_S)


def is_frozen(world: World, channel: str) -> bool | None:
    states = {item["name"]: item["is_frozen"] for item in world.status()["channels"]}
    return states.get(channel)


@EACH_FORM
@pytest.mark.parametrize("signed_with", ["sha1", ""], ids=["signed-with-sha1", "unsigned"])
def test_release_of_long_ago_is_served_by_its_digest_and_named(
    signed_with: str, form: str, world: World
) -> None:
    """What would be an attack on a channel of today is all that these ever had."""
    number = "1.8.0" if signed_with else "1.7.0"
    control = world.upstream.simulator.control
    control.publish_legacy("stable", number, "2016-04-14", signed_with=signed_with)
    head = f"/dist/channel-rust-{number}.toml"
    paths = [head + suffix for suffix in ("", ".sha256", ".asc")]
    world.upstream.bring(paths[: 3 if signed_with else 2])
    for path in paths[:2]:
        heal(world.edge, path, sha256_of(world.upstream.content(path)))
    assert fetch(world.edge.port, paths[2]).status == (200 if signed_with else 404)
    assert any(number in name for name in world.status()["legacy_channels"])

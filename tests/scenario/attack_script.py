"""One script for many attacks at once: play them, look, restore, wait until everything is well.

The mirror holds a spoiled key off for seconds, so the attacks share that wait; every claim is then
judged for each attack.

Rules:
1. Each attack has objects of its own.
2. While it is played its objects are asked for by HTTP/1.1 and HTTP/1.0 at once, then again until
   the mirror has told about it.
3. `Seen.allowed` are the digests that a client may be given: of the object before the attack and of
   the true one; whatever else arrives whole is a lie.

Runs in: tests.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mirror.simulator.process import SimulatorProcess, start_simulator
from tests.s3_server import start_s3_server
from tests.scenario.attacked import HttpUpstream, S3Upstream, key_of
from tests.scenario.edge import Edge, wait_until
from tests.scenario.exchange import Reply, at_once, fetch, send_raw
from tests.scenario.upstream_objects import sha256_of

Upstream = HttpUpstream | S3Upstream
COMMON_PATHS = ("/rust-key.gpg.ascii", "/manifests.txt")
TOLD_WITHIN_S = 20.0
HEALED_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """`paths` are asked for and judged; `spoil` is the attack.

    `sources`: what else of upstream the mirror needs; `known`: what clients asked for before.
    `held_before`: clients had the objects themselves before. `news`: what upstream publishes after
    that and before the attack. `told_about`: the paths that an event may name, else `paths`.
    `events`: the event's names; empty: any of level warning and up.
    """

    paths: tuple[str, ...]
    spoil: Callable[[Upstream], None]
    sources: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    held_before: bool = False
    news: Callable[[Upstream], None] = lambda _upstream: None
    told_about: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    forms: tuple[str, ...] = ("http", "s3")


@dataclass(kw_only=True)
class Seen:
    """What became of one attack."""

    allowed: dict[str, set[str]] = field(default_factory=dict)
    true: dict[str, str] = field(default_factory=dict)
    asked_before: dict[str, int] = field(default_factory=dict)
    spoiled: list[tuple[str, Reply]] = field(default_factory=list)
    fetched_false: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    published: set[str] = field(default_factory=set)
    false: set[str] = field(default_factory=set)
    healing: list[tuple[str, Reply]] = field(default_factory=list)
    healed: dict[str, Reply] = field(default_factory=dict)

    def lies(self) -> list[str]:
        """Return what clients were given whole that they should not have been given."""
        return [
            f"{path}: {reply}"
            for path, reply in [*self.spoiled, *self.healing]
            if reply.status == 200 and reply.is_complete and reply.sha256 not in self.allowed[path]
        ]

    def refusals(self) -> list[str]:
        """Return the answers during the attack that were not a whole object."""
        return [
            f"{path}: {reply}"
            for path, reply in self.spoiled
            if not (reply.status == 200 and reply.is_complete)
        ]


def play(edge: Edge, upstream: Upstream, attacks: Mapping[str, Attack]) -> dict[str, Seen]:
    """Play the attacks that this form of upstream can play; return what was seen of each."""
    chosen = {name: item for name, item in attacks.items() if upstream.name in item.forms}
    seen = {name: Seen() for name in chosen}
    upstream.bring(_paths(chosen.values()))
    for path in dict.fromkeys(path for attack in chosen.values() for path in attack.known):
        heal(edge, path, sha256_of(upstream.content(path)))
    for name, attack in chosen.items():
        seen[name].allowed = {path: set() for path in attack.paths}
        if attack.held_before:
            _hold(edge, upstream, attack, seen[name])
    for name, attack in chosen.items():
        attack.news(upstream)
        for path in attack.paths:
            seen[name].true[path] = sha256_of(upstream.content(path))
            seen[name].allowed[path].add(seen[name].true[path])
    since = len(edge.events)
    for name, attack in chosen.items():
        seen[name].asked_before = {path: upstream.requests(path) for path in _all(attack)}
        attack.spoil(upstream)
    _ask_until_told(edge, chosen, seen, since)
    blobs = set(edge.blobs())
    for name, attack in chosen.items():
        mine = seen[name]
        mine.published = blobs
        mine.fetched_false = [
            path
            for path in _all(attack)
            if path in upstream.spoiled and upstream.requests(path) > mine.asked_before[path]
        ]
        for path in _all(attack):
            mine.false |= upstream.false_digests.get(path, set())
        # Swapped objects are false in their place only.
        mine.false -= {digest for digests in mine.allowed.values() for digest in digests}
    upstream.restore_all()
    _heal_all(edge, seen)
    return seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One run of a script against one form of upstream, after which everything has ended."""

    seen: Mapping[str, Seen]
    wrong_blobs: Sequence[str]
    own_faults: Sequence[str]
    lists: Mapping[str, Any]


class Stages:
    """Runs the script once per form, when the first test asks for it."""

    def __init__(
        self,
        request: pytest.FixtureRequest,
        root: Path,
        attacks: Mapping[str, Attack],
        settings: Mapping[str, str],
    ) -> None:
        """Of `attacks` those are played that a test of the requesting module will judge."""
        self._root = root
        self._wanted = _wanted(request)
        self._attacks = attacks
        self._settings = settings
        self._ended: dict[str, Stage] = {}
        self._failed: dict[str, str] = {}

    def of(self, form: str, prepare: Callable[[SimulatorProcess], None]) -> Stage:
        """Return the stage of that form; `prepare` publishes what the attacks are about."""
        if form in self._failed:
            pytest.fail(self._failed[form])
        if form not in self._ended:
            self._failed[form] = "the script failed: the first test that needed it says how"
            with (
                start_simulator() as simulator,
                attacked_upstream(form, simulator, self._root) as upstream,
            ):
                prepare(simulator)
                self._ended[form] = self._run(upstream)
            del self._failed[form]
        return self._ended[form]

    def _run(self, upstream: Upstream) -> Stage:
        settings = {**self._settings, **upstream.settings()}
        upstream.bring(COMMON_PATHS)
        with Edge(self._root / upstream.name, upstream.simulator, settings=settings) as edge:
            wanted = self._wanted[upstream.name]
            attacks = {name: item for name, item in self._attacks.items() if name in wanted}
            seen = play(edge, upstream, attacks)
            lists = wait_for_empty_lists(edge, seen)
            wrong_blobs = edge.wrong_blobs()
        return Stage(seen=seen, wrong_blobs=wrong_blobs, own_faults=edge.own_faults(), lists=lists)


def _wanted(request: pytest.FixtureRequest) -> dict[str, set[str]]:
    """Return the names of the attacks, by form, that the collected tests of this module have."""
    wanted: dict[str, set[str]] = {"http": set(), "s3": set()}
    for item in request.session.items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if item.nodeid.partition("::")[0] == request.node.nodeid and "name" in params:
            wanted[params["form"]].add(params["name"])
    return wanted


def each_attack(attacks: Mapping[str, Attack]) -> list[Any]:
    """Return (form, name) of every attack in every form that can play it, as parameters.

    Those in S3 are marked full.
    """
    return [
        pytest.param(
            form,
            name,
            id=f"{form}-{name}",
            marks=[pytest.mark.full] if form == "s3" else [],
        )
        for name, attack in attacks.items()
        for form in attack.forms
    ]


@contextmanager
def attacked_upstream(form: str, simulator: SimulatorProcess, root: Path) -> Iterator[Upstream]:
    """Return an upstream of that form, with nothing in it yet that nobody brought."""
    if form == "http":
        yield HttpUpstream(simulator)
        return
    with start_s3_server() as server, S3Upstream(simulator, server, root / "secret") as upstream:
        yield upstream


def wait_for_empty_lists(edge: Edge, seen: Mapping[str, Seen]) -> dict[str, Any]:
    """Ask on, until nothing is held or quarantined; return what `status` says about trust."""
    lists: dict[str, Any] = {}
    paths = [path for mine in seen.values() for path in mine.healed]

    def are_empty() -> bool:
        # Clients that go on asking are what lets the mirror look at upstream again.
        at_once(8, lambda number: [fetch(edge.port, path) for path in paths[number::8]])
        lists.clear()
        lists.update(edge.status()["trust"])
        return bool(lists["held_total"] == 0 and lists["quarantine"]["count"] == 0)

    with contextlib.suppress(AssertionError):  # whose test says what is left
        wait_until(are_empty, "nothing is held or quarantined", HEALED_WITHIN_S)
    return lists


def heal(edge: Edge, path: str, right: str) -> Reply:
    """Ask until the true object is served; a copy from before the attack may come till then."""
    replies: list[Reply] = []

    def is_right() -> bool:
        replies.append(fetch(edge.port, path))
        return replies[-1].status == 200 and replies[-1].sha256 == right

    wait_until(is_right, f"{path} is served again", HEALED_WITHIN_S)
    return replies[-1]


def ask_plainly(port: int, path: str) -> Reply:
    """Ask as an HTTP/1.0 client does: the end of the connection ends an unframed content."""
    received = send_raw(port, f"GET {path} HTTP/1.0\r\n\r\n".encode())
    head, _, content = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    fields = {name.lower(): value.strip() for name, _, value in pairs}
    announced = fields.get("content-length")
    return Reply(
        status=int(status_line.split(" ")[1]) if received else 0,
        fields=fields,
        content=content,
        sha256=hashlib.sha256(content).hexdigest(),
        length=len(content),
        is_complete=bool(received) and (announced is None or int(announced) == len(content)),
    )


def flipped(content: bytes, at: int) -> bytes:
    """Return the content with one byte changed; `at` may be negative or beyond: it wraps around."""
    spoiled = bytearray(content)
    spoiled[at % len(spoiled)] ^= 1
    return bytes(spoiled)


def events_about(edge: Edge, paths: Iterable[str], since: int) -> list[dict[str, Any]]:
    """Return the events of level warning and up that name one of the objects."""
    keys = {key_of(path) for path in paths}
    return [
        event
        for event in edge.events[since:]
        if event.get("key") in keys and event.get("level") in ("warning", "error", "critical")
    ]


def _hold(edge: Edge, upstream: Upstream, attack: Attack, seen: Seen) -> None:
    for path in attack.paths:
        right = sha256_of(upstream.content(path))
        heal(edge, path, right)
        seen.allowed[path].add(right)


def _heal_all(edge: Edge, seen: Mapping[str, Seen]) -> None:
    """Ask for everything until the true objects are served; note the last reply of each."""
    waiting = [(mine, path) for mine in seen.values() for path in mine.true]

    def are_right() -> bool:
        replies = at_once(len(waiting), lambda number: fetch(edge.port, waiting[number][1]))
        for (mine, path), reply in zip(waiting, replies, strict=True):
            mine.healed[path] = reply
            mine.healing.append((path, reply))
        waiting[:] = [
            (mine, path) for mine, path in waiting if mine.healed[path].sha256 != mine.true[path]
        ]
        return not waiting

    with contextlib.suppress(AssertionError):  # the test of each attack says what is not well
        wait_until(are_right, "everything is served again", HEALED_WITHIN_S)


def _ask_until_told(
    edge: Edge, attacks: Mapping[str, Attack], seen: Mapping[str, Seen], since: int
) -> None:
    waiting = dict(attacks)

    def is_told() -> bool:
        _ask_once(edge, waiting, seen)
        for name, attack in list(waiting.items()):
            found = events_about(edge, attack.told_about or attack.paths, since)
            found = [item for item in found if not attack.events or item["event"] in attack.events]
            if found:
                seen[name].events = found
                del waiting[name]
        return not waiting

    with contextlib.suppress(AssertionError):  # the test of each attack says who was not told
        wait_until(is_told, "each attack is told about", TOLD_WITHIN_S)


def _ask_once(edge: Edge, attacks: Mapping[str, Attack], seen: Mapping[str, Seen]) -> None:
    asked: list[tuple[str, str, Callable[[int, str], Reply]]] = []
    for name, attack in attacks.items():
        for path in attack.paths:
            asked += [(name, path, fetch), (name, path, ask_plainly)]
    replies = at_once(len(asked), lambda n: asked[n][2](edge.port, asked[n][1]))
    for (name, path, _), reply in zip(asked, replies, strict=True):
        seen[name].spoiled.append((path, reply))


def _all(attack: Attack) -> Sequence[str]:
    return (*attack.paths, *attack.sources, *attack.known)


def _paths(attacks: Iterable[Attack]) -> list[str]:
    return list(dict.fromkeys(path for attack in attacks for path in _all(attack)))

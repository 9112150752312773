"""Attacks on a channel's manifest, `.sha256` and `.asc`: never mixed, never forged, never older.

Every attack is played twice in each form of upstream: on a channel whose former generation clients
have, and on one that nobody has asked for yet. Head and dated directory are attacked alike, except
where the name says `head`: then the dated directory is there to recover from.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario.attack_script import Attack, Stage, Stages, Upstream, each_attack, flipped
from tests.scenario.attacked import HttpUpstream
from tests.scenario.upstream_objects import sha256_of

pytestmark = pytest.mark.full
SETTINGS = {
    "freshness.channel": "300ms",
    "freshness.stale_while_revalidate": "0s",
    "freshness.negative": "300ms",
    "freshness.manifests": "300ms",
    "upstream.read_timeout": "1s",
    "upstream.hold": "1s",
    "upstream.max_small": "1MiB",
}
PAGE = b"<!doctype html><html><body><h1>503 Service Unavailable</h1></body></html>\n"
FILES = {"toml": "", "sha256": ".sha256", "asc": ".asc"}
FIRST_DAY, SECOND_DAY = "2026-03-06", "2026-03-07"  # of a channel by its first and second flip
_HEAD = "/dist/channel-rust-"
_NUMBERS = itertools.count(100)
_RANDOM = random.Random(7)

# What of a generation is false, or None for what is removed; given the true files and a signer.
Files = Mapping[str, bytes]
Sign = Callable[..., bytes]
Forge = Callable[[Files, Sign], Mapping[str, bytes | None]]


def channel_name() -> str:
    """Return a channel by version that nothing else is about."""
    return f"1.{next(_NUMBERS)}"


def head_of(channel: str) -> dict[str, str]:
    return {name: f"/dist/channel-rust-{channel}.toml{suffix}" for name, suffix in FILES.items()}


def dated_of(channel: str, day: str) -> dict[str, str]:
    return {
        name: path.replace("/dist/", f"/dist/{day}/") for name, path in head_of(channel).items()
    }


def digest_line(content: bytes, like: bytes) -> bytes:
    return sha256_of(content).encode() + like[64:]


def resigned(change: Callable[[bytes], bytes], **signing: str) -> Forge:
    """A manifest changed, its `.sha256` made to fit, and a signature made as said."""

    def forge(true: Files, sign: Sign) -> Mapping[str, bytes | None]:
        toml = change(true["toml"])
        return {
            "toml": toml,
            "sha256": digest_line(toml, true["sha256"]),
            "asc": sign(toml, **signing),
        }

    return forge


def only(name: str, change: Callable[[bytes], bytes | None]) -> Forge:
    return lambda true, _sign: {name: change(true[name])}


def flip_at(name: str, at: int) -> Forge:
    return only(name, lambda content: flipped(content, at))


def signature_letter(step: int) -> Forge:
    """Change one letter of the signature's value into another one of base64."""

    def change(content: bytes) -> bytes:
        body_end = content.rindex(b"\n=")
        at = body_end - 5 - step
        while content[at : at + 1] == b"\n":
            at -= 1
        letter = b"B" if content[at : at + 1] == b"A" else b"A"
        return content[:at] + letter + content[at + 1 :]

    return only("asc", change)


def signed_by(key: str = "release", hash_name: str = "sha512") -> Forge:
    return lambda true, sign: {"asc": sign(true["toml"], key=key, hash_name=hash_name)}


def signed_over_another_file(true: Files, sign: Sign) -> Mapping[str, bytes | None]:
    return {"asc": sign(true["toml"] + b"\n")}


def another_hash(toml: bytes) -> bytes:
    """Let the manifest vouch for another archive."""
    at = toml.index(b'xz_hash = "') + len(b'xz_hash = "')
    return toml[:at] + (b"1" if toml[at : at + 1] == b"0" else b"0") + toml[at + 1 :]


FORGERIES: dict[str, Forge] = {
    "manifest-first-byte-flipped": flip_at("toml", 0),
    "manifest-last-byte-flipped": flip_at("toml", -1),
    "manifest-date-flipped": only("toml", lambda text: text.replace(b"2026-03", b"2026-04", 1)),
    "manifest-random-byte-flipped": flip_at("toml", _RANDOM.randrange(10_000)),
    "manifest-another-random-byte-flipped": flip_at("toml", _RANDOM.randrange(10_000)),
    "manifest-truncated": only("toml", lambda text: text[:-1]),
    "manifest-truncated-to-half": only("toml", lambda text: text[: len(text) // 2]),
    "manifest-appended-to": only("toml", lambda text: text + b"\n"),
    "manifest-is-a-page": only("toml", lambda _text: PAGE),
    "sha256-first-byte-flipped": flip_at("sha256", 0),
    "sha256-last-digit-flipped": flip_at("sha256", 63),
    "sha256-truncated": only("sha256", lambda text: text[:63]),
    "sha256-is-a-page": only("sha256", lambda _text: PAGE),
    "asc-first-byte-flipped": flip_at("asc", 0),
    "asc-last-letter-of-the-value-changed": signature_letter(0),
    "asc-middle-letter-of-the-value-changed": signature_letter(150),
    "asc-truncated": only("asc", lambda text: text[: len(text) // 2]),
    "asc-is-a-page": only("asc", lambda _text: PAGE),
    "asc-removed": only("asc", lambda _text: None),
    "signature-by-another-key": signed_by("other"),
    "signature-over-another-file": signed_over_another_file,
    "signature-with-sha1": signed_by(hash_name="sha1"),
    "forged-manifest-signed-by-another-key": resigned(another_hash, key="other"),
    "forged-manifest-signed-with-sha1": resigned(another_hash, hash_name="sha1"),
    "forged-manifest-with-the-true-signature": lambda true, _sign: {
        "toml": another_hash(true["toml"]),
        "sha256": digest_line(another_hash(true["toml"]), true["sha256"]),
    },
}


def forged(forge: Forge, *, held_before: bool, head_only: bool = False) -> Attack:
    channel = channel_name()
    head, dated = head_of(channel), dated_of(channel, SECOND_DAY if held_before else FIRST_DAY)

    def news(upstream: Upstream) -> None:
        if held_before:
            upstream.simulator.control.flip(channel)
        upstream.bring([*head.values(), *dated.values()])

    def spoil(upstream: Upstream) -> None:
        true = {name: upstream.content(path) for name, path in head.items()}
        for name, content in forge(true, upstream.simulator.control.sign).items():
            for path in (head[name],) if head_only else (head[name], dated[name]):
                if content is None:
                    upstream.remove(path)
                else:
                    upstream.replace(path, content)

    return Attack(
        paths=tuple(head.values()),
        sources=tuple(dated_of(channel, FIRST_DAY).values()),
        news=news,
        spoil=spoil,
        held_before=held_before,
    )


def rolled_back() -> Attack:
    """Yesterday's generation, validly signed, after clients had today's."""
    channel = channel_name()
    head = head_of(channel)

    def spoil(upstream: Upstream) -> None:
        yesterday = dated_of(channel, FIRST_DAY)
        for name, path in head.items():
            upstream.replace(path, upstream.content(yesterday[name]))

    return Attack(
        paths=tuple(head.values()),
        sources=tuple(dated_of(channel, FIRST_DAY).values()),
        spoil=spoil,
        held_before=True,
    )


def of_another_channel(*, held_before: bool) -> Attack:
    """Another channel's newer generation: every signature is right, the name is not."""
    channel, other = channel_name(), channel_name()
    head = head_of(channel)

    def spoil(upstream: Upstream) -> None:
        for _ in range(4):
            upstream.simulator.control.flip(other)
        for name, path in head.items():
            upstream.replace(path, upstream.content(head_of(other)[name]))

    return Attack(
        paths=tuple(head.values()),
        sources=tuple(dated_of(channel, FIRST_DAY).values()),
        spoil=spoil,
        held_before=held_before,
    )


def endless_manifest(*, held_before: bool) -> Attack:
    channel = channel_name()
    head = head_of(channel)

    def spoil(upstream: Upstream) -> None:
        assert isinstance(upstream, HttpUpstream)
        upstream.endless(head["toml"])
        upstream.endless(dated_of(channel, SECOND_DAY if held_before else FIRST_DAY)["toml"])

    def news(upstream: Upstream) -> None:
        if held_before:
            upstream.simulator.control.flip(channel)

    return Attack(
        paths=tuple(head.values()), news=news, spoil=spoil, held_before=held_before, forms=("http",)
    )


def _attacks() -> dict[str, Attack]:
    attacks = {}
    for name, forge in FORGERIES.items():
        attacks[f"{name}-of-a-held-channel"] = forged(forge, held_before=True)
        attacks[f"{name}-of-a-cold-channel"] = forged(forge, held_before=False)
    for name in ("manifest-first-byte-flipped", "asc-removed", "signature-by-another-key"):
        attacks[f"head-{name}"] = forged(FORGERIES[name], held_before=False, head_only=True)
    attacks["manifest-endless-of-a-held-channel"] = endless_manifest(held_before=True)
    attacks["manifest-endless-of-a-cold-channel"] = endless_manifest(held_before=False)
    attacks["manifest-of-yesterday"] = rolled_back()
    for state, held_before in (("held", True), ("cold", False)):
        name = f"generation-of-another-channel-of-a-{state}-channel"
        attacks[name] = of_another_channel(held_before=held_before)
    return attacks


ATTACKS = _attacks()
RECOVERABLE = [name for name in ATTACKS if name.startswith("head-")]

EACH = pytest.mark.parametrize(("form", "name"), each_attack(ATTACKS))
EACH_HELD = pytest.mark.parametrize(
    ("form", "name"),
    each_attack(
        {
            name: attack
            for name, attack in ATTACKS.items()
            if attack.held_before or name in RECOVERABLE
        },
    ),
)


@pytest.fixture(scope="module")
def stages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    return Stages(request, tmp_path_factory.mktemp("attacks"), ATTACKS, SETTINGS)


def publish_channels(simulator: SimulatorProcess, attacks: Mapping[str, Attack]) -> None:
    """Publish the first generation of every channel that the attacks ask for."""
    heads = {path for attack in attacks.values() for path in attack.paths}
    for path in sorted(heads):
        if path.startswith(_HEAD) and path.endswith(".toml"):
            simulator.control.flip(path.removeprefix(_HEAD).removesuffix(".toml"))


def prepare(simulator: SimulatorProcess) -> None:
    publish_channels(simulator, ATTACKS)
    # Rollback needs a day to go back to.
    [path, *_] = ATTACKS["manifest-of-yesterday"].paths
    flipped_to = simulator.control.flip(path.removeprefix(_HEAD).removesuffix(".toml"))
    assert flipped_to["date"] == SECOND_DAY


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


@EACH_HELD
def test_good_generation_is_served_on(form: str, name: str, stages: Stages) -> None:
    """The former one, or the true one from the dated directory where that is not attacked."""
    assert stage_of(stages, form).seen[name].refusals() == []


@EACH
def test_good_generation_is_served_once_upstream_has_it(
    form: str, name: str, stages: Stages
) -> None:
    seen = stage_of(stages, form).seen[name]
    assert {path: reply.sha256 for path, reply in seen.healed.items()} == seen.true


@pytest.mark.parametrize("form", ["http", pytest.param("s3", marks=pytest.mark.full)])
def test_everything_stored_is_right_and_nothing_stays_held(form: str, stages: Stages) -> None:
    stage = stage_of(stages, form)
    assert stage.wrong_blobs == []
    assert stage.own_faults == []
    assert stage.lists["held_total"] == 0
    assert stage.lists["quarantine"]["count"] == 0

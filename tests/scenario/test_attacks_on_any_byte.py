"""Any one byte flipped, anywhere: two hundred sampled places, in both forms of upstream."""

from __future__ import annotations

import random

import pytest

from mirror.simulator.process import SimulatorProcess
from tests.scenario import test_attacks_on_channels as channels
from tests.scenario import test_attacks_on_objects as objects
from tests.scenario.attack_script import Attack, Stage, Stages, each_attack, flipped

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

ARCHIVE_BYTES = 90_000
_RANDOM = random.Random(20)


def of_index_line(place: int) -> Attack:
    """Flip the n-th byte of what an index line states for ever: name, version and `cksum`.

    What it says of dependencies, features and yanks may change, and nobody vouches for it.
    """

    def change(content: bytes) -> bytes:
        named = range(content.index(b',"deps"'))
        at = content.index(b'"cksum"')
        stated = [*named, *range(at, content.index(b'"', at + len(b'"cksum":"')) + 1)]
        return flipped(content, stated[place % len(stated)])

    return objects.index_line(change)


def _attacks() -> dict[str, Attack]:
    attacks: dict[str, Attack] = {}
    for at in sorted(_RANDOM.sample(range(ARCHIVE_BYTES), 50)):
        attacks[f"archive-{at}"] = objects.archive(objects.flip_at(at), length=ARCHIVE_BYTES)
    for at in sorted(_RANDOM.sample(range(300), 40)):
        attacks[f"crate-{at}"] = objects.crate(objects.flip_at(at))
    for at in sorted(_RANDOM.sample(range(64), 12)):
        attacks[f"sha256-{at}"] = objects.archive_proof(objects.flip_at(at))
    for place in sorted(_RANDOM.sample(range(110), 40)):
        attacks[f"index-line-{place}"] = of_index_line(place)
    for at in sorted(_RANDOM.sample(range(20_000), 40)):
        attacks[f"manifest-{at}"] = channels.forged(channels.flip_at("toml", at), held_before=True)
    for at in sorted(_RANDOM.sample(range(64), 8)):
        forge = channels.flip_at("sha256", at)
        attacks[f"channel-sha256-{at}"] = channels.forged(forge, held_before=True)
    for step in sorted(_RANDOM.sample(range(300), 16)):
        forge = channels.signature_letter(step)
        attacks[f"signature-{step}"] = channels.forged(forge, held_before=False)
    return attacks


ATTACKS = _attacks()
EACH = pytest.mark.parametrize(("form", "name"), each_attack(ATTACKS))


def prepare(simulator: SimulatorProcess) -> None:
    objects.publish_crates(simulator)
    channels.publish_channels(simulator, ATTACKS)


@pytest.fixture(scope="module")
def stages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    settings = {**objects.SETTINGS, **channels.SETTINGS}
    return Stages(request, tmp_path_factory.mktemp("attacks"), ATTACKS, settings)


def stage_of(stages: Stages, form: str) -> Stage:
    return stages.of(form, prepare)


@EACH
def test_flipped_byte_is_refused_told_and_over_by_itself(
    form: str, name: str, stages: Stages
) -> None:
    seen = stage_of(stages, form).seen[name]
    assert seen.fetched_false, "the spoiled object was never fetched"
    assert seen.lies() == []
    assert seen.false & seen.published == set()
    assert seen.events
    assert {path: reply.sha256 for path, reply in seen.healed.items()} == seen.true
    if ATTACKS[name].held_before:
        assert seen.refusals() == []


@pytest.mark.parametrize("form", ["http", "s3"])
def test_everything_stored_is_right_and_nothing_stays_held(form: str, stages: Stages) -> None:
    stage = stage_of(stages, form)
    assert stage.wrong_blobs == []
    assert stage.own_faults == []
    assert stage.lists["held_total"] == 0
    assert stage.lists["quarantine"]["count"] == 0

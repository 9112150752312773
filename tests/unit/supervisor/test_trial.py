"""Whose end speaks against a reloaded configuration, and what it leads back to."""

from __future__ import annotations

import signal
import ssl

import pytest

from mirror.config import Config, ServeTls
from mirror.supervisor.children import Exit
from mirror.supervisor.posts import KEEPER_LANE, Child, Phase, Post
from mirror.supervisor.tls_context import Credentials
from mirror.supervisor.tls_probe import ShownCertificate
from mirror.supervisor.trial import Trial

FORMER, LATTER = Config(), Config()
KILLED = -int(signal.SIGKILL)


def child(config: Config, phase: Phase = Phase.STARTING, *, is_killed: bool = False) -> Child:
    return Child(
        pid=1,
        lane=KEEPER_LANE,
        slot=0,
        config=config,
        started_at=0.0,
        ready_fd=-1,
        phase=phase,
        is_killed=is_killed,
    )


@pytest.mark.parametrize(
    ("ended", "code", "is_blamed"),
    [
        pytest.param(child(LATTER), Exit.REFUSED, True, id="refused"),
        pytest.param(child(LATTER), Exit.FAILED, True, id="failed-before-it-served"),
        pytest.param(child(LATTER), KILLED, False, id="killed-by-somebody"),
        pytest.param(child(LATTER, is_killed=True), KILLED, True, id="never-served-in-time"),
        pytest.param(child(LATTER, Phase.READY), Exit.FAILED, False, id="it-had-served"),
        pytest.param(child(FORMER), Exit.REFUSED, False, id="former-configuration"),
    ],
)
def test_end_of_a_process_speaks_against_its_configuration(
    ended: Child, code: int, is_blamed: bool
) -> None:
    trial = Trial(FORMER, 1)
    trial.begin(LATTER, 1)
    assert trial.is_blamed(Post(lane=KEEPER_LANE, child=ended), ended, code) is is_blamed


def test_successor_is_blamed_however_it_ends() -> None:
    trial, successor = Trial(FORMER, 1), child(LATTER)
    trial.begin(LATTER, 1)
    assert trial.is_blamed(Post(lane=0, successor=successor), successor, KILLED)


def test_without_a_reload_nobody_is_blamed() -> None:
    ended = child(FORMER)
    assert not Trial(FORMER, 1).is_blamed(Post(lane=0, child=ended), ended, Exit.REFUSED)


def test_second_reload_leads_back_to_what_was_proven() -> None:
    trial = Trial(FORMER, 1)
    trial.begin(LATTER, 3)
    trial.begin(Config(), 5)
    assert repr(trial) == "<Trial running>"
    assert trial.fail() == 3
    assert trial.config is FORMER
    assert repr(trial) == "<Trial over>"


def test_everybody_ready_proves_it() -> None:
    trial = Trial(FORMER, 1)
    posts = [Post(lane=0, child=child(LATTER, Phase.READY)), Post(lane=1, child=child(FORMER))]
    assert not trial.has_passed(posts[:1])
    trial.begin(LATTER, 1)
    assert not trial.has_passed(posts)
    assert not trial.has_passed([Post(lane=2)])
    assert trial.has_passed(posts[:1])
    trial.succeed()
    trial.begin(Config(), 4)
    trial.fail()
    assert trial.config is LATTER


def credentials(name: str) -> Credentials:
    shown = ShownCertificate(
        subject=name, names=(), is_self_signed=False, not_before_at=0.0, not_after_at=0.0
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    return Credentials(context=context, shown=shown, settings=ServeTls(), identity=())


def test_failed_configuration_leads_back_to_its_certificate_too() -> None:
    former, latter = credentials("former"), credentials("latter")
    trial = Trial(FORMER, 1, former)
    trial.begin(LATTER, 1, latter)
    assert trial.tls is latter
    trial.fail()
    assert trial.tls is former


def test_proven_configuration_keeps_its_certificate() -> None:
    former, latter = credentials("former"), credentials("latter")
    trial = Trial(FORMER, 1, former)
    trial.begin(LATTER, 1, latter)
    trial.succeed()
    trial.begin(FORMER, 1, former)
    trial.fail()
    assert trial.tls is latter


def test_renewed_certificate_is_no_trial_and_survives_one_that_fails() -> None:
    former, renewed = credentials("former"), credentials("renewed")
    trial = Trial(FORMER, 1, former)
    trial.renew(renewed)
    assert not trial.is_running
    trial.begin(LATTER, 1, credentials("latter"))
    trial.fail()
    assert trial.tls is renewed

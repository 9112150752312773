"""The certificate over time: when a change is taken, when it is refused, when its end is told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from mirror.cli.dev_certificates import Made
from mirror.config import Serve, ServeTls
from mirror.errors import ConfigError
from mirror.supervisor.tls_context import Credentials
from mirror.supervisor.tls_watch import LOOK_S, WARN_AGAIN_S, CertificateWatch
from tests.tls_files import Pair, make_server, sign
from tests.unit.serve.fakes import FakeClock, RecordingLog


class World:
    """A watch whose clock is moved by hand and stands at the real time at first."""

    def __init__(self, pair: Made | Pair, now_s: float) -> None:
        self.clock, self.log = FakeClock(), RecordingLog()
        self.clock.now_s = now_s
        self.watch = CertificateWatch(self.clock, self.log)
        files = {"certificate": str(pair.certificate), "private_key": str(pair.private_key)}
        self.serve = Serve(tls=msgspec.structs.replace(ServeTls(), **files))
        loaded = self.watch.load(self.serve)
        assert loaded is not None
        self.current: Credentials = loaded

    def look(self) -> Credentials | None:
        self.clock.advance(LOOK_S)
        return self.watch.look(self.serve, self.current)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_server(tmp_path)


@pytest.fixture
def world(made: Made) -> World:
    return World(made, made.not_after.timestamp() - 20 * 86400)


def test_loading_tells_whose_certificate_it_is_and_until_when(world: World, made: Made) -> None:
    [(event, fields)] = world.log.events
    assert event == "certificate-loaded"
    assert fields["subject"] == "CN=localhost,O=rust-mirror dev-cert"
    assert fields["not_after"] == made.not_after.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_unchanged_files_are_not_read_again(world: World) -> None:
    assert [world.look() for _ in range(5)] == [None] * 5
    assert world.log.names() == ["certificate-loaded"]


def test_change_is_taken_when_it_has_settled(world: World, made: Made) -> None:
    world.look()
    make_server(made.certificate.parent, replaces=True)
    assert world.look() is None
    changed = world.look()
    assert changed is not None
    assert changed.context is not world.current.context
    assert world.log.names() == ["certificate-loaded", "certificate-loaded"]


def test_files_between_two_writes_are_not_judged(world: World, made: Made) -> None:
    """For a moment the certificate and the key of the two files do not belong together."""
    world.look()
    certificate = made.certificate.read_bytes()
    make_server(made.certificate.parent, replaces=True)
    other = made.certificate.read_bytes()
    made.certificate.write_bytes(certificate)
    assert world.look() is None
    made.certificate.write_bytes(other)
    assert world.look() is None
    assert world.look() is not None
    assert "certificate-refused" not in world.log.names()


def test_unusable_change_is_refused_once_and_a_later_one_taken(world: World, made: Made) -> None:
    usable = made.certificate.read_bytes()
    made.certificate.write_bytes(b"nothing")
    assert [world.look() for _ in range(6)] == [None] * 6
    assert world.log.names() == ["certificate-loaded", "certificate-refused"]
    assert world.log.events[-1][1]["key"] == "serve.tls.certificate"
    made.certificate.write_bytes(usable)
    world.look()
    assert world.look() is not None


def test_removed_files_are_refused_and_what_is_in_force_stays(world: World, made: Made) -> None:
    made.private_key.unlink()
    assert [world.look() for _ in range(3)] == [None] * 3
    assert world.log.names()[-1] == "certificate-refused"


def test_refusal_at_a_reload_is_told_and_raised(world: World, made: Made) -> None:
    made.certificate.write_bytes(b"nothing")
    with pytest.raises(ConfigError):
        world.watch.load(world.serve)
    assert world.log.names()[-1] == "certificate-refused"


def test_permissions_that_were_put_right_are_noticed(world: World, made: Made) -> None:
    """Else the event would ask for what then changes nothing."""
    made.private_key.write_bytes(b"nothing")
    assert [world.look(), world.look()] == [None, None]
    assert world.log.names()[-1] == "certificate-refused"
    told = len(world.log.events)
    made.private_key.chmod(0o640)
    assert [world.look(), world.look()] == [None, None]
    assert len(world.log.events) == told + 1


def test_certificate_that_clients_refuse_in_any_case_is_told(
    world: World, made: Made, tmp_path: Path
) -> None:
    nameless = sign(tmp_path / "nameless", "nameless", made, has_names=False)
    selfish = sign(tmp_path / "selfish", "selfish", made, is_self_signed=True)
    reasons = []
    for pair in (nameless, selfish):
        told = World(pair, world.clock.now_s).log.events[1:]
        reasons += [str(fields["reason"]) for event, fields in told if event == "certificate-unfit"]
    assert ["subjectAltName" in reason for reason in reasons] == [True, False]
    assert ["self-signed" in reason for reason in reasons] == [False, True]


def test_looks_are_rare(world: World) -> None:
    """The supervisor turns every quarter of a second."""
    world.look()
    made_again = world.watch.look(world.serve, world.current)
    assert made_again is None
    assert world.log.names() == ["certificate-loaded"]


@pytest.mark.parametrize(
    ("before_end", "event"),
    [
        (timedelta(days=15), None),
        (timedelta(days=13), "certificate-expires"),
        (timedelta(days=-1), "certificate-expired"),
        (timedelta(days=70), "certificate-not-yet-valid"),
    ],
    ids=["not-soon", "soon", "over", "not-begun"],
)
def test_end_is_told_once_a_day(
    before_end: timedelta, event: str | None, made: Made, tmp_path: Path
) -> None:
    pair = sign(tmp_path / "pair", "pair", made)
    known = World(pair, made.not_after.timestamp())
    ends_at = known.current.shown.not_after_at
    world = World(pair, ends_at - before_end.total_seconds())
    world.look()
    expected = [] if event is None else [event]
    assert world.log.names()[1:] == expected
    world.clock.advance(WARN_AGAIN_S / 2)
    world.look()
    assert world.log.names()[1:] == expected
    world.clock.advance(WARN_AGAIN_S / 2)
    world.look()
    if event is not None:
        assert world.log.names()[1:] == [event, event]

"""TLS at the edge: certificates that change, client certificates, odd peers."""

from __future__ import annotations

import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from mirror.cli.dev_certificates import Made
from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import DEADLINE_S, Edge, wait_until
from tests.scenario.exchange import fetch, read_to_end
from tests.scenario.tls_client import ask, connected, get, shown_serial
from tests.tls_files import client_context, make_server, settings_of, sign

_VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_server(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def edge(
    made: Made, tmp_path_factory: pytest.TempPathFactory, module_simulator: SimulatorProcess
) -> Iterator[Edge]:
    """Three workers that speak TLS; tests change its files and processes, and leave both whole."""
    settings = {
        **settings_of(made),
        "serve.tls.handshake_timeout": "1s",
        "serve.plaintext": "redirect",
    }
    root = tmp_path_factory.mktemp("edge")
    with Edge(root, module_simulator, workers=3, settings=settings) as running:
        yield running
    assert running.own_faults() == []


@pytest.fixture
def trusting(made: Made) -> ssl.SSLContext:
    return client_context(made.authority)


def test_http2_is_agreed_by_alpn(edge: Edge, trusting: ssl.SSLContext) -> None:
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    with connected(edge.tls_port, trusting) as secured:
        assert secured.selected_alpn_protocol() == "h2"


# The certificate over time.


def worker_pids(edge: Edge) -> set[int]:
    return {pid for name, pid in edge.pids().items() if name != "keeper"}


def is_replaced(edge: Edge, former_pids: set[int]) -> bool:
    """Say whether as many other workers are ready, and the former ones have ended."""
    current = worker_pids(edge)
    return len(current) == len(former_pids) and current.isdisjoint(former_pids)


class Traffic:
    """Requests on connections of their own, one after another, until told to stop."""

    def __init__(self, edge: Edge, context: ssl.SSLContext) -> None:
        self.answered_total = 0
        self.failures: list[str] = []
        self._edge, self._context = edge, context
        self._is_over = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join(DEADLINE_S)

    def _run(self) -> None:
        while not self._is_over:
            try:
                status, _content = get(self._edge.tls_port, self._context, "/livez")
                assert status == 200
                self.answered_total += 1
            except (OSError, AssertionError) as exc:
                self.failures.append(repr(exc))


@pytest.mark.full
def test_changed_certificate_is_taken_without_a_failed_request_and_without_the_keeper(
    edge: Edge, made: Made, trusting: ssl.SSLContext
) -> None:
    before, keeper = shown_serial(edge.tls_port, trusting), edge.pids()["keeper"]
    former_pids = worker_pids(edge)
    with Traffic(edge, trusting) as traffic, connected(edge.tls_port, trusting) as former:
        assert ask(former, "/livez")[0] == 200
        make_server(made.certificate.parent, replaces=True)
        wait_until(lambda: shown_serial(edge.tls_port, trusting) != before, "it shows the other")
        wait_until(
            lambda: is_replaced(edge, former_pids), "every worker has a successor that shows it"
        )
        shown = {shown_serial(edge.tls_port, trusting) for _ in range(9)}
        assert len(shown) == 1
        seen = traffic.answered_total
        wait_until(lambda: traffic.answered_total > seen + 5, "requests go on")
    assert traffic.failures == []
    assert edge.pids()["keeper"] == keeper
    assert edge.named("certificate-loaded")[-1]["names"] == ["localhost", "127.0.0.1"]


@pytest.mark.full
def test_unusable_certificate_changes_nothing_and_is_told_once(
    edge: Edge, made: Made, trusting: ssl.SSLContext
) -> None:
    usable, told = made.certificate.read_bytes(), len(edge.named("certificate-refused"))
    pids, serial = edge.pids(), shown_serial(edge.tls_port, trusting)
    made.certificate.write_bytes(usable[:300])
    try:
        wait_until(lambda: len(edge.named("certificate-refused")) > told, "it is refused")
        refused = edge.named("certificate-refused")[-1]
        assert refused["key"] == "serve.tls.certificate"
        assert str(made.certificate) in refused["reason"]
        edge.send(signal.SIGHUP)
        wait_until(lambda: bool(edge.named("reload-refused")), "the reload is refused too")
        assert shown_serial(edge.tls_port, trusting) == serial
        assert edge.pids() == pids
        assert len(edge.named("certificate-refused")) == told + 2
    finally:
        former_pids = worker_pids(edge)
        made.certificate.write_bytes(usable)
        wait_until(lambda: is_replaced(edge, former_pids), "it is usable again, and in use")


@pytest.mark.full
@pytest.mark.parametrize(
    ("ends_in", "event"),
    [
        (timedelta(days=-1), "certificate-expired"),
        (timedelta(days=5), "certificate-expires"),
    ],
)
def test_end_of_the_certificate_is_told(
    made: Made,
    ends_in: timedelta,
    event: str,
    tmp_path: Path,
    module_simulator: SimulatorProcess,
) -> None:
    pair = sign(tmp_path, "ending", made, ends_in=ends_in)
    with Edge(tmp_path / "edge", module_simulator, settings=settings_of(pair)) as running:
        told = running.named(event)
        assert [item["file"] for item in told] == [str(pair.certificate)]


# Client certificates.


@pytest.mark.parametrize(
    ("word", "without", "with_foreign"),
    [
        pytest.param("required", False, False, id="required"),
        pytest.param("optional", True, False, id="optional", marks=pytest.mark.full),
    ],
)
def test_client_certificate(
    made: Made,
    word: str,
    without: bool,
    with_foreign: bool,
    tmp_path: Path,
    module_simulator: SimulatorProcess,
) -> None:
    foreign = make_server(tmp_path / "foreign")
    own = sign(tmp_path, "own", made, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    other = sign(tmp_path, "other", foreign, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    settings = {
        **settings_of(made),
        "serve.tls.client_ca": str(made.authority),
        "serve.tls.client_certificates": word,
    }
    with Edge(tmp_path / "edge", module_simulator, settings=settings) as running:
        for version in _VERSIONS:
            served = []
            for pair in (own, None, other):
                context = client_context(made.authority)
                context.maximum_version = version
                if pair is not None:
                    context.load_cert_chain(pair.certificate, pair.private_key)
                served.append(is_served(running, context))
            assert served == [True, without, with_foreign]


def is_served(edge: Edge, context: ssl.SSLContext) -> bool:
    try:
        return get(edge.tls_port, context, "/livez")[0] == 200
    except OSError:
        return False


# Peers that misbehave.


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_1_1_is_refused(edge: Edge, trusting: ssl.SSLContext) -> None:
    trusting.set_ciphers("DEFAULT:@SECLEVEL=0")
    trusting.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    trusting.maximum_version = ssl.TLSVersion.TLSv1_1
    assert not is_served(edge, trusting)


def test_plaintext_on_the_tls_port_gets_no_answer_and_harms_nobody(
    edge: Edge, trusting: ssl.SSLContext
) -> None:
    with socket.create_connection(("127.0.0.1", edge.tls_port), timeout=DEADLINE_S) as plain:
        plain.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_to_end(plain) == b""
    assert get(edge.tls_port, trusting, "/livez")[0] == 200


def test_tls_on_the_plaintext_port_is_a_bad_request(edge: Edge, trusting: ssl.SSLContext) -> None:
    with pytest.raises(ssl.SSLError), connected(edge.port, trusting):
        pass
    assert fetch(edge.port, "/livez").status == 200


def test_stalled_handshake_is_cut(edge: Edge) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", edge.tls_port), timeout=DEADLINE_S) as plain:
        plain.sendall(b"\x16\x03\x01\x02\x00\x01\x00")  # the first bytes of a hello
        assert read_to_end(plain) == b""
    assert time.monotonic() - began < DEADLINE_S / 2


# Plaintext beside TLS.


def test_plaintext_is_redirected_to_the_tls_port_but_for_health(edge: Edge) -> None:
    reply = fetch(edge.port, "/index/config.json", {"Host": "mirror.example:80"})
    assert reply.status == 308
    assert reply.fields["location"] == f"https://mirror.example:{edge.tls_port}/index/config.json"
    assert [fetch(edge.port, path).status for path in ("/livez", "/readyz")] == [200, 200]


def test_url_in_config_json_is_https(edge: Edge, trusting: ssl.SSLContext) -> None:
    _status, content = get(edge.tls_port, trusting, "/index/config.json")
    assert b'"dl": "https://localhost/crates/' in content


@pytest.mark.full
def test_tls_alone_needs_no_plaintext_listener(
    made: Made, trusting: ssl.SSLContext, tmp_path: Path, module_simulator: SimulatorProcess
) -> None:
    settings = {**settings_of(made), "serve.listen": ""}
    with Edge(tmp_path, module_simulator, workers=1, settings=settings) as running:
        assert running.port == 0
        assert get(running.tls_port, trusting, "/readyz")[0] == 200
        with connected(running.tls_port, trusting) as idle:
            assert ask(idle, "/livez")[0] == 200
            began = time.monotonic()
            assert running.stop() == 0  # though this client never says close_notify
            assert time.monotonic() - began < DEADLINE_S / 4
            assert idle.recv(1) == b""  # it was said to it, though

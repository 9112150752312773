"""TLS sessions at the edge: a ticket of one worker resumes on any other, also on its successor."""

from __future__ import annotations

import signal
import ssl
from collections.abc import Iterator

import pytest

from mirror.cli.dev_certificates import Made
from mirror.simulator.process import SimulatorProcess
from tests.scenario.edge import Edge, wait_until
from tests.scenario.tls_client import ask, connected
from tests.tls_files import client_context, make_server, settings_of

_VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_server(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def edge(
    made: Made, tmp_path_factory: pytest.TempPathFactory, module_simulator: SimulatorProcess
) -> Iterator[Edge]:
    """Three workers under one certificate: another one would bring other ticket keys."""
    root = tmp_path_factory.mktemp("edge")
    with Edge(root, module_simulator, workers=3, settings=settings_of(made)) as running:
        yield running
    assert running.own_faults() == []


@pytest.fixture
def trusting(made: Made) -> ssl.SSLContext:
    return client_context(made.authority)


def resumed_on(edge: Edge, context: ssl.SSLContext, first: str) -> set[str]:
    """Resume one worker's session until another one has been met; return who resumed it."""
    met: set[str] = set()
    with connected(edge.tls_port, context) as secured:
        ask(secured, "/livez")
        session = secured.session
    for _ in range(40):
        with connected(edge.tls_port, context, session) as secured:
            assert ask(secured, "/livez")[0] == 200
            assert secured.session_reused
            met.add(worker_of(edge, secured))
            session = secured.session  # a ticket of TLS 1.3 is used once
        if met - {first}:
            break
    return met


def worker_of(edge: Edge, secured: ssl.SSLSocket) -> str:
    return edge.worker_of(secured, server_port=edge.tls_port)


@pytest.mark.parametrize("version", _VERSIONS)
def test_session_resumes_on_another_worker(
    edge: Edge, trusting: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    trusting.minimum_version = trusting.maximum_version = version
    with connected(edge.tls_port, trusting) as secured:
        ask(secured, "/livez")
        first = worker_of(edge, secured)
    assert resumed_on(edge, trusting, first) - {first}


def test_session_resumes_after_every_worker_died(edge: Edge, trusting: ssl.SSLContext) -> None:
    with connected(edge.tls_port, trusting) as secured:
        ask(secured, "/livez")
        session = secured.session
    before = {pid for name, pid in edge.pids().items() if name != "keeper"}
    for name in [name for name in edge.pids() if name != "keeper"]:
        edge.send(signal.SIGKILL, name)
    wait_until(
        lambda: len(edge.pids()) == 4 and before.isdisjoint(edge.pids().values()),
        "every worker was replaced",
    )
    with connected(edge.tls_port, trusting, session) as secured:
        assert ask(secured, "/livez")[0] == 200
        assert secured.session_reused

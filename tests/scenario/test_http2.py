"""HTTP/2 as its clients use it: cold and warm, large and many, in a drain, by real cargo."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from mirror.simulator.process import SimulatorProcess
from mirror.simulator.real_clients import write_workspace
from tests.http2_client import Codes, Peer, Received, Setting
from tests.scenario.conftest import HomeMaker
from tests.scenario.edge import DEADLINE_S, Edge, wait_until
from tests.scenario.upstream_objects import fresh_archive, log_of, sha256_of

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 "


class Client:
    """A `Peer` on a blocking socket, begun by prior knowledge."""

    def __init__(self, port: int, peer: Peer | None = None) -> None:
        self.peer = peer or Peer()
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        self.peer.begin()

    def until(self, claim: Callable[[], bool]) -> None:
        """Talk until `claim` holds; fail when the server closes before."""
        self.sock.sendall(self.peer.take())
        while not claim():
            data = self.sock.recv(1 << 18)
            assert data, f"closed: {self.peer.goaways}"
            self.peer.receive(data)
            self.sock.sendall(self.peer.take())

    def get(self, path: str) -> Received:
        response = self.peer.responses[self.peer.ask(path)]
        self.until(lambda: response.is_over)
        return response


@contextmanager
def connected(port: int, peer: Peer | None = None) -> Iterator[Client]:
    client = Client(port, peer)
    try:
        yield client
    finally:
        client.sock.close()


def test_cold_archives_are_filled_once_and_come_whole_over_small_windows(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archives = [fresh_archive(600_000 + number) for number in range(4)]
    peer = Peer(settings={Setting.INITIAL_WINDOW_SIZE: 9_000})
    with connected(mirror.port, peer) as client:
        asked = [peer.ask(archive.path) for archive in archives for _ in range(3)]
        client.until(lambda: peer.are_over)
        for at, stream_id in enumerate(asked):
            response = peer.responses[stream_id]
            assert (response.status, response.is_complete) == (200, True)
            assert sha256_of(bytes(response.content)) == archives[at // 3].sha256
    for archive in archives:
        assert len(log_of(upstream, archive.path)) == 1
    names = {archive.sha256 for archive in archives}
    wait_until(lambda: names <= set(mirror.blobs()), "they are stored")


def test_body_that_breaks_at_upstream_is_reset_and_never_complete(
    mirror: Edge, upstream: SimulatorProcess
) -> None:
    archive = fresh_archive(3_000_000)
    upstream.control.faults(
        {"kind": "corrupt", "path": archive.path, "name": "wrong", "at": 2_000_000}
    )
    with connected(mirror.port) as client:
        response = client.get(archive.path)
        assert not response.is_complete
        assert response.reset_code == Codes.INTERNAL_ERROR
        assert client.get("/livez").content == b"live\n"
    assert upstream.control.faults_fired()["wrong"] >= 1


def test_mirror_that_ends_says_goodbye_twice_and_sends_what_it_began(
    edge: Edge, simulator: SimulatorProcess
) -> None:
    archive = fresh_archive(8_000_000)
    peer = Peer()
    with connected(edge.port, peer) as client:
        assert sha256_of(bytes(client.get(archive.path).content)) == archive.sha256
        peer.is_stalled = True
        stream_id = peer.ask(archive.path)
        client.until(lambda: len(peer.responses[stream_id].content) >= 30_000)
        edge.process.terminate()
        client.until(lambda: len(peer.goaways) == 2)
        assert [code for code, _ in peer.goaways] == [Codes.NO_ERROR] * 2
        assert peer.goaways[1][1] == stream_id
        peer.is_stalled = False
        peer.grant(stream_id, len(peer.responses[stream_id].content))
        client.until(lambda: peer.are_over)
        assert sha256_of(bytes(peer.responses[stream_id].content)) == archive.sha256
    wait_until(lambda: edge.process.poll() is not None, "the mirror has ended")
    assert edge.stop() == 0


@pytest.mark.parametrize("upgrades", [False, True], ids=["prior-knowledge", "upgrade"])
def test_nghttp2_gets_every_answer(upgrades: bool, mirror: Edge) -> None:
    program = shutil.which("h2load")
    if program is None:
        pytest.skip("h2load is absent: install nghttp2-client to run this scenario")
    if upgrades:
        nghttp = shutil.which("nghttp")
        assert nghttp is not None, "it comes with h2load"
        command = [nghttp, "--upgrade", "-nsv", f"{mirror.url}/livez"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert "HTTP Upgrade success" in result.stdout
        assert ":status: 200" in result.stdout
        return
    command = [program, "-n", "4000", "-c", "8", "-m", "32", f"{mirror.url}/livez"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "4000 succeeded, 0 failed, 0 errored, 0 timeout" in result.stdout, result.stdout


class Tap:
    """A TCP proxy before the mirror, which keeps what passes and waits before each answer."""

    def __init__(self, port: int, delay_s: float = 0.0) -> None:
        self._target = port
        self._delay_s = delay_s
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.to_server: list[bytearray] = []
        self.to_client: list[bytearray] = []
        self._socks = [self._listening]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(DEADLINE_S)
        for sock in self._socks:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._socks += (near, far)
            for kept, reading, writing in (
                (self.to_server, near, far),
                (self.to_client, far, near),
            ):
                kept.append(bytearray())
                pump = threading.Thread(
                    target=self._pump, args=(kept[-1], reading, writing), daemon=True
                )
                self._threads.append(pump)
                pump.start()

    def _pump(self, kept: bytearray, reading: socket.socket, writing: socket.socket) -> None:
        try:
            while data := reading.recv(1 << 18):
                kept += data
                time.sleep(self._delay_s)
                writing.sendall(data)
            writing.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (reading, writing):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


@pytest.mark.client
def test_real_cargo_over_plaintext_takes_the_upgrade(
    edge: Edge, simulator: SimulatorProcess, new_home: HomeMaker
) -> None:
    tap = Tap(edge.port)
    try:
        home = new_home("cargo")
        home.use_registry(f"http://127.0.0.1:{tap.port}/index")
        workspace = write_workspace(home.root / "work", {"harvest": "1"})
        result = home.cargo("fetch", workspace=workspace)
        assert result.returncode == 0, result.stderr
    finally:
        tap.close()
    assert tap.to_server
    asked_by_http1 = sum(len(re.findall(rb"^GET ", kept, re.MULTILINE)) for kept in tap.to_server)
    switched = [kept for kept in tap.to_client if kept.startswith(SWITCHING)]
    assert len(switched) == len(tap.to_client) == asked_by_http1
    assert all(PREFACE in kept for kept in tap.to_server)

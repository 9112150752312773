"""The control listeners over real sockets."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

import mirror
from mirror.control.hosts import AllowedHosts
from mirror.control.server import ControlServer
from mirror.errors import StoreError


@dataclass
class Listening:
    url: str
    unix_path: str
    client: aiohttp.ClientSession


@pytest.fixture
async def listening(tmp_path: Path) -> AsyncIterator[Listening]:
    unix_path = str(tmp_path / "control.sock")
    Path(unix_path).touch()  # a socket that a killed keeper left is replaced
    sock = socket.create_server(("127.0.0.1", 0))
    server = ControlServer(lambda: {"is_healthy": True}, AllowedHosts("127.0.0.1", ()))
    await server.start(unix_path, [sock])
    async with aiohttp.ClientSession() as client:
        yield Listening(f"http://127.0.0.1:{sock.getsockname()[1]}", unix_path, client)
    await server.aclose()


async def test_documents_are_served(listening: Listening) -> None:
    async with listening.client.get(f"{listening.url}/status") as response:
        assert (response.status, await response.json()) == (200, {"is_healthy": True})
        assert response.headers["Cache-Control"] == "no-store"
    async with listening.client.get(f"{listening.url}/version") as response:
        assert (await response.json())["version"] == mirror.__version__
    async with listening.client.get(f"{listening.url}/livez") as response:
        assert await response.text() == "ok\n"
    async with listening.client.head(f"{listening.url}/status") as response:
        assert response.status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
async def test_other_methods_are_refused(listening: Listening, method: str) -> None:
    async with listening.client.request(method, f"{listening.url}/status") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


async def test_unknown_paths_name_the_known_ones(listening: Listening) -> None:
    async with listening.client.get(f"{listening.url}/admin") as response:
        assert response.status == 404
        assert "/status" in await response.text()


async def test_rebinding_attack_gets_421(listening: Listening) -> None:
    headers = {"Host": "attacker.example"}
    async with listening.client.get(f"{listening.url}/status", headers=headers) as response:
        assert response.status == 421
        assert "healthy" not in await response.text()


async def test_unix_socket_is_private_and_answers_any_host(listening: Listening) -> None:
    assert stat.S_IMODE(os.stat(listening.unix_path).st_mode) == 0o600
    connector = aiohttp.UnixConnector(path=listening.unix_path)
    async with (
        aiohttp.ClientSession(connector=connector) as client,
        client.get("http://anything/status") as response,
    ):
        assert response.status == 200


async def test_socket_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    server = ControlServer(dict, AllowedHosts("", ()))
    with pytest.raises(StoreError, match="cannot listen"):
        await server.start(str(tmp_path / "absent" / "control.sock"), [])
    await server.aclose()

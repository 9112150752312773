"""A client that asks as rustup and cargo ask, for machines that have neither.

Rules:
1. The order of requests is that of rustup 1.29 (digest, manifest, then archives two at a time,
   a connection each) and cargo 1.95 (config.json, index files breadth first, then crates, two
   connections per host).
2. Every content is checked as the real client checks it; a wrong one raises.
3. It names itself: its User-Agent is neither rustup's nor cargo's.

Does not: resolve versions like cargo (it takes the newest 1.x that is not yanked) or unpack.
Runs in: demo, tests.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import tomllib
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from mirror.errors import UpstreamError, VerificationError
from mirror.simulator.channel_manifest import UPSTREAM_URL
from mirror.simulator.registry import index_path
from mirror.simulator.upstream import DEFAULT_HOST

_USER_AGENT = "rust-mirror-demo-client"
_AT_A_TIME = 2


@dataclass(slots=True)
class ClientCounts:
    """What a run asked for and got."""

    requests: int = 0
    bytes: int = 0


class BuiltInClient:
    """One run of one client against a mirror, or against the simulator itself."""

    def __init__(self) -> None:
        self.counts = ClientCounts()

    async def install_toolchain(
        self,
        releases_url: str,
        toolchain: str = "stable",
        *,
        profile: str = "default",
        host: str = DEFAULT_HOST,
    ) -> list[str]:
        """Ask what `rustup toolchain install` asks; return the archives' paths.

        Raises: VerificationError for a wrong digest, UpstreamError for any status but 200.
        """
        async with _session(force_close=True, limit=_AT_A_TIME) as session:
            url = _manifest_url(releases_url, toolchain)
            expected = (await self._get(session, url + ".sha256"))[:64].decode()
            text = await self._get(session, url)
            _check(url, text, expected)
            manifest = await asyncio.to_thread(tomllib.loads, text.decode())
            archives = list(_archives(manifest, profile, host))
            await _gather_few(
                self._get_checked(
                    session,
                    archive["xz_url"].replace(UPSTREAM_URL, releases_url),
                    archive["xz_hash"],
                )
                for archive in archives
            )
        return [archive["xz_url"].removeprefix(UPSTREAM_URL) for archive in archives]

    async def fetch_crates(self, index_url: str, roots: Iterable[str]) -> list[str]:
        """Ask what `cargo fetch` asks for packages that depend on `roots`; return the crates.

        Raises: VerificationError for a wrong cksum, UpstreamError for any status but 200.
        """
        index_url = index_url.rstrip("/")
        async with _session(force_close=False, limit=_AT_A_TIME) as session:
            config = json.loads(await self._get(session, f"{index_url}/config.json"))
            chosen: dict[str, dict[str, Any]] = {}
            level = list(dict.fromkeys(roots))
            while level:
                files = await _gather_few(
                    self._get(session, index_url + index_path(name)) for name in level
                )
                for name, content in zip(level, files, strict=True):
                    chosen[name] = _newest(name, content)
                level = _further(chosen, level)
            await _gather_few(
                self._get_checked(session, _crate_url(config["dl"], line), line["cksum"])
                for line in chosen.values()
            )
        return [f"{line['name']}-{line['vers']}" for line in chosen.values()]

    async def _get_checked(self, session: aiohttp.ClientSession, url: str, expected: str) -> bytes:
        content = await self._get(session, url)
        _check(url, content, expected)
        return content

    async def _get(self, session: aiohttp.ClientSession, url: str) -> bytes:
        self.counts.requests += 1
        try:
            async with session.get(url) as response:
                content = await response.read()
                status = response.status
        except (aiohttp.ClientError, OSError) as exc:
            raise UpstreamError(url, str(exc) or type(exc).__name__) from exc
        self.counts.bytes += len(content)
        if status != 200:
            raise UpstreamError(url, f"status {status}", upstream_status=status)
        return content


def _session(*, force_close: bool, limit: int) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(force_close=force_close, limit_per_host=limit)
    return aiohttp.ClientSession(
        connector=connector, headers={"User-Agent": _USER_AGENT}, auto_decompress=False
    )


async def _gather_few(coroutines: Iterable[Coroutine[Any, Any, bytes]]) -> list[bytes]:
    """Run everything, the connector limits how much at a time; the first error ends all."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _manifest_url(releases_url: str, toolchain: str) -> str:
    """Return where the manifest of "stable", "1.95.0" or "nightly-2026-05-16" is."""
    channel, dash, day = toolchain.partition("-")
    folder = f"{day}/" if dash else ""
    return f"{releases_url}/dist/{folder}channel-rust-{channel}.toml"


def _archives(manifest: Mapping[str, Any], profile: str, host: str) -> Iterable[Mapping[str, str]]:
    for package in sorted(manifest["profiles"][profile]):
        targets = manifest["pkg"][package]["target"]
        target = targets.get(host) or targets["*"]
        if target["available"]:
            yield target


def _newest(name: str, content: bytes) -> dict[str, Any]:
    lines = [json.loads(line) for line in content.splitlines() if line]
    usable = [line for line in lines if not line["yanked"]]
    if not usable:
        raise UpstreamError(name, "no usable version")
    line: dict[str, Any] = usable[-1]
    return line


def _further(chosen: Mapping[str, dict[str, Any]], level: Iterable[str]) -> list[str]:
    names = (
        dependency["name"]
        for name in level
        for dependency in chosen[name]["deps"]
        if not dependency["optional"]
    )
    return [name for name in dict.fromkeys(names) if name not in chosen]


def _crate_url(dl: str, line: Mapping[str, Any]) -> str:
    """Fill the template as cargo does; one without a marker gets the standard tail."""
    if "{" not in dl:
        dl += "/{crate}/{version}/download"
    prefix = index_path(line["name"]).strip("/").rpartition("/")[0]
    for marker, value in (
        ("{crate}", line["name"]),
        ("{version}", line["vers"]),
        ("{prefix}", prefix),
        ("{lowerprefix}", prefix),
        ("{sha256-checksum}", line["cksum"]),
    ):
        dl = dl.replace(marker, value)
    return dl


def _check(source: str, content: bytes, expected: str) -> None:
    got = hashlib.sha256(content).hexdigest()
    if got != expected:
        raise VerificationError(source, expected=expected, got=got)

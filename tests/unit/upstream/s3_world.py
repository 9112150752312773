"""Pools of buckets before servers whose answers are scripted.

Runs in: tests.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mirror.config import S3, Crates, Duration, Index, Releases, Upstream
from mirror.errors import UpstreamError
from mirror.upstream.pool import Pool
from mirror.upstream.pools import Pools, open_pools
from tests.unit.upstream.scripted_origin import (
    Answer,
    FakeClock,
    RecordingLog,
    RecordingMeter,
    ScriptedOrigin,
    origins,
    reply,
)

BODY = b"the content of an object"
ETAG = f'"{hashlib.md5(BODY, usedforsecurity=False).hexdigest()}"'
SHA256 = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
CRC32 = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()


def error(status: int, code: str, *fields: str) -> bytes:
    content = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>"
    return reply(status, content.encode(), "Content-Type: application/xml", *fields)


def found(*fields: str, content: bytes = BODY) -> bytes:
    return reply(200, content, f"ETag: {ETAG}", *fields)


def part(start: int, *fields: str, content_range: str = "") -> bytes:
    whole = len(BODY)
    value = content_range or f"bytes {start}-{whole - 1}/{whole}"
    return reply(206, BODY[start:], f"ETag: {ETAG}", f"Content-Range: {value}", *fields)


@asynccontextmanager
async def s3_pools(
    *urls: str,
    endpoint: str,
    secret: Path,
    attempts: int = 1,
    meter: RecordingMeter | None = None,
    log: RecordingLog | None = None,
    max_connections: int = 8,
    read_timeout: float = 5.0,
    **settings: Any,
) -> AsyncIterator[Pools]:
    secret.write_text("very-secret\n")
    chosen: dict[str, Any] = {
        "endpoint": endpoint,
        "region": "eu-central-1",
        "access_key_id": "AKIDEXAMPLE",
        "secret_access_key_file": str(secret),
        **settings,
    }
    s3 = S3(**chosen)
    config = Upstream(
        attempts=attempts,
        max_connections=max_connections,
        read_timeout=Duration(read_timeout),
        connect_timeout=Duration(10),
        contact="ops@example.org",
        releases=Releases(urls=urls, s3=s3),
        crates=Crates(urls=urls, s3=s3),
        index=Index(),
    )
    pools = open_pools(
        config,
        own_token="t",
        meter=meter or RecordingMeter(),
        clock=FakeClock(),
        log=log or RecordingLog(),
        backoff_first_s=0.001,
    )
    try:
        yield pools
    finally:
        await pools.aclose()


async def fetch(pool: Pool, path: str = "/x", **fields: str) -> tuple[int, bytes, dict[str, str]]:
    wanted = {name.replace("_", "-"): value for name, value in fields.items()}
    async with pool.get(path, fields=wanted) as response:
        content = b"".join([chunk async for chunk in response.chunks()])
        return response.status, content, dict(response.fields)


async def failure_of(pool: Pool, path: str = "/x") -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await fetch(pool, path)
    return caught.value


@asynccontextmanager
async def scripted(
    *answers: Answer, secret: Path, url: str = "s3://bucket/pre", **settings: Any
) -> AsyncIterator[tuple[ScriptedOrigin, Pools]]:
    async with (
        origins(answers) as (origin,),
        s3_pools(url, endpoint=origin.url, secret=secret, **settings) as pools,
    ):
        yield origin, pools

"""What asks each URL of a pool: HTTP over the pool's session, S3 over the same.

Rules:
1. The S3 library is imported only where an `s3://` URL is configured; it is not small.
2. The `s3://` URLs of a pool share one client: they have one table of settings.

Runs in: keeper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

import mirror
from mirror.clock import Clock
from mirror.config import Crates, Index, Releases, Upstream
from mirror.secret_files import read_secret
from mirror.upstream.asking import Asker
from mirror.upstream.http_origin import HttpOrigin
from mirror.upstream.origin import Origin

Section = Releases | Crates | Index


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the askers of the pool `name` have in common."""

    name: str
    config: Upstream
    session: aiohttp.ClientSession
    clock: Clock


def user_agent(contact: str) -> str:
    """Return `rust-edge-mirror/1.2.3 (+contact)`."""
    product = f"rust-edge-mirror/{mirror.__version__}"
    return f"{product} (+{contact})" if contact else product


def open_askers(section: Section, origins: Sequence[Origin], shared: Shared) -> list[Asker]:
    """Return one asker per origin, in order. Nothing is connected yet. Raises: ConfigError."""
    by_url = _open_s3(section, [o for o in origins if o.is_s3], shared)
    for origin in origins:
        if not origin.is_s3:
            by_url[origin.base] = HttpOrigin(
                origin.base, shared.session, proxy=shared.config.proxy, clock=shared.clock
            )
    return [by_url[origin.base] for origin in origins]


def _open_s3(section: Section, origins: list[Origin], shared: Shared) -> dict[str, Asker]:
    if not origins:
        return {}
    from mirror.upstream.s3_client import S3Access, S3Client
    from mirror.upstream.s3_origin import S3Origin, bucket_of

    config = shared.config
    access = S3Access(
        settings=section.s3,
        secret=read_secret(section.s3, f"upstream.{shared.name}.s3"),
        user_agent=user_agent(config.contact),
        proxy=config.proxy,
        connect_timeout_s=float(config.connect_timeout),
        read_timeout_s=float(config.read_timeout),
    )
    client = S3Client(access, shared.session)
    denied_status = _denied_status(section, shared.name)
    return {
        origin.base: S3Origin(
            bucket_of(origin.base, section.s3, denied_status), client, clock=shared.clock
        )
        for origin in origins
    }


def _denied_status(section: Section, name: str) -> int:
    """AccessDenied may stand for a missing key; of crates fill takes 403 for absent itself."""
    if section.s3.denied_is_absent:
        return 404
    return 403 if name == "crates" else 0

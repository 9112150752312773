"""The S3 client of one upstream: made of `[upstream.X.s3]`, opened by its first request.

Rules:
1. It speaks over the pool's own connections: the same limits, deadlines, CA certificates, resolver
   and buffers as every upstream. It retries nothing and follows no redirect: the pool does.
2. Credentials: none (`anonymous`), the configured key, or what the AWS environment, profile or
   instance role say; with `role_arn` these assume a role, again before it expires.
3. A secret is read from its file at start and kept in here; no repr and no message shows it.
4. Where no credentials are found the search is repeated, but not more often than every
   `CREDENTIALS_HOLD_S`: asking an instance metadata service that is not there takes seconds.

Runs in: keeper, and only where an `s3://` URL is configured: nothing else imports botocore.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.credentials import (
    AioAssumeRoleCredentialFetcher,
    AioCredentialResolver,
    AioCredentials,
    AioDeferredRefreshableCredentials,
)
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore import UNSIGNED
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.loaders import Loader, create_loader
from yarl import URL

from mirror.config import S3
from mirror.upstream.egress import proxy_for
from mirror.upstream.queueing import Queueing

DEFAULT_REGION = "us-east-1"
CREDENTIALS_HOLD_S = 5.0
ROLE_SESSION_NAME = "rust-edge-mirror"

# Which request a connection is waited for; the library has no place to hand it through.
_QUEUEING: ContextVar[Queueing] = ContextVar("queueing")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Access:
    """Everything the client is made of. `proxy` as `[upstream] proxy`."""

    settings: S3
    secret: str = field(repr=False)
    user_agent: str
    proxy: str
    connect_timeout_s: float
    read_timeout_s: float


class S3Client:
    """`call` makes requests; the pool closes `session`, this closes the rest."""

    def __init__(
        self,
        access: S3Access,
        session: aiohttp.ClientSession,
        *,
        credentials_hold_s: float = CREDENTIALS_HOLD_S,
    ) -> None:
        self._access = access
        self._session = session
        self._hold_s = credentials_hold_s
        self._held_until = 0.0  # of the loop's clock
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._client: Any = None

    async def call(
        self, operation: str, parameters: Mapping[str, object], queueing: Queueing
    ) -> dict[str, Any]:
        """Make one request ("get_object", "head_object"); `queueing` is kept up to date.

        Raises: botocore's and aiohttp's errors; the caller translates them.
        """
        client = self._client or await self._open()
        _QUEUEING.set(queueing)
        response: dict[str, Any] = await getattr(client, operation)(**parameters)
        return response

    async def aclose(self) -> None:
        await self._stack.aclose()

    async def _open(self) -> Any:
        async with self._opening:
            if self._client is None:
                client = await self._stack.enter_async_context(await self._create())
                client.meta.events.register_first("before-call.s3.HeadBucket", _ask_no_bucket)
                self._client = client
        return self._client

    async def _create(self) -> Any:
        _keep_quiet()
        settings = self._access.settings
        session = AioSession()
        session.register_component("data_loader", _service_descriptions())
        region = settings.region or session.get_config_variable("region") or DEFAULT_REGION
        config = self._config(region)
        source: Mapping[str, str] = {}
        if settings.access_key_id:
            source = {
                "aws_access_key_id": settings.access_key_id,
                "aws_secret_access_key": self._access.secret,
            }
        if settings.role_arn:
            provider = _RoleProvider(
                settings,
                source,
                functools.partial(
                    session.create_client,
                    region_name=region,
                    endpoint_url=settings.sts_endpoint or None,
                    config=config,
                ),
            )
            session.register_component("credential_provider", AioCredentialResolver([provider]))
            source = {}
        elif not source and not settings.anonymous:
            await self._find_credentials(session)
        return session.create_client(
            "s3",
            region_name=region,
            endpoint_url=settings.endpoint or None,
            config=config,
            **source,
        )

    async def _find_credentials(self, session: AioSession) -> None:
        """A client that was made without any would refuse every request for ever."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._held_until:
            raise NoCredentialsError
        if await session.get_credentials() is None:
            self._held_until = loop.time() + self._hold_s
            raise NoCredentialsError

    def _config(self, region: str) -> AioConfig:
        access, settings = self._access, self._access.settings
        url = URL(settings.endpoint or f"https://s3.{region}.amazonaws.com", encoded=True)
        proxy = proxy_for(url, access.proxy)
        return AioConfig(
            signature_version=UNSIGNED if settings.anonymous else None,
            user_agent=access.user_agent,
            proxies={url.scheme: proxy} if proxy else {},
            connect_timeout=access.connect_timeout_s,
            read_timeout=access.read_timeout_s,
            retries={"total_max_attempts": 1, "mode": "standard"},
            # Content is hashed once, where it is verified.
            response_checksum_validation="when_required",
            request_checksum_calculation="when_required",
            s3={"addressing_style": settings.addressing},
            http_session_cls=_http_session_class(self._session),
            warm_up_loader_caches=True,  # its service model takes 0.1 s to parse: on a thread
        )


@functools.cache
def _service_descriptions() -> Loader:
    """Read what botocore knows of S3 once for all upstreams: 0.1 s and some MB each time."""
    return create_loader()


def _ask_no_bucket(**_: object) -> None:
    """The library looks for a bucket's region by HeadBucket when a redirect does not name it.

    A server that redirects that as well is then asked a hundred times, until the stack is full.
    """
    raise ClientError({"ResponseMetadata": {"HTTPHeaders": {}}}, "HeadBucket")


def _keep_quiet() -> None:
    """What fails is raised too; standard error is for events, one JSON object a line."""
    for name in ("botocore", "aiobotocore"):
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())


def _count_nothing() -> None:
    """The library's own requests are nobody's exchange."""


class _PooledSession:
    """What the library takes for its session: the pool's, with the manners of this room."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, method: str, **options: Any) -> aiohttp.ClientResponse:
        queueing = _QUEUEING.get(None) or Queueing(_count_nothing)
        return await self._session.request(
            method, allow_redirects=False, trace_request_ctx=queueing, **options
        )


def _http_session_class(session: aiohttp.ClientSession) -> type[AIOHTTPSession]:
    """The library makes one object per client of a class that it is given."""

    class HttpSession(AIOHTTPSession):  # type: ignore[misc] # the library has no types
        async def _get_session(self, _proxy_url: str | None) -> _PooledSession:
            return _PooledSession(session)

    return HttpSession


class _RoleProvider:
    """A credential provider (botocore's word) that assumes `role_arn`."""

    METHOD = "assume-role"
    CANONICAL_NAME = "custom-assume-role"

    def __init__(
        self,
        settings: S3,
        source: Mapping[str, str],
        create_client: functools.partial[Any],
    ) -> None:
        self._settings = settings
        self._source = source
        self._create_client = create_client

    async def load(self) -> AioDeferredRefreshableCredentials:
        extra = {"RoleSessionName": ROLE_SESSION_NAME}
        if self._settings.external_id:
            extra["ExternalId"] = self._settings.external_id
        fetcher = AioAssumeRoleCredentialFetcher(
            self._create_client, await self._own(), self._settings.role_arn, extra_args=extra
        )
        return AioDeferredRefreshableCredentials(fetcher.fetch_credentials, self.METHOD)

    async def _own(self) -> Any:
        if self._source:
            return AioCredentials(
                self._source["aws_access_key_id"], self._source["aws_secret_access_key"]
            )
        found = await AioSession().get_credentials()
        if found is None:
            raise NoCredentialsError
        return found

"""An `s3://bucket/prefix` URL of a pool, asked with aiobotocore and answered in HTTP's words.

Rules:
1. The key is the prefix and the path without its first "/", percent-escapes undone, "+" kept.
2. S3 has no If-Range: a range under a validator becomes Range + If-Match, of the version that the
   whole came from where it is known and readable; when that fails the whole is asked for, and a 200
   to a range means what it means in HTTP. So two versions are never put together as a 206.
3. A missing bucket or refused credentials are an error, never an absence. AccessDenied is what a
   missing key looks like without s3:ListBucket: it is handed on as 403 where the class takes that
   for absent (crates), as 404 where the operator says so, and is an error otherwise.
4. A stored checksum of the whole content is told (`Answer.stated`), never of a part. A coding of
   the content is as stored; none is asked for.

Does not: retry, choose between URLs, or check content.
Runs in: keeper, and only where an `s3://` URL is configured.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.parsers import ResponseParserError

from mirror.clock import Clock
from mirror.config import S3
from mirror.errors import ErrorType, UpstreamError
from mirror.http.dates import parse_http_date
from mirror.upstream.asking import Answer, Ask, CrowdedError, Stated, trouble
from mirror.upstream.described import stated_crc32, stated_sha256
from mirror.upstream.queueing import Queueing
from mirror.upstream.response import (
    BROKEN,
    error_type_of,
    head_bytes_of,
    join_fields,
    reason_of,
)
from mirror.upstream.s3_client import S3Client
from mirror.upstream.traffic import LEFT, Exchange, NewExchange

VERSIONS_MAX = 256  # as many bodies as may be under way, and more; an entry is 200 bytes
_OPERATIONS = {"GET": "get_object", "HEAD": "head_object"}
_OUR_OPERATIONS = frozenset(("GetObject", "HeadObject"))
_FAILURES = (BotoCoreError, ClientError, ResponseParserError, *BROKEN, ValueError)
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, ProfileNotFound)
_DENIED = frozenset(("AccessDenied", "Forbidden", "403"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What is asked for. `denied_status`: what AccessDenied is answered with; 0: it is an error."""

    name: str
    prefix: str
    denied_status: int
    requester_pays: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """An answer of S3 that is not 2xx; `code` is S3's word for it."""

    status: int
    code: str
    fields: Mapping[str, str]
    exchange: Exchange


def bucket_of(url: str, settings: S3, denied_status: int) -> Bucket:
    """Return what a checked URL names."""
    name, _, prefix = url.removeprefix("s3://").partition("/")
    return Bucket(
        name=name,
        prefix=prefix.strip("/"),
        denied_status=denied_status,
        requester_pays=settings.requester_pays,
    )


class S3Origin:
    """An `Asker`; the client is shared by the `s3://` URLs of its pool."""

    def __init__(self, bucket: Bucket, client: S3Client, *, clock: Clock) -> None:
        self._bucket = bucket
        self._client = client
        self._clock = clock
        # (key, entity tag) -> version id of what was given whole
        self._versions: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def ask(self, ask: Ask, new_exchange: NewExchange) -> Answer:
        """One attempt; for a range under a validator up to three requests (rule 2)."""
        key = self._key(ask.path)
        for parameters in self._variants(key, ask.fields):
            answer = await self._send(ask.method, key, parameters, new_exchange())
            if isinstance(answer, Answer):
                return answer
            refusal = answer
            if refusal.status != 412 and "VersionId" not in parameters:
                break
            refusal.exchange.finish(is_complete=True)  # another form is asked for
        if ask.method == "HEAD" and refusal.status in (403, 404):
            # A HEAD has no content to say whether key or bucket is missing; one byte of a GET has.
            refusal.exchange.finish(is_complete=True)
            probe = Ask(path=ask.path, fields={"range": "bytes=0-0"})
            answer = await self.ask(probe, new_exchange)
            answer.release()
            return answer.without_content(_without_content(answer.fields))
        return self._refused(key, refusal)

    async def aclose(self) -> None:
        await self._client.aclose()

    def _key(self, path: str) -> str:
        name = unquote(path.removeprefix("/"))
        return f"{self._bucket.prefix}/{name}" if self._bucket.prefix else name

    def _url(self, key: str) -> str:
        return f"s3://{self._bucket.name}/{key}"

    def _variants(self, key: str, fields: Mapping[str, str]) -> Iterator[dict[str, object]]:
        """Yield what to ask for, the best first."""
        whole = self._parameters(key, fields)
        byte_range, validator = fields.get("range", ""), fields.get("if-range", "")
        if byte_range:
            part = whole | {"Range": byte_range}
            if not validator:
                yield part
                return
            part["IfMatch"] = validator
            version = self._versions.get((key, validator), "")
            if version:
                yield part | {"VersionId": version}
            yield part
        yield whole | {"ChecksumMode": "ENABLED"}

    def _parameters(self, key: str, fields: Mapping[str, str]) -> dict[str, object]:
        parameters: dict[str, object] = {"Bucket": self._bucket.name, "Key": key}
        if self._bucket.requester_pays:
            parameters["RequestPayer"] = "requester"
        if tag := fields.get("if-none-match", ""):
            parameters["IfNoneMatch"] = tag
        since = parse_http_date(fields.get("if-modified-since", ""))
        if since is not None:
            parameters["IfModifiedSince"] = datetime.fromtimestamp(since, UTC)
        return parameters

    async def _send(
        self, method: str, key: str, parameters: Mapping[str, object], exchange: Exchange
    ) -> Answer | _Refusal:
        queueing = Queueing(exchange.begin)
        try:
            found = await self._client.call(_OPERATIONS[method], parameters, queueing)
        except _FAILURES as exc:
            if queueing.is_waiting:
                reason = "all connections to it stay in use"
                raise CrowdedError(self._url(key), reason) from exc
            if isinstance(exc, ClientError) and exc.operation_name in _OUR_OPERATIONS:
                return _refusal(exc, exchange)
            error = _unusable(self._url(key), exc)
            exchange.finish(is_complete=False, error=error.reason)
            raise error from exc
        except asyncio.CancelledError:
            exchange.finish(is_complete=False, error=LEFT)
            raise
        return self._answer(key, found, exchange)

    def _answer(self, key: str, found: Mapping[str, Any], exchange: Exchange) -> Answer:
        metadata = found["ResponseMetadata"]
        status: int = metadata["HTTPStatusCode"]
        # The connection's own response: the library's reader cuts content into small pieces.
        raw = found["Body"].raw_stream if "Body" in found else None
        fields = metadata["HTTPHeaders"] if raw is None else join_fields(raw)
        stated = Stated()
        if status == 200:
            stated = Stated(sha256=stated_sha256(fields), crc32=stated_crc32(fields))
            self._note_version(key, fields)
        exchange.answered(status, _head_bytes(fields) if raw is None else head_bytes_of(raw))
        if raw is None:
            exchange.finish(is_complete=True)
        return Answer(status, self._url(key), fields, raw, exchange=exchange, stated=stated)

    def _note_version(self, key: str, fields: Mapping[str, str]) -> None:
        version = fields.get("x-amz-version-id", "null")
        if version == "null":  # of an object from before versioning: it may be overwritten
            return
        name = (key, fields.get("etag", ""))
        self._versions[name] = version
        self._versions.move_to_end(name)
        while len(self._versions) > VERSIONS_MAX:
            self._versions.popitem(last=False)

    def _refused(self, key: str, refusal: _Refusal) -> Answer:
        """Return the answer that a refusal is in HTTP's words. Raises: UpstreamError."""
        try:
            status = self._status_of(key, refusal)
        except UpstreamError as exc:
            refusal.exchange.finish(is_complete=False, error=exc.reason)
            raise
        refusal.exchange.finish(is_complete=True)
        fields = _without_content(refusal.fields)
        return Answer(status, self._url(key), fields, None, exchange=refusal.exchange)

    def _status_of(self, key: str, refusal: _Refusal) -> int:
        """Return what to answer with. Raises: UpstreamError where the refusal is trouble."""
        url, status, code = self._url(key), refusal.status, refusal.code
        if status == 404 and code == "NoSuchBucket":
            raise _misconfigured(url, f"there is no bucket {self._bucket.name!r}", status)
        if status in (304, 404, 410, 416, 451):
            return status
        if status == 403 and code in _DENIED:
            if self._bucket.denied_status:
                return self._bucket.denied_status
            reason = "access denied (without s3:ListBucket a missing key looks the same)"
            raise _misconfigured(url, reason, status)
        raise trouble(url, status, refusal.fields, self._clock.now(), word=code)

    def __repr__(self) -> str:
        return f"<S3Origin s3://{self._bucket.name}/{self._bucket.prefix}>"


def _without_content(fields: Mapping[str, str]) -> dict[str, str]:
    """The library has read the error's own content; nothing of it is handed on."""
    gone = ("content-length", "content-type", "transfer-encoding")
    return {name: value for name, value in fields.items() if name not in gone}


def _head_bytes(fields: Mapping[str, str]) -> int:
    """The library keeps no head: its field lines, and a status line without a phrase."""
    return 17 + sum(len(name) + len(value) + 4 for name, value in fields.items())


def _refusal(exc: ClientError, exchange: Exchange) -> _Refusal:
    metadata: Mapping[str, Any] = exc.response.get("ResponseMetadata", {})
    error: Mapping[str, Any] = exc.response.get("Error", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    fields: Mapping[str, str] = metadata.get("HTTPHeaders", {})
    exchange.answered(status, _head_bytes(fields))
    length = fields.get("content-length", "")
    if exc.operation_name != "HeadObject" and length.isascii() and length.isdigit():
        exchange.received(int(length))  # the library has read it
    return _Refusal(
        status=status, code=str(error.get("Code", "")), fields=fields, exchange=exchange
    )


def _unusable(url: str, exc: BaseException) -> UpstreamError:
    if isinstance(exc, ClientError):  # of STS, or of looking for the bucket's region
        code = exc.response.get("Error", {}).get("Code", "no code")
        return _misconfigured(url, f"{exc.operation_name} was refused ({code})")
    if isinstance(exc, _NO_CREDENTIALS):
        reason = (
            "no credentials: none are configured, and AWS environment, profile and instance give"
            " none"
        )
        return _misconfigured(url, reason)
    if isinstance(exc, CredentialRetrievalError):
        cause = ErrorType.PROXY_CONFIGURATION_ERROR
        return UpstreamError(url, "its credentials cannot be obtained", error_type=cause)
    if isinstance(exc, ResponseParserError | ValueError):
        cause = ErrorType.HTTP_PROTOCOL_ERROR
        return UpstreamError(url, "it does not speak S3", error_type=cause)
    inner = exc.kwargs.get("error") if isinstance(exc, BotoCoreError) else exc
    if isinstance(inner, BaseException):
        return UpstreamError(url, reason_of(inner), error_type=error_type_of(inner))
    return UpstreamError(url, "it cannot be asked", error_type=ErrorType.PROXY_INTERNAL_ERROR)


def _misconfigured(url: str, reason: str, status: int = 0) -> UpstreamError:
    return UpstreamError(
        url,
        reason,
        upstream_status=status,
        retryable=False,
        status=502,
        error_type=ErrorType.PROXY_CONFIGURATION_ERROR,
    )

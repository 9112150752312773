"""`mirror.upstream.s3_origin` and its client: S3's answers in HTTP's words, over the pool's own
connections. What the server says is scripted here; a real one plays in `tests/scenario`."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from botocore.exceptions import NoCredentialsError

from mirror.config import S3, Crates, Duration, Index, Releases, Upstream
from mirror.errors import ConfigError, UpstreamError, VerificationError
from mirror.secret_files import read_secret
from mirror.upstream.pool import Pool
from mirror.upstream.pools import Pools, open_pools
from mirror.upstream.queueing import Queueing
from mirror.upstream.s3_client import S3Access, S3Client
from mirror.upstream.s3_origin import VERSIONS_MAX
from tests.unit.upstream.scripted_origin import (
    Answer,
    FakeClock,
    RecordingLog,
    RecordingMeter,
    ScriptedOrigin,
    cut,
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
        connect_timeout=Duration(0.2),
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


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return tmp_path / "secret"


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


class TestRequest:
    async def test_it_is_signed_carries_our_name_and_spells_the_key(self, secret: Path) -> None:
        async with scripted(found(), secret=secret) as (origin, pools):
            status, content, _ = await fetch(pools["crates"], "/crates/a/a-1.0.0+b.crate")
            assert (status, content) == (200, BODY)
            line = origin.requests[0]
            fields = origin.fields()
            assert line == "GET /bucket/pre/crates/a/a-1.0.0%2Bb.crate HTTP/1.1"
            assert "Credential=AKIDEXAMPLE/" in fields["authorization"]
            assert "/eu-central-1/s3/aws4_request" in fields["authorization"]
            assert fields["user-agent"].startswith("rust-edge-mirror/")
            assert fields["accept-encoding"] == "identity"
            assert fields["x-amz-checksum-mode"] == "ENABLED"
            assert "very-secret" not in origin.heads[0]

    async def test_an_anonymous_reader_signs_nothing(self, secret: Path) -> None:
        settings: dict[str, Any] = {
            "anonymous": True,
            "access_key_id": "",
            "secret_access_key_file": "",
        }
        async with scripted(found(), secret=secret, **settings) as (origin, pools):
            await fetch(pools["releases"])
            assert "authorization" not in origin.fields()

    async def test_the_environments_identity_can_assume_a_role(
        self, secret: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIENVIRONMENT")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
        role: dict[str, Any] = {
            "role_arn": "arn:aws:iam::111111111111:role/r",
            "access_key_id": "",
            "secret_access_key_file": "",
        }
        async with origins([reply(500)]) as (sts,):
            async with scripted(found(), secret=secret, sts_endpoint=sts.url, **role) as (_, pools):
                await failure_of(pools["releases"])
            assert "Credential=AKIENVIRONMENT/" in sts.fields()["authorization"]

    async def test_what_the_environment_says_is_looked_for_again_when_it_said_nothing(
        self, secret: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "absent"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "absent"))
        no_key = {"access_key_id": "", "secret_access_key_file": ""}
        async with scripted(found(), secret=secret, **no_key) as (origin, pools):
            exc = await failure_of(pools["releases"])
            assert exc.reason.startswith("no credentials: none are configured, and AWS environment")
            assert origin.requests == []
        async with origins([found()]) as (origin,), aiohttp.ClientSession() as session:
            access = S3Access(
                settings=S3(endpoint=origin.url),
                secret="",
                user_agent="u",
                proxy="",
                connect_timeout_s=1,
                read_timeout_s=1,
            )
            client = S3Client(access, session, credentials_hold_s=0)
            key = {"Bucket": "b", "Key": "k"}
            with pytest.raises(NoCredentialsError):
                await client.call("get_object", key, Queueing())
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIENVIRONMENT")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
            response = await client.call("get_object", key, Queueing())
            await response["Body"].raw_stream.read()
            await client.aclose()
            assert "Credential=AKIENVIRONMENT/" in origin.fields()["authorization"]

    async def test_a_requester_who_pays_says_so(self, secret: Path) -> None:
        async with scripted(found(), secret=secret, requester_pays=True) as (origin, pools):
            await fetch(pools["releases"])
            assert origin.fields()["x-amz-request-payer"] == "requester"

    async def test_conditions_travel_and_304_comes_back(self, secret: Path) -> None:
        async with scripted(reply(304, b"", f"ETag: {ETAG}"), secret=secret) as (origin, pools):
            since = "Wed, 21 Oct 2015 07:28:00 GMT"
            status, content, fields = await fetch(
                pools["releases"], If_None_Match=ETAG, If_Modified_Since=since
            )
            assert (status, content, fields["etag"]) == (304, b"", ETAG)
            asked = origin.fields()
            assert (asked["if-none-match"], asked["if-modified-since"]) == (ETAG, since)

    async def test_bytes_and_requests_are_counted(self, secret: Path) -> None:
        meter = RecordingMeter()
        async with scripted(found(), secret=secret, meter=meter) as (_, pools):
            await fetch(pools["releases"], "/dist/x")
        assert meter.lines == [("releases", "/dist/x")]
        assert (meter.requests, meter.received_bytes) == (1, len(BODY))

    async def test_a_role_is_assumed_once_for_many_requests(self, secret: Path) -> None:
        credentials = (
            "<AssumeRoleResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'>"
            "<AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>"
            "<SecretAccessKey>s</SecretAccessKey><SessionToken>role-token</SessionToken>"
            "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
            "<AssumedRoleUser><Arn>arn:aws:sts::111111111111:assumed-role/r/s</Arn>"
            "<AssumedRoleId>AROA:s</AssumedRoleId></AssumedRoleUser></AssumeRoleResult>"
            "</AssumeRoleResponse>"
        )
        answer = reply(200, credentials.encode(), "Content-Type: text/xml")
        role: dict[str, Any] = {
            "role_arn": "arn:aws:iam::111111111111:role/r",
            "external_id": "outside",
        }
        async with origins([answer]) as (sts,):
            async with scripted(found(), secret=secret, sts_endpoint=sts.url, **role) as (
                s3,
                pools,
            ):
                await fetch(pools["releases"])
                await fetch(pools["releases"])
            assert len(sts.requests) == 1
            assert "Credential=AKIDEXAMPLE/" in sts.fields()["authorization"]
            assert "Credential=ASIAROLE/" in s3.fields()["authorization"]
            assert s3.fields(1)["x-amz-security-token"] == "role-token"

    async def test_a_role_that_is_refused_is_no_absence(self, secret: Path) -> None:
        """The 403 is that of STS; taken for the object's it would say that a crate is absent."""
        role: dict[str, Any] = {"role_arn": "arn:aws:iam::111111111111:role/r"}
        refusal = b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
        async with origins([reply(403, refusal, "Content-Type: text/xml")]) as (sts,):
            async with scripted(found(), secret=secret, sts_endpoint=sts.url, **role) as (
                s3,
                pools,
            ):
                exc = await failure_of(pools["crates"])
            assert (exc.reason, exc.retryable) == ("AssumeRole was refused (AccessDenied)", False)
            assert s3.requests == []


class TestRange:
    async def test_a_validator_becomes_if_match(self, secret: Path) -> None:
        async with scripted(part(4), secret=secret) as (origin, pools):
            status, content, fields = await fetch(
                pools["releases"], Range="bytes=4-", If_Range=ETAG
            )
            assert (status, content) == (206, BODY[4:])
            assert fields["content-range"] == f"bytes 4-{len(BODY) - 1}/{len(BODY)}"
            asked = origin.fields()
            assert (asked["range"], asked["if-match"]) == ("bytes=4-", ETAG)
            assert "if-range" not in asked

    async def test_another_object_by_then_is_given_whole(self, secret: Path) -> None:
        other = found(content=b"other content")
        async with scripted(error(412, "PreconditionFailed"), other, secret=secret) as (s3, pools):
            status, content, _ = await fetch(pools["releases"], Range="bytes=4-", If_Range=ETAG)
            assert (status, content) == (200, b"other content")
            assert "range" not in s3.fields(1)
            assert "if-match" not in s3.fields(1)

    async def test_the_version_that_began_is_asked_for(self, secret: Path) -> None:
        version = "x-amz-version-id: v1"
        async with scripted(found(version), part(4, version), secret=secret) as (origin, pools):
            await fetch(pools["releases"])
            status, content, _ = await fetch(pools["releases"], Range="bytes=4-", If_Range=ETAG)
            assert (status, content) == (206, BODY[4:])
            assert origin.requests[1] == "GET /bucket/pre/x?versionId=v1 HTTP/1.1"
            assert origin.fields(1)["if-match"] == ETAG

    @pytest.mark.parametrize(
        "refusal",
        [
            pytest.param(error(403, "AccessDenied"), id="no-GetObjectVersion"),
            pytest.param(error(404, "NoSuchVersion"), id="expired"),
        ],
    )
    async def test_a_version_that_cannot_be_read_is_asked_for_without_its_id(
        self, refusal: bytes, secret: Path
    ) -> None:
        answers = [found("x-amz-version-id: v1"), refusal, part(4)]
        async with scripted(*answers, secret=secret) as (origin, pools):
            await fetch(pools["releases"])
            status, content, _ = await fetch(pools["releases"], Range="bytes=4-", If_Range=ETAG)
            assert (status, content) == (206, BODY[4:])
            assert origin.requests[2] == "GET /bucket/pre/x HTTP/1.1"
            assert origin.fields(2)["if-match"] == ETAG

    async def test_an_object_of_before_versioning_has_no_version(self, secret: Path) -> None:
        answers = [found("x-amz-version-id: null"), part(4)]
        async with scripted(*answers, secret=secret) as (origin, pools):
            await fetch(pools["releases"])
            await fetch(pools["releases"], Range="bytes=4-", If_Range=ETAG)
            assert origin.requests[1] == "GET /bucket/pre/x HTTP/1.1"

    async def test_a_version_is_remembered_for_so_many_bodies_only(self, secret: Path) -> None:
        answers = [found("x-amz-version-id: v1")] * (VERSIONS_MAX + 1) + [part(4), part(4)]
        async with scripted(*answers, secret=secret) as (origin, pools):
            for number in range(VERSIONS_MAX + 1):
                await fetch(pools["releases"], f"/{number}")
            for number in (0, 1):
                await fetch(pools["releases"], f"/{number}", Range="bytes=4-", If_Range=ETAG)
            assert origin.requests[-2:] == [
                "GET /bucket/pre/0 HTTP/1.1",
                "GET /bucket/pre/1?versionId=v1 HTTP/1.1",
            ]

    async def test_a_range_beyond_the_end_is_416(self, secret: Path) -> None:
        refusal = error(416, "InvalidRange", "Content-Range: bytes */24")
        async with scripted(refusal, secret=secret) as (_, pools):
            status, _, fields = await fetch(pools["releases"], Range="bytes=99-")
            assert (status, fields["content-range"]) == (416, "bytes */24")


class TestRefusals:
    @pytest.mark.parametrize(
        ("answer", "reason", "retryable"),
        [
            pytest.param(
                error(404, "NoSuchBucket"), "there is no bucket 'bucket'", False, id="no-bucket"
            ),
            pytest.param(
                error(403, "AccessDenied"),
                "access denied (without s3:ListBucket a missing key looks the same)",
                False,
                id="denied",
            ),
            pytest.param(
                error(403, "InvalidAccessKeyId"), "status 403 (InvalidAccessKeyId)", False, id="key"
            ),
            pytest.param(
                error(403, "SignatureDoesNotMatch"),
                "status 403 (SignatureDoesNotMatch)",
                False,
                id="signature",
            ),
            pytest.param(
                error(403, "InvalidObjectState"), "status 403 (InvalidObjectState)", False,
                id="archived",
            ),
            pytest.param(error(503, "SlowDown"), "status 503 (SlowDown)", True, id="slow-down"),
            pytest.param(error(500, "InternalError"), "status 500 (InternalError)", True, id="500"),
            pytest.param(
                reply(200, b"x", "Last-Modified: never"), "it does not speak S3", True, id="no-s3"
            ),
            pytest.param(
                reply(307, b"", "Location: http://127.0.0.1:1/elsewhere"), "status 307 (307)",
                False, id="redirect",
            ),
            pytest.param(
                reply(403, b"<html>a page</html>", "Content-Type: text/html"),
                "status 403", False, id="a-page",
            ),
        ],
    )  # fmt: skip
    async def test_trouble_is_an_error_and_says_which(
        self, answer: Answer, reason: str, retryable: bool, secret: Path
    ) -> None:
        async with scripted(answer, secret=secret) as (origin, pools):
            exc = await failure_of(pools["releases"])
            assert (exc.reason, exc.retryable) == (reason, retryable)
            assert exc.source == "s3://bucket/pre/x"
            assert len(origin.requests) == 1, "the library retries nothing"

    async def test_slow_down_is_tried_again_and_its_retry_after_handed_on(
        self, secret: Path
    ) -> None:
        slow = error(503, "SlowDown")
        async with scripted(slow, slow, found(), secret=secret, attempts=3) as (origin, pools):
            assert (await fetch(pools["releases"]))[0] == 200
            assert len(origin.requests) == 3
        wish = error(503, "SlowDown", "Retry-After: 30")
        async with scripted(wish, secret=secret, attempts=3) as (origin, pools):
            assert (await failure_of(pools["releases"])).retry_after_s == 30
            assert len(origin.requests) == 1

    @pytest.mark.parametrize("code", ["NoSuchKey", "NoSuchVersion"])
    async def test_a_missing_key_is_404(self, code: str, secret: Path) -> None:
        async with scripted(error(404, code), secret=secret) as (_, pools):
            status, content, _ = await fetch(pools["releases"])
            assert (status, content) == (404, b"")

    async def test_a_crate_that_is_denied_is_handed_on_as_403(self, secret: Path) -> None:
        async with scripted(error(403, "AccessDenied"), secret=secret) as (_, pools):
            assert (await fetch(pools["crates"]))[0] == 403

    async def test_denied_is_absent_where_the_operator_says_so(self, secret: Path) -> None:
        settings: dict[str, Any] = {"denied_is_absent": True}
        denied = error(403, "AccessDenied")
        async with scripted(denied, secret=secret, **settings) as (_, pools):
            assert (await fetch(pools["releases"]))[0] == 404
        wrong_key = error(403, "InvalidAccessKeyId")
        async with scripted(wrong_key, secret=secret, **settings) as (_, pools):
            assert (await failure_of(pools["releases"])).upstream_status == 403

    async def test_nobody_there_is_a_plain_word(self, secret: Path) -> None:
        async with s3_pools("s3://bucket", endpoint="http://127.0.0.1:1", secret=secret) as pools:
            exc = await failure_of(pools["releases"])
            assert exc.reason.startswith("cannot connect")
            assert (exc.upstream_status, exc.retryable) == (0, True)

    async def test_a_connection_that_ends_before_the_head_is_temporary(self, secret: Path) -> None:
        async with scripted(cut(b""), secret=secret) as (_, pools):
            exc = await failure_of(pools["releases"])
            assert (exc.reason, exc.retryable) == ("the connection broke", True)

    async def test_silence_has_the_deadline_of_every_upstream(self, secret: Path) -> None:
        async with scripted(lambda _: None, secret=secret, read_timeout=0.1) as (_, pools):
            assert (await failure_of(pools["releases"])).reason == "no answer in time"

    async def test_our_own_limit_on_connections_blames_nobody(self, secret: Path) -> None:
        body = found(content=b"x" * 100)[:-50]  # the rest never comes
        settings: dict[str, Any] = {"max_connections": 1, "read_timeout": 0.3}
        async with scripted(body, secret=secret, **settings) as (_, pools):
            async with pools["releases"].get("/a"):
                exc = await failure_of(pools["releases"], "/b")
            assert exc.reason == "all connections to it stay in use"
            (health,) = pools["releases"].health()
            assert not health.is_failing


class TestContent:
    async def test_a_body_that_breaks_is_an_error_and_demotes(self, secret: Path) -> None:
        async with scripted(cut(found()[:-5]), secret=secret) as (_, pools):
            exc = await failure_of(pools["releases"])
            assert exc.reason == f"the content broke off after {len(BODY) - 5} bytes of content"
            (health,) = pools["releases"].health()
            assert health.is_failing

    async def test_a_stated_sha256_is_told_and_not_hashed_again(self, secret: Path) -> None:
        field = f"x-amz-checksum-sha256: {SHA256}"
        async with (
            scripted(found(field, content=b"other"), secret=secret) as (_, pools),
            pools["releases"].get("/x") as response,
        ):
            assert response.stated_sha256 == hashlib.sha256(BODY).digest()
            assert [chunk async for chunk in response.chunks()] == [b"other"]

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param([f"x-amz-checksum-sha256: {SHA256}-3"], id="of-parts"),
            pytest.param(
                [f"x-amz-checksum-sha256: {SHA256}", "x-amz-checksum-type: COMPOSITE"],
                id="composite",
            ),
            pytest.param(["x-amz-checksum-sha256: AAAA"], id="short"),
            pytest.param(["x-amz-checksum-sha256: %%%"], id="nonsense"),
        ],
    )
    async def test_a_checksum_of_checksums_states_nothing(
        self, fields: list[str], secret: Path
    ) -> None:
        async with (
            scripted(found(*fields), secret=secret) as (_, pools),
            pools["releases"].get("/x", expected_sha256=b"e" * 32) as response,
        ):
            assert response.stated_sha256 == b""

    async def test_another_crc32_than_stated_is_a_broken_body(self, secret: Path) -> None:
        field = f"x-amz-checksum-crc32: {CRC32}"
        async with scripted(found(field), secret=secret) as (_, pools):
            assert (await fetch(pools["releases"]))[1] == BODY
        flipped = bytes([BODY[0] ^ 1]) + BODY[1:]
        async with scripted(found(field, content=flipped), secret=secret) as (_, pools):
            exc = await failure_of(pools["releases"])
            assert exc.reason.startswith("the content has another CRC32 than its store states")

    async def test_what_is_vouched_for_is_hashed_once_where_that_is_compared(
        self, secret: Path
    ) -> None:
        answer = found(f"x-amz-checksum-crc32: {CRC32}", content=b"other")
        async with (
            scripted(answer, secret=secret) as (_, pools),
            pools["releases"].get("/x", expected_sha256=b"e" * 32) as response,
        ):
            assert [chunk async for chunk in response.chunks()] == [b"other"]


class TestMixedPool:
    async def test_a_url_with_another_checksum_is_passed_over(self, secret: Path) -> None:
        log = RecordingLog()
        expected = b"e" * 32
        bucket = found(f"x-amz-checksum-sha256: {SHA256}")
        async with (
            origins([bucket], [reply(200, b"right")]) as (s3, cdn),
            s3_pools("s3://bucket", cdn.url, endpoint=s3.url, secret=secret, log=log) as pools,
        ):
            async with pools["releases"].get("/x", expected_sha256=expected) as response:
                assert [chunk async for chunk in response.chunks()] == [b"right"]
            ((name, fields),) = log.events
            assert (name, fields["url"]) == ("upstream-checksum-differs", "s3://bucket/x")
            assert fields["expected"] == expected.hex()
            assert not pools["releases"].health()[0].is_failing

    async def test_when_no_url_has_the_expected_object_the_error_names_both(
        self, secret: Path
    ) -> None:
        bucket = found(f"x-amz-checksum-sha256: {SHA256}")
        async with (
            origins([bucket], [reply(500)]) as (s3, cdn),
            s3_pools("s3://bucket", cdn.url, endpoint=s3.url, secret=secret) as pools,
        ):
            with pytest.raises(VerificationError) as caught:
                async with pools["releases"].get("/x", expected_sha256=b"e" * 32):
                    raise AssertionError("nothing may be given")
            assert caught.value.expected == (b"e" * 32).hex()
            assert hashlib.sha256(BODY).hexdigest() in caught.value.got

    async def test_the_next_url_answers_for_a_bucket_in_trouble(self, secret: Path) -> None:
        async with (
            origins([error(404, "NoSuchBucket")], [reply(200, b"cdn")]) as (s3, cdn),
            s3_pools("s3://bucket", cdn.url, endpoint=s3.url, secret=secret) as pools,
        ):
            assert (await fetch(pools["releases"]))[1] == b"cdn"
            assert [h.is_failing for h in pools["releases"].health()] == [True, False]


class TestDescribe:
    async def test_a_bucket_says_all_there_is(self, secret: Path) -> None:
        fields = [
            f"ETag: {ETAG}",
            f"x-amz-checksum-sha256: {SHA256}",
            "x-amz-version-id: v7",
            "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT",
        ]
        async with scripted(reply(200, b"", *fields, length=24), secret=secret) as (s3, pools):
            upstream = await pools["releases"].describe("/x")
            assert s3.requests == ["HEAD /bucket/pre/x HTTP/1.1"]
            assert upstream is not None
            assert (upstream.size_bytes, upstream.version_id) == (24, "v7")
            assert upstream.sha256 == hashlib.sha256(BODY).digest()
            assert upstream.md5 == hashlib.md5(BODY, usedforsecurity=False).digest()

    async def test_a_missing_key_is_none_and_a_missing_bucket_an_error(self, secret: Path) -> None:
        head = reply(404, b"")
        async with scripted(head, error(404, "NoSuchKey"), secret=secret) as (_, pools):
            assert await pools["releases"].describe("/x") is None
        async with scripted(head, error(404, "NoSuchBucket"), secret=secret) as (_, pools):
            with pytest.raises(UpstreamError, match="there is no bucket"):
                await pools["releases"].describe("/x")

    async def test_http_is_asked_by_head(self, secret: Path) -> None:
        answer = reply(200, b"", 'ETag: "e"', length=9)
        async with (
            origins([answer]) as (cdn,),
            s3_pools(cdn.url, endpoint="", secret=secret) as pools,
        ):
            upstream = await pools["releases"].describe("/x")
            assert cdn.requests == ["HEAD /x HTTP/1.1"]
            assert upstream is not None
            assert (upstream.size_bytes, upstream.etag, upstream.md5) == (9, '"e"', b"")

    async def test_what_says_neither_is_an_error(self, secret: Path) -> None:
        async with (
            origins([reply(403, b"")]) as (cdn,),
            s3_pools(cdn.url, endpoint="", secret=secret) as pools,
        ):
            with pytest.raises(UpstreamError, match="status 403"):
                await pools["releases"].describe("/x")


def test_a_secret_is_in_no_repr_and_its_file_is_named_when_unusable(tmp_path: Path) -> None:
    access = S3Access(
        settings=S3(),
        secret="very-secret",
        user_agent="u",
        proxy="",
        connect_timeout_s=1,
        read_timeout_s=1,
    )
    assert "very-secret" not in repr(access)
    for name, content in (("absent", None), ("empty", b"\n"), ("binary", b"\xff")):
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        settings = S3(access_key_id="A", secret_access_key_file=str(file))
        with pytest.raises(ConfigError) as caught:
            read_secret(settings, "upstream.crates.s3")
        assert caught.value.key == "upstream.crates.s3.secret_access_key_file"


@pytest.mark.parametrize(("url", "is_loaded"), [("https://h", False), ("s3://bucket", True)])
def test_only_an_s3_url_brings_the_s3_library_in(url: str, is_loaded: bool) -> None:
    program = (
        "import asyncio, sys\n"
        "import mirror.app_keeper\n"
        "from mirror.config import Config, Releases, Upstream\n"
        "from mirror.upstream.pools import open_pools\n"
        "async def main():\n"
        f"    upstream = Upstream(releases=Releases(urls=({url!r},)))\n"
        "    pools = open_pools(upstream, own_token='t', meter=None, clock=None, log=None)\n"
        "    await pools.aclose()\n"
        "asyncio.run(main())\n"
        "print(any(name.split('.')[0] in ('botocore', 'aiobotocore') for name in sys.modules))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.stdout, ended.stderr) == (f"{is_loaded}\n", "")

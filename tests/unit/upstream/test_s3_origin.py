"""`mirror.upstream.s3_origin` and its client: S3's answers in HTTP's words, over the pool's own
connections. What the server says is scripted here; a real one plays in `tests/scenario`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from mirror.errors import UpstreamError
from mirror.upstream.s3_origin import VERSIONS_MAX
from tests.unit.upstream.s3_world import (
    BODY,
    CRC32,
    ETAG,
    SHA256,
    error,
    failure_of,
    fetch,
    found,
    part,
    s3_pools,
    scripted,
)
from tests.unit.upstream.scripted_origin import (
    Answer,
    cut,
    origins,
    reply,
)


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

    @pytest.mark.full
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

"""A pool of buckets and HTTP URLs asks them in order, whatever they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mirror.errors import VerificationError
from tests.unit.upstream.s3_world import (
    BODY,
    SHA256,
    error,
    fetch,
    found,
    s3_pools,
)
from tests.unit.upstream.scripted_origin import (
    RecordingLog,
    origins,
    reply,
)


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

"""What the S3 client sends: keys, signatures, roles; and when its library is loaded at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from botocore.exceptions import NoCredentialsError

from mirror.config import S3
from mirror.errors import ConfigError
from mirror.secret_files import read_secret
from mirror.upstream.queueing import Queueing
from mirror.upstream.s3_client import S3Access, S3Client
from tests.unit.upstream.s3_world import (
    BODY,
    ETAG,
    failure_of,
    fetch,
    found,
    scripted,
)
from tests.unit.upstream.scripted_origin import (
    RecordingMeter,
    origins,
    reply,
)


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
                await client.call("get_object", key, Queueing(lambda: None))
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIENVIRONMENT")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
            response = await client.call("get_object", key, Queueing(lambda: None))
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
        (only,) = meter.begun
        assert (only.pool, only.path, only.url) == ("releases", "/dist/x", "s3://bucket/pre")
        assert (only.received_bytes, only.end) == (len(BODY), (True, ""))
        assert only.head_bytes == len(found()) - len(BODY)

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

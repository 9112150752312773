"""`mirror.upstream.described`: what a HEAD says, and whether it is what is stored."""

from __future__ import annotations

import hashlib

import pytest

from mirror.errors import UpstreamError
from mirror.upstream.described import (
    Agreement,
    Divergence,
    StoredFacts,
    Unknown,
    UpstreamObject,
    compare,
    described,
)

BODY = b"content"
SHA256 = hashlib.sha256(BODY).digest()
MD5 = hashlib.md5(BODY, usedforsecurity=False).digest()
TAG = f'"{MD5.hex()}"'
S3_FIELDS = {"x-amz-request-id": "1", "etag": TAG, "content-length": "7"}


def upstream(**changes: object) -> UpstreamObject:
    plain: dict[str, object] = {
        "url": "s3://b/k",
        "size_bytes": 7,
        "etag": "",
        "md5": b"",
        "sha256": b"",
        "version_id": "",
        "last_modified": "",
        **changes,
    }
    return UpstreamObject(**plain)  # type: ignore[arg-type] # a table of facts


def stored(**changes: object) -> StoredFacts:
    plain: dict[str, object] = {"size_bytes": 7, "sha256": SHA256, "md5": lambda: MD5, **changes}
    return StoredFacts(**plain)  # type: ignore[arg-type] # a table of facts


@pytest.mark.parametrize(
    ("there", "here", "verdict"),
    [
        pytest.param(None, {}, Divergence, id="gone"),
        pytest.param({"size_bytes": 8}, {}, Divergence, id="size"),
        pytest.param({"size_bytes": 8, "sha256": SHA256}, {}, Divergence, id="size-before-all"),
        pytest.param({"sha256": SHA256}, {}, Agreement, id="sha256"),
        pytest.param({"sha256": b"o" * 32}, {}, Divergence, id="other-sha256"),
        pytest.param({"sha256": b"o" * 32, "md5": MD5}, {}, Divergence, id="sha256-before-md5"),
        pytest.param({"version_id": "v"}, {"version_id": "v"}, Agreement, id="version"),
        pytest.param({"version_id": "v"}, {"version_id": "u"}, Unknown, id="other-version-alone"),
        pytest.param({"etag": '"e"'}, {"etag": '"e"'}, Agreement, id="tag"),
        pytest.param({"etag": 'W/"e"'}, {"etag": 'W/"e"'}, Unknown, id="weak-tag"),
        pytest.param({"etag": '"e"'}, {"etag": '"f"'}, Unknown, id="other-tag-alone"),
        pytest.param({"md5": MD5}, {}, Agreement, id="md5"),
        pytest.param({"md5": b"o" * 16}, {}, Divergence, id="other-md5"),
        pytest.param({"md5": b"o" * 16}, {"md5": None}, Unknown, id="md5-not-read"),
        pytest.param({"size_bytes": -1}, {}, Unknown, id="nothing-said"),
        pytest.param({}, {}, Unknown, id="size-alone"),
    ],
)
def test_verdicts(
    there: dict[str, object] | None, here: dict[str, object], verdict: type[object]
) -> None:
    other = None if there is None else upstream(**there)
    assert isinstance(compare(stored(**here), other), verdict)


def test_a_divergence_says_what_differs_and_since_when() -> None:
    found = compare(stored(), upstream(sha256=b"o" * 32, last_modified="Mon", version_id="v2"))
    assert found == Divergence(
        reason=f"upstream's has the SHA-256 {(b'o' * 32).hex()}, ours {SHA256.hex()}"
        " (last modified Mon, version v2)"
    )


def test_the_stored_bytes_are_read_only_when_nothing_else_decides() -> None:
    def read() -> bytes:
        raise AssertionError("read for nothing")

    assert compare(stored(md5=read), upstream(sha256=SHA256, md5=MD5)) == Agreement(
        by="its SHA-256"
    )


@pytest.mark.parametrize(
    ("fields", "md5"),
    [
        pytest.param(S3_FIELDS, MD5, id="s3"),
        pytest.param({"server": "AmazonS3", "etag": TAG}, MD5, id="s3-by-its-name"),
        pytest.param({"etag": TAG}, b"", id="anybody"),
        pytest.param({**S3_FIELDS, "etag": f'"{MD5.hex()}-3"'}, b"", id="multipart"),
        pytest.param({**S3_FIELDS, "etag": f"W/{TAG}"}, b"", id="weak"),
        pytest.param({**S3_FIELDS, "x-amz-server-side-encryption": "AES256"}, MD5, id="sse-s3"),
        pytest.param({**S3_FIELDS, "x-amz-server-side-encryption": "aws:kms"}, b"", id="kms"),
        pytest.param(
            {**S3_FIELDS, "x-amz-server-side-encryption-customer-algorithm": "AES256"},
            b"",
            id="own-key",
        ),
    ],
)
def test_an_entity_tag_is_an_md5_only_where_s3_makes_it_one(
    fields: dict[str, str], md5: bytes
) -> None:
    found = described(200, "u", fields, b"")
    assert found is not None
    assert found.md5 == md5


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_gone_is_none(status: int) -> None:
    assert described(status, "u", {}, b"") is None


@pytest.mark.parametrize("status", [206, 403, 451])
def test_another_status_says_nothing(status: int) -> None:
    with pytest.raises(UpstreamError, match=str(status)):
        described(status, "u", {}, b"")


@pytest.mark.parametrize(
    ("fields", "size_bytes"),
    [
        pytest.param({"content-length": "7"}, 7, id="length"),
        pytest.param({}, -1, id="none"),
        pytest.param({"content-length": "x"}, -1, id="nonsense"),
        pytest.param({"content-length": "7", "content-encoding": "gzip"}, -1, id="coded"),
    ],
)
def test_a_size_counts_only_when_it_is_the_contents(
    fields: dict[str, str], size_bytes: int
) -> None:
    found = described(200, "u", fields, b"")
    assert found is not None
    assert found.size_bytes == size_bytes

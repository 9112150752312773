"""What upstream says of an object without its content, compared with what is stored.

Rules:
1. Two facts that differ are a divergence; at least one equal checksum is an agreement; equal or
   unknown sizes alone prove nothing.
2. An entity tag counts as the content's MD5 only where S3 makes it one: 32 hexadecimal digits, from
   an S3 store, not a multipart upload's (`…-N`), not under a key of KMS or the customer's.
3. The same entity tag or version as at the fill is an agreement; another one alone is none: an
   object may be uploaded again with the same bytes.
4. What needs the stored bytes read is asked for last, and only when nothing else decided.

Units: bytes. Runs in: keeper and commands. Pure.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mirror.errors import UpstreamError

_MD5_TAG = re.compile(r'"([0-9a-f]{32})"')
_S3_FIELDS = ("x-amz-request-id", "x-amz-version-id", "x-amz-id-2")
_SHA256_BYTES = 32
_CRC32_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamObject:
    """`size_bytes` -1, other fields empty: not said. `md5`: what the entity tag means (rule 2)."""

    url: str
    size_bytes: int
    etag: str
    md5: bytes
    sha256: bytes
    version_id: str
    last_modified: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFacts:
    """What is known of the stored object. `md5` reads it when called; None: it may not be read."""

    size_bytes: int
    sha256: bytes
    etag: str = ""
    version_id: str = ""
    md5: Callable[[], bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """`by`: which fact is equal, in plain words."""

    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    reason: str


def described(
    status: int, url: str, fields: Mapping[str, str], sha256: bytes
) -> UpstreamObject | None:
    """Return what the answer to a HEAD says; None: no such object. Raises: UpstreamError."""
    if status in (404, 410):
        return None
    if status != 200:
        raise UpstreamError(url, f"status {status}", upstream_status=status, retryable=False)
    length = fields.get("content-length", "")
    is_whole = not fields.get("content-encoding", "")
    return UpstreamObject(
        url=url,
        size_bytes=int(length) if is_whole and length.isascii() and length.isdigit() else -1,
        etag=fields.get("etag", ""),
        md5=_md5_of(fields),
        sha256=sha256,
        version_id=fields.get("x-amz-version-id", ""),
        last_modified=fields.get("last-modified", ""),
    )


def compare(
    stored: StoredFacts, upstream: UpstreamObject | None
) -> Agreement | Divergence | Unknown:
    """Say whether upstream still has what is stored; may call `stored.md5`."""
    if upstream is None:
        return Divergence(reason="upstream has no such object any more")
    if upstream.size_bytes not in (-1, stored.size_bytes):
        return Divergence(
            reason=f"upstream's has {upstream.size_bytes} bytes, ours {stored.size_bytes}"
            + _when(upstream)
        )
    if upstream.sha256:
        if upstream.sha256 == stored.sha256:
            return Agreement(by="its SHA-256")
        reason = f"upstream's has the SHA-256 {upstream.sha256.hex()}, ours {stored.sha256.hex()}"
        return Divergence(reason=reason + _when(upstream))
    if upstream.version_id and upstream.version_id == stored.version_id:
        return Agreement(by="its version")
    if upstream.etag.startswith('"') and upstream.etag == stored.etag:
        return Agreement(by="its entity tag")
    return _compare_md5(stored, upstream)


def stated_sha256(fields: Mapping[str, str]) -> bytes:
    """Return the checksum of the whole content that S3 states, or b""."""
    return _full_checksum(fields, "x-amz-checksum-sha256", _SHA256_BYTES)


def stated_crc32(fields: Mapping[str, str]) -> int:
    """Return the CRC32 of the whole content that S3 states, or -1."""
    value = _full_checksum(fields, "x-amz-checksum-crc32", _CRC32_BYTES)
    return int.from_bytes(value, "big") if value else -1


def _compare_md5(stored: StoredFacts, upstream: UpstreamObject) -> Agreement | Divergence | Unknown:
    if not upstream.md5:
        return Unknown(reason="upstream states no checksum of it")
    if stored.md5 is None:
        return Unknown(reason="upstream states its MD5 only, and ours was not read")
    md5 = stored.md5()
    if md5 == upstream.md5:
        return Agreement(by="its MD5")
    reason = f"upstream's has the MD5 {upstream.md5.hex()}, ours {md5.hex()}"
    return Divergence(reason=reason + _when(upstream))


def _when(upstream: UpstreamObject) -> str:
    said = [upstream.last_modified and f"last modified {upstream.last_modified}"]
    said.append(upstream.version_id and f"version {upstream.version_id}")
    known = ", ".join(part for part in said if part)
    return f" ({known})" if known else ""


def _md5_of(fields: Mapping[str, str]) -> bytes:
    """RFC 9110 gives a tag no meaning; that of S3 has one for plain uploads."""
    is_s3 = fields.get("server", "") == "AmazonS3" or any(name in fields for name in _S3_FIELDS)
    is_plain = fields.get("x-amz-server-side-encryption", "AES256") == "AES256"
    is_plain = is_plain and "x-amz-server-side-encryption-customer-algorithm" not in fields
    found = _MD5_TAG.fullmatch(fields.get("etag", ""))
    return bytes.fromhex(found[1]) if found and is_s3 and is_plain else b""


def _full_checksum(fields: Mapping[str, str], name: str, length: int) -> bytes:
    """A multipart upload's checksum is one of checksums ("…-N"), and says so."""
    if fields.get("x-amz-checksum-type", "FULL_OBJECT") != "FULL_OBJECT":
        return b""
    try:
        value = base64.b64decode(fields.get(name, ""), validate=True)
    except (binascii.Error, ValueError):
        return b""
    return value if len(value) == length else b""

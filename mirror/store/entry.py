"""The values that the store keeps: what a key names, and which file holds it.

Rules:
1. A name maps to a digest, never to bytes.
2. Digests are 32 raw bytes; times are Unix seconds; lengths are bytes.

Runs in: worker and keeper. Pure.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

# A channel's three files, which switch together: by their `.sha256` alone, or by a signature too.
DIGEST_GENERATION: Final = "generation"
SIGNED_GENERATION: Final = "signed-generation"
GENERATION_PROOFS: Final = frozenset((DIGEST_GENERATION, SIGNED_GENERATION))
_FORMER: Final = "#former"
GZIP: Final = "gzip"  # the one coding that variants are stored in


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """The file's identity right after its last full hash; served only while `fstat` agrees."""

    inode: int
    size: int
    ctime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One stored response.

    `status` is 200 (a blob of `digest`) or 404 (a remembered absence; digest b"", length 0).
    `fresh_until` is `math.inf` for what never changes. `confirmed_at`: when upstream last vouched.
    `validators` are upstream's, for conditional requests. `last_modified` 0: unknown.
    `proof` says in one word what vouched: "index", "manifest", "sha256", "signature" (a detached
    signature over the object itself), "signed-generation", "generation" (its `.sha256` only), "key"
    (the pinned fingerprints), "agrees" (a `.sha256` or `.asc` that agrees with its subject), or
    "parsed" (nobody vouches; its form was checked).
    `voucher` says who in particular: a key and the digest of what it named then ("<key>@<hex>"), or
    a fingerprint; of a channel's file always its generation, the manifest's "<key>@<hex>".
    `upstream_version` is the version id that a versioned bucket gave; "": none.
    `verified_at` is when bytes and voucher were compared; 0: by a version that did not note it.
    """

    key: str
    status: int
    digest: bytes
    length: int
    media_type: str
    last_modified: int
    upstream_etag: str
    upstream_last_modified: str
    fetched_at: float
    confirmed_at: float
    fresh_until: float
    proof: str
    voucher: str = ""
    verified_at: float = 0.0
    upstream_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An entry with the file that holds it; `attestation` is None for status 404."""

    entry: Entry
    attestation: Attestation | None


class NoVariant(enum.Enum):
    """Why there is no coded form of a stored response's content."""

    UNKNOWN = "unknown"  # it was not made yet, or its file has gone
    POINTLESS = "pointless"  # it was made, and was hardly smaller


def former_key(key: str) -> str:
    """Return the name under which the generation before the current one of a channel is kept.

    No request can name it: "#" is in no grammar.
    """
    return key + _FORMER


def current_key(key: str) -> str:
    """Return the name that the current generation has where `key` names the former one's file;
    every other key is returned as it is."""
    return key.removesuffix(_FORMER)

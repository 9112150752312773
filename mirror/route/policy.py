"""What each kind of object asks of the caches: how long, how big, vouched for by what.

Rules:
1. `immutable` is said only of bytes that a digest stated elsewhere ties to their name.
2. A moving object tells downstream caches no longer freshness than this mirror gives it by default:
   60 seconds.
3. Nothing is answered that has less than its class requires (`requirement`): a signature by a
   pinned key, or a digest that another document states, or nothing. "Nothing" is only for classes
   that nobody upstream vouches for: sparse index files (they state the digests), the list of
   manifests, rustup's installer script and its release file (which only never goes back). Their
   bodies are read whole and checked for their form before the first byte is answered.
   The operator moves two of them: `[trust] channel_manifest = "digest"` is for trees that nobody
   signs, `[trust] archive = "signature"` asks a signature of each archive on top of its digest.
4. Limits on bytes are there to stop an endless body, not to judge a publisher's taste: each is
   several times the largest object known of its kind.
5. Text has a stored gzip variant (`may_vary`), archives and crates never: they are compressed, and
   a client that undoes a Content-Encoding would compare the digest of something else.

Units: bytes, seconds. Does not know `[freshness]`: the keeper applies the operator's values.

Runs in: both. Pure.
"""

from __future__ import annotations

import enum
from typing import Final

from mirror.route.route import Kind, Route, Tempo


class Require(enum.Enum):
    """What must vouch for a body before it is answered whole."""

    SIGNATURE = "signature"
    DIGEST = "digest"
    NONE = "none"


_REQUIRED: Final = {
    Kind.CHANNEL: Require.SIGNATURE,
    Kind.CHANNEL_V1: Require.SIGNATURE,  # else it is a way around the signed manifest
    Kind.ARCHIVE: Require.DIGEST,
    Kind.ARCHIVE_PROOF: Require.DIGEST,  # of the subject: a proof is answered when it agrees
    Kind.MANIFESTS: Require.NONE,
    Kind.RELEASE_KEY: Require.SIGNATURE,  # not signed, but pinned by its fingerprints
    Kind.RUSTUP_HEAD: Require.NONE,
    Kind.RUSTUP_BINARY: Require.DIGEST,  # upstream signs none, rustup checks none
    Kind.RUSTUP_PROOF: Require.DIGEST,
    Kind.INDEX_FILE: Require.NONE,
    Kind.CRATE: Require.DIGEST,
}

_IMMUTABLE: Final = b"public, max-age=31536000, immutable"
_LONG: Final = b"public, max-age=86400"  # what upstream's CDN gives everything by default
_SHORT: Final = b"public, max-age=60"

_LONG_TEMPOS: Final = frozenset((Tempo.FOREVER, Tempo.UNDATED))
_DIGEST_STATED: Final = frozenset((Kind.ARCHIVE, Kind.RUSTUP_BINARY, Kind.CRATE))
_SMALL: Final = frozenset(Kind) - _DIGEST_STATED
_PARTNERS: Final = frozenset(
    (
        Kind.CHANNEL_V1,
        Kind.ARCHIVE,
        Kind.ARCHIVE_PROOF,
        Kind.RUSTUP_BINARY,
        Kind.RUSTUP_PROOF,
    )
)

# What gzip -6 leaves of each, measured: a sparse index file 7 to 16 % (cargo asks for it on every
# request), a channel manifest 8 to 22 %, the list of manifests 4 %, scripts and the key 30 to 75 %.
_CODED: Final = frozenset(
    (
        Kind.INDEX_FILE,
        Kind.CHANNEL,
        Kind.CHANNEL_V1,
        Kind.MANIFESTS,
        Kind.RUSTUP_HEAD,
        Kind.RELEASE_KEY,
    )
)
_NEVER_CODED: Final = (".sha256", ".asc")  # a line, and a signature that does not compress
# Below it the coded form saves one or two segments of TCP, for 12 KiB of the store's budget.
CODED_MIN_BYTES: Final = 2048

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_GIB: Final = 1024 * _MIB
_MAX_BYTES: Final = {
    Kind.CHANNEL: 8 * _MIB,  # 1 MB in 2026
    Kind.CHANNEL_V1: 1 * _MIB,
    Kind.ARCHIVE: 16 * _GIB,  # the fattest are below 1 GB
    Kind.ARCHIVE_PROOF: 64 * _KIB,
    Kind.MANIFESTS: 8 * _MIB,  # 60 bytes per published manifest, about 1 MB
    Kind.RELEASE_KEY: 1 * _MIB,
    Kind.RUSTUP_HEAD: 1 * _MIB,
    Kind.RUSTUP_BINARY: 512 * _MIB,
    Kind.RUSTUP_PROOF: 64 * _KIB,
    Kind.INDEX_FILE: 8 * _MIB,  # decoded; 2 MB for the largest crates
    Kind.CRATE: 2 * _GIB,  # 10 MB unless crates.io allows one crate more
}


def cache_control(route: Route) -> bytes:
    """The Cache-Control value of a 200 for `route`."""
    if route.tempo not in _LONG_TEMPOS:
        return _SHORT
    is_tied = route.tempo is Tempo.FOREVER and route.kind in _DIGEST_STATED
    return _IMMUTABLE if is_tied else _LONG


def is_small(kind: Kind) -> bool:
    """Whether the keeper reads such objects whole into memory before it answers."""
    return kind in _SMALL


def states_digest(kind: Kind) -> bool:
    """Whether another upstream document states the digest of such an object before it is fetched.

    Not true of a channel: its `.sha256` moves with it, and the two are judged as one generation.
    """
    return kind in _DIGEST_STATED


def may_vary(route: Route) -> bool:
    """Whether what is answered for `route` may depend on Accept-Encoding (rule 5)."""
    return route.kind in _CODED and not route.path.endswith(_NEVER_CODED)


def has_partner(kind: Kind) -> bool:
    """Whether it is checked by the file beside it, or checks that: a client asks for one after the
    other, and each moves by itself. (A channel's files move as one generation.)"""
    return kind in _PARTNERS


def requirement(kind: Kind) -> Require:
    """What must vouch for a body of this kind (rule 3)."""
    return _REQUIRED[kind]


def max_bytes(kind: Kind) -> int:
    """The most bytes that a body of this kind may have."""
    return _MAX_BYTES[kind]

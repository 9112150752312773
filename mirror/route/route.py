"""What a request target names: a cache key with its kind, or an answer made here.

Rules:
1. Two accepted raw targets with one key name the same bytes.
2. A key is `<upstream>:<path>`; the path is the canonical one that is sent upstream.
3. What is not in the grammar is a `Refusal`; it never reaches the keeper or an upstream.

Runs in: worker and keeper. Pure.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class ContentClass(enum.Enum):
    """The classes of the ledger; the order is the layout of the counters page."""

    RELEASE = "release"
    RUSTUP = "rustup"
    CRATE = "crate"
    INDEX = "index"


class UpstreamName(enum.Enum):
    """The three pools of `[upstream.*]`."""

    RELEASES = "releases"
    CRATES = "crates"
    INDEX = "index"


class Kind(enum.Enum):
    """What an object is; `route.policy` says how each kind is kept fresh and vouched for."""

    CHANNEL = "channel"  # channel-rust-X.toml and its .sha256 and .asc: one generation
    CHANNEL_V1 = "channel-v1"  # channel-rust-X without .toml, and its .sha256 and .asc
    ARCHIVE = "archive"  # dist archives, installers, source; dated or not
    ARCHIVE_PROOF = "archive-proof"  # the .sha256 or .asc beside one of those
    MANIFESTS = "manifests"  # /manifests.txt
    RELEASE_KEY = "release-key"  # /rust-key.gpg.ascii
    RUSTUP_HEAD = "rustup-head"  # release-stable.toml, rustup-init.sh: nobody states a digest
    RUSTUP_BINARY = "rustup-binary"  # rustup-init under dist/ (moves) or archive/<version>/ (never)
    RUSTUP_PROOF = "rustup-proof"  # the .sha256 beside one of those
    INDEX_FILE = "index-file"
    CRATE = "crate"


class Local(enum.Enum):
    """Answers that the worker makes itself."""

    FRONT_PAGE = "front-page"
    LIVEZ = "livez"
    READYZ = "readyz"
    INDEX_CONFIG = "index-config"  # config.json of the sparse registry
    RUSTUP_SH = "rustup-sh"  # 301 to /rustup/rustup-init.sh
    ROBOTS = "robots"


class Tempo(enum.Enum):
    """How long a kind stays fresh; names the key of `[freshness]`, FOREVER has none."""

    FOREVER = "forever"
    CHANNEL = "channel"
    RUSTUP = "rustup"
    INDEX = "index"
    UNDATED = "undated"
    MANIFESTS = "manifests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A stored or storable object.

    `path` begins with "/" and is canonical ASCII (a version's "+" is raw). `claim` is the digest
    that the client put into a crate's path (32 bytes) or b"": compared, never trusted.
    """

    key: str
    kind: Kind
    upstream: UpstreamName
    path: str
    tempo: Tempo
    content_class: ContentClass
    media_type: str
    claim: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRoute:
    local: Local


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """`status` is 400, 404 or 421; `reason` is one plain sentence; `close` ends the connection."""

    status: int
    reason: str
    close: bool = False

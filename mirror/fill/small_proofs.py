"""What vouches for a small object that has no digest stated elsewhere, beyond its form.

1. The release key: its fingerprints are the pinned ones, while signatures are required of anything.
2. rustup's release file: never an older version than one that was taken here before. The newest is
   in the state database, durable before a client sees it, so that it outlives store and keeper.
3. For the rest (index files, `manifests.txt`, `rustup-init.sh`) nobody vouches; `policy` says so.

Rules:
1. What is refused is an event and never stored or served; the good copy that is stored goes on.
2. The first release file ever is noted: there is nothing to compare it with.

Runs in: keeper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mirror.errors import UpstreamError, VerificationError
from mirror.fill.parts import FillParts
from mirror.route.policy import Require, requirement
from mirror.route.route import Kind, Route
from mirror.verify.openpgp import read_release_key
from mirror.verify.rustup_release import parse_rustup_release

RELEASE_PATH: Final = "/rustup/release-stable.toml"
NEWEST_FACT: Final = "rustup-release"  # in the state database: the newest version taken here


class RustupRollbackError(VerificationError):
    """Upstream offers an older rustup than it did before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallProof:
    """`proof` and `voucher` of an entry."""

    proof: str
    voucher: str = ""


_FORM_ONLY = SmallProof(proof="parsed")


class SmallProofs:
    """Asks the configuration and the state database."""

    def __init__(self, parts: FillParts) -> None:
        self._parts = parts

    async def of(self, route: Route, content: bytes) -> SmallProof:
        """Return what vouches for `content`, whose form is right.

        Raises: VerificationError when it is not what it may be; StoreError when that cannot be
        noted; UpstreamError for what must be vouched for and is not (a slip in this program).
        """
        if route.kind is Kind.RELEASE_KEY:
            return await self._of_key(route, content)
        if route.path == RELEASE_PATH:
            await self._note_release(route, content)
        if requirement(route.kind) is not Require.NONE:
            raise UpstreamError(route.key, "nobody vouches for it", retryable=False, status=502)
        return _FORM_ONLY

    async def _of_key(self, route: Route, content: bytes) -> SmallProof:
        trust = self._parts.config.trust
        if "signature" not in (trust.channel_manifest, trust.archive):
            return _FORM_ONLY  # a private tree: no pinned key is used, so none is expected
        key = await self._parts.desk.compute(
            read_release_key, content, trust.release_key_fingerprints, route.key
        )
        return SmallProof(proof="key", voucher=key.fingerprint)

    async def _note_release(self, route: Route, content: bytes) -> None:
        release = parse_rustup_release(content, route.key)
        trust, compute = self._parts.trust, self._parts.desk.compute
        newest = await compute(trust.fact, NEWEST_FACT)
        if newest is not None and release.is_before(newest):
            raise RustupRollbackError(route.key, expected=f"{newest} or later", got=release.version)
        if newest != release.version:
            await compute(trust.set_fact, NEWEST_FACT, release.version)

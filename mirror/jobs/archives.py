"""What vouches for archives and rustup binaries: a manifest, a signature of their own, a `.sha256`.

Rules:
1. The manifest that vouched is found under the name that the entry notes: current, former, or the
   copy below its date; only then another manifest of that date that states the same path.
2. An entry that notes no name (a rescan) is looked up in every manifest of its date.

Runs in: commands and keeper (jobs).
"""

from __future__ import annotations

from collections.abc import Iterator

from mirror.errors import VerificationError
from mirror.jobs.chain import (
    DIGEST_ONLY,
    Step,
    good,
    lost,
    moment,
    note,
    upstream_words,
    weak,
    wrong,
)
from mirror.jobs.generations import Generations
from mirror.jobs.shelf import DamagedError, Shelf
from mirror.jobs.signatures import Signatures
from mirror.route.dist import dated
from mirror.route.proofs import may_have_sibling, sibling
from mirror.route.route import Route
from mirror.store.entry import Entry, Stored, former_key
from mirror.verify.digests import parse_sha256_file

_MANIFESTS_OF_DATE = 64  # a date has as many manifests as channels were released on it: three


class Archives:
    """Steps of large objects; `is_whole`: signatures over their bytes are verified too."""

    def __init__(
        self,
        shelf: Shelf,
        signatures: Signatures,
        generations: Generations,
        *,
        urls: tuple[str, ...],
        is_whole: bool,
    ) -> None:
        self._shelf = shelf
        self._signatures = signatures
        self._generations = generations
        self._urls = urls
        self._is_whole = is_whole

    def steps(self, entry: Entry, route: Route) -> list[Step]:
        found = self._by_manifest(entry, route)
        if entry.proof == "signature":
            return [*found, *self._by_signature(entry, route)]
        return found or self._by_digest_file(entry, route)

    def _by_manifest(self, entry: Entry, route: Route) -> list[Step]:
        """Return the steps; none when no manifest is concerned."""
        key, _, name = entry.voucher.rpartition("@")
        for manifest in self._manifests(key, route):
            is_voucher = manifest.entry.digest.hex() == name
            try:
                stated = self._generations.stated(manifest).get(route.path)
            except DamagedError:
                raise
            except VerificationError as exc:
                return [wrong(manifest.entry.key, exc.message)]
            if stated is None and not is_voucher:
                continue
            return self._stated(entry, manifest, stated)
        if entry.proof != "manifest":
            return []
        by = entry.voucher or "a manifest that was not noted"
        text = f"it was compared with {by} on {moment(entry.verified_at)}, which is not stored now"
        return [lost(entry.key, text)]

    def _stated(self, entry: Entry, manifest: Stored, stated: bytes | None) -> list[Step]:
        key = manifest.entry.key
        if stated != entry.digest:
            said = "nothing of it" if stated is None else stated.hex()
            text = f"the manifest {key} states {said}, the stored object is {entry.digest.hex()}"
            return [wrong(entry.key, text)]
        text = f"the manifest {key}, stored and re-read, states this digest"
        return [good(entry.key, text), *self._generations.steps(manifest)]

    def _manifests(self, key: str, route: Route) -> Iterator[Stored]:
        """Yield the manifests that may state the path, the noted one first."""
        seen: set[bytes] = set()
        date = dated(route)
        named = [key, former_key(key)] if key.endswith(".toml") else []
        for name in named:
            manifest = self._shelf.lookup(name)
            if manifest is not None and manifest.entry.digest not in seen:
                seen.add(manifest.entry.digest)
                yield manifest
        start = f"releases:/dist/{date}/channel-rust-"
        of_date = (
            []
            if date is None
            else self._shelf.index.stored_between(start, start + "\x80", _MANIFESTS_OF_DATE)
        )
        for manifest in of_date:
            if manifest.entry.key.endswith(".toml") and manifest.entry.digest not in seen:
                yield manifest

    def _by_signature(self, entry: Entry, route: Route) -> list[Step]:
        signature = self._shelf.lookup(sibling(route, ".asc").key)
        stored = self._shelf.lookup(entry.key)
        when = f"on {moment(entry.verified_at)} its signature was verified ({entry.voucher})"
        if signature is None or stored is None:
            return [lost(entry.key, f"{when}; the .asc is no longer stored")]
        if not self._is_whole:
            return [good(entry.key, f"{when}; the .asc is stored")]
        armoured = self._shelf.content(signature)
        pieces = self._shelf.pieces(stored)
        return self._signatures.steps(entry.key, signature.entry, armoured, pieces)

    def _by_digest_file(self, entry: Entry, route: Route) -> list[Step]:
        if not may_have_sibling(route, ".sha256"):
            return [lost(entry.key, f"what vouched is not noted (proof {entry.proof!r})")]
        proof = self._shelf.lookup(sibling(route, ".sha256").key)
        if proof is None:
            by = entry.voucher or "a .sha256 that was not noted"
            text = f"on {moment(entry.verified_at)} it was compared with {by}, not stored now"
            return [lost(entry.key, text)]
        key = proof.entry.key
        try:
            stated = parse_sha256_file(self._shelf.content(proof), key)
        except DamagedError:
            raise
        except VerificationError as exc:
            return [wrong(key, exc.message)]
        if stated != entry.digest:
            return self._other_digest(entry, proof.entry, stated)
        text = f"{key}, stored and re-read, states this digest"
        unsigned = f"nobody signs that file: it came from {upstream_words(self._urls)}"
        return [good(entry.key, text), weak(entry.key, unsigned, DIGEST_ONLY)]

    def _other_digest(self, entry: Entry, proof: Entry, stated: bytes) -> list[Step]:
        text = f"{proof.key} states {stated.hex()}, the stored object is {entry.digest.hex()}"
        if proof.confirmed_at > entry.confirmed_at and entry.fresh_until != float("inf"):
            # An object that moves is fetched anew when it is asked for; its proof was first.
            moved = f"{text}: the proof is newer, the object is fetched anew when it is asked for"
            return [note(entry.key, moved), lost(entry.key, "what vouched for it was replaced")]
        return [wrong(entry.key, text)]

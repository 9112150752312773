"""Channel manifests re-read: their `.sha256`, their signature, and what they state of archives.

Rules:
1. A manifest is parsed once while it is remembered; what is remembered is bounded.
2. The steps of a generation are those of its manifest; its `.sha256` and `.asc` share them.

Cost: 0.4 s per megabyte of manifest.
Runs in: commands and keeper (jobs).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from mirror.errors import VerificationError
from mirror.jobs.chain import (
    DIGEST_ONLY,
    LEGACY,
    Grade,
    Step,
    good,
    lost,
    moment,
    note,
    upstream_words,
    weak,
    wrong,
)
from mirror.jobs.shelf import DamagedError, Shelf
from mirror.jobs.signatures import Signatures
from mirror.store.entry import SIGNED_GENERATION, Entry, Stored, former_key
from mirror.verify.channel_manifest import parse_manifest
from mirror.verify.digests import parse_sha256_file

REMEMBERED_MAX: Final = 16  # some 250 KB each; keys of one date come one after another
_FORMER: Final = former_key("")


class Generations:
    """`requires_signature`: the policy, which makes what has none a legacy release."""

    def __init__(
        self,
        shelf: Shelf,
        signatures: Signatures,
        *,
        urls: tuple[str, ...],
        requires_signature: bool,
    ) -> None:
        self._shelf = shelf
        self._signatures = signatures
        self._urls = urls
        self._requires_signature = requires_signature
        self._stated: OrderedDict[bytes, Mapping[str, bytes]] = OrderedDict()
        self._steps: OrderedDict[tuple[str, bytes], tuple[Step, ...]] = OrderedDict()

    def stated(self, manifest: Stored) -> Mapping[str, bytes]:
        """Return path -> digest. Raises VerificationError, DamagedError when it is damaged."""
        digest = manifest.entry.digest
        if digest not in self._stated:
            self._stated[digest] = dict(parse_manifest(self._shelf.content(manifest)).digests)
            while len(self._stated) > REMEMBERED_MAX:
                self._stated.popitem(last=False)
        self._stated.move_to_end(digest)
        return self._stated[digest]

    def manifest_of(self, entry: Entry) -> Stored | None:
        """Return the manifest of the generation that `entry` is a file of."""
        key, former = _split(entry.key)
        return self._shelf.lookup(key.removesuffix(".sha256").removesuffix(".asc") + former)

    def steps(self, manifest: Stored) -> tuple[Step, ...]:
        """Return what vouches for a manifest, checked again."""
        name = (manifest.entry.key, manifest.entry.digest)
        if name not in self._steps:
            try:
                content = self._shelf.content(manifest)
                self._steps[name] = (
                    *self._digest_steps(manifest.entry),
                    *self._signature_steps(manifest.entry, content),
                )
            except DamagedError as exc:
                return (wrong(exc.source, exc.message),)
            while len(self._steps) > REMEMBERED_MAX:
                self._steps.popitem(last=False)
        return self._steps[name]

    def forget(self) -> None:
        self._steps.clear()
        self._stated.clear()

    def _digest_steps(self, manifest: Entry) -> list[Step]:
        key, former = _split(manifest.key)
        digest_file = self._shelf.lookup(key + ".sha256" + former)
        if digest_file is None:
            text = f"the .sha256 beside {key} is no longer stored"
            return [lost(manifest.key, text)]
        about = digest_file.entry.key
        try:
            stated = parse_sha256_file(self._shelf.content(digest_file), about)
        except VerificationError as exc:
            return [wrong(about, exc.message)]
        if stated != manifest.digest:
            text = f"{about} states {stated.hex()}, the stored manifest is {manifest.digest.hex()}"
            return [wrong(about, text)]
        return [good(manifest.key, f"{about}, stored and re-read, states this digest")]

    def _signature_steps(self, manifest: Entry, content: bytes) -> list[Step]:
        key, former = _split(manifest.key)
        signature = self._shelf.lookup(key + ".asc" + former)
        if signature is None:
            if manifest.proof == SIGNED_GENERATION:
                text = f"its signature was verified on {moment(manifest.verified_at)} and is gone"
                return [lost(manifest.key, text)]
            return [self._unsigned(manifest, "there is no signature beside it")]
        armoured = self._shelf.content(signature)
        steps = self._signatures.steps(manifest.key, signature.entry, armoured, (content,))
        is_proved = all(step.grade is Grade.GOOD for step in steps)
        if is_proved or manifest.proof == SIGNED_GENERATION:
            return steps
        # Taken over by its digest: a signature that proves nothing is no damage.
        return [self._unsigned(manifest, step.text) for step in steps]

    def _unsigned(self, manifest: Entry, reason: str) -> Step:
        why = LEGACY if self._requires_signature else DIGEST_ONLY
        origin = upstream_words(self._urls)
        text = f"served with its .sha256 only ({reason}); both came from {origin}"
        return weak(manifest.key, text, why)


def generation_note(entry: Entry) -> Step:
    """Say which generation a channel's file belongs to."""
    name = entry.voucher or "not noted"
    return note(entry.key, f"one generation of three files, switched together: {name}")


def _split(key: str) -> tuple[str, str]:
    """Return the key as clients ask for it, and the mark of a former generation or ""."""
    return (key.removesuffix(_FORMER), _FORMER) if key.endswith(_FORMER) else (key, "")

"""A keeper whose upstream is signed by a key made for the test.

Runs in: tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from mirror.simulator.openpgp_signer import Signer
from tests.unit.fill.keeper_world import START, World

RELEASE = "release"
KEY_PATH = "/rust-key.gpg.ascii"


@cache
def signer(name: str) -> Signer:
    """One key per name: making one takes a tenth of a second."""
    return Signer()


def signature(content: bytes, by: str = RELEASE) -> bytes:
    return signer(by).detached_signature([content], int(START))


def signed_world(path: Path, *modes: str, **more: object) -> World:
    """`modes`: which of "archive" and "channel_manifest" require signatures."""
    trust = {
        "release_key_fingerprints": (signer(RELEASE).fingerprint,),
        **dict.fromkeys(modes, "signature"),
    }
    world = World(path, trust=trust, **more)  # type: ignore[arg-type] # settings by name
    world.releases.put(KEY_PATH, signer(RELEASE).public_key())
    return world


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def sampled(content: bytes, count: int) -> Iterable[int]:
    """Offsets all over `content`, first and last included."""
    step = max(1, (len(content) - 1) // count)
    return sorted({*range(0, len(content), step), len(content) - 1})

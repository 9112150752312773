"""Real signatures by the Rust release key, and the real `gpgv` as a judge.

Rules:
1. The vectors are read where they lie, beside the project; nothing of them is copied into it.
2. Where they or `gpgv` are absent, the tests that need them are skipped with the reason.
3. `gpgv` runs with a home folder of its own and a keyring that holds only the given key.

Runs in: pytest.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from mirror.errors import VerificationError
from mirror.verify.openpgp import (
    ReleaseKey,
    SignatureCheck,
    SignatureProof,
    read_release_key,
    read_signature,
)
from mirror.verify.openpgp_armour import dearmour
from mirror.verify.openpgp_key import KEY_LIMIT_BYTES

FOLDER = Path(__file__).parents[4] / "shared" / "data" / "openpgp"
PRIMARY = "108F66205EAEB0AAA8DD5E1C85AB96E6FA1BE5FE"
SUBKEY = "C13466B7E169A085188632165CB4A9347B3B09DC"

needs_vectors = pytest.mark.skipif(
    not (FOLDER / "vectors.json").exists(), reason="the real vectors do not lie beside the project"
)
needs_gpgv = pytest.mark.skipif(shutil.which("gpgv") is None, reason="gpgv is not installed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    name: str
    content: bytes
    armoured: bytes
    is_good: bool  # says gpgv
    hash_name: str
    key_id: str

    def __repr__(self) -> str:
        return f"<Vector {self.name}>"


@functools.cache
def vectors() -> tuple[Vector, ...]:
    """Return all of them; none where they are absent, so that tables can be built anyway."""
    listed = FOLDER / "vectors.json"
    rows = json.loads(listed.read_text()) if listed.exists() else []
    return tuple(
        Vector(
            name=row["file"],
            content=(FOLDER / row["file"]).read_bytes(),
            armoured=(FOLDER / row["signature"]).read_bytes(),
            is_good=row["gpgv_good"],
            hash_name=row["digest"],
            key_id=row["issuer_key_id"],
        )
        for row in rows
    )


def good_vectors() -> list[Vector]:
    return [vector for vector in vectors() if vector.is_good]


def key_file() -> bytes:
    return (FOLDER / "rust-release-key.asc").read_bytes()


@functools.cache
def release_key() -> ReleaseKey:
    return read_release_key(key_file(), (PRIMARY, SUBKEY), "release key")


def verify(content: bytes, armoured: bytes, key: ReleaseKey) -> SignatureProof:
    """Check as callers do. Raises: VerificationError when the signature is refused."""
    check = SignatureCheck(read_signature(armoured, "signature"), key, "content")
    check.update(content)
    return check.finish()


def is_accepted(content: bytes, armoured: bytes, key: ReleaseKey) -> bool:
    try:
        verify(content, armoured, key)
    except VerificationError:
        return False
    return True


class Gpgv:
    """The oracle, over one key block."""

    def __init__(self, folder: Path, key_block: bytes) -> None:
        self._folder = folder
        self.calls = 0
        packets = dearmour(key_block, "PUBLIC KEY BLOCK", "key", limit_bytes=KEY_LIMIT_BYTES)
        (folder / "keyring.gpg").write_bytes(packets)

    def accepts(self, content: bytes, armoured: bytes) -> bool:
        """Whether gpgv ends with 0 and says that the signature is valid."""
        (self._folder / "content").write_bytes(content)
        (self._folder / "content.asc").write_bytes(armoured)
        self.calls += 1
        done = subprocess.run(
            [
                "gpgv",
                "--status-fd=1",
                f"--keyring={self._folder / 'keyring.gpg'}",
                str(self._folder / "content.asc"),
                str(self._folder / "content"),
            ],
            env={**os.environ, "GNUPGHOME": str(self._folder)},
            capture_output=True,
            check=False,
            timeout=30,
        )
        return done.returncode == 0 and b"[GNUPG:] VALIDSIG " in done.stdout

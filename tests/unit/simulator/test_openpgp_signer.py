from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest

from mirror.simulator.openpgp_signer import Signer

_GPGV = shutil.which("gpgv")
_SIGNED_AT = 1_780_000_000


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


def _dearmour(text: bytes) -> bytes:
    lines = text.decode().splitlines()
    body = lines[lines.index("") + 1 : -1]
    return base64.b64decode("".join(line for line in body if not line.startswith("=")))


def _gpgv(
    signer: Signer, folder: Path, content: bytes, hash_name: str = "sha512"
) -> subprocess.CompletedProcess[bytes]:
    if _GPGV is None:
        pytest.skip("gpgv is absent")
    (folder / "key.gpg").write_bytes(_dearmour(signer.public_key()))
    (folder / "signed").write_bytes(content)
    blocks = [b"signed ", b"content"]
    signature = signer.detached_signature(blocks, _SIGNED_AT, hash_name=hash_name)
    (folder / "signature.asc").write_bytes(signature)
    command = [_GPGV, "--verbose", "--homedir", str(folder), "--keyring", str(folder / "key.gpg")]
    return subprocess.run(
        [*command, str(folder / "signature.asc"), str(folder / "signed")],
        check=False,
        capture_output=True,
    )


@pytest.mark.parametrize("hash_name", ["sha512", "sha256"])
def test_gpgv_accepts_the_signature(hash_name: str, signer: Signer, tmp_path: Path) -> None:
    result = _gpgv(signer, tmp_path, b"signed content", hash_name)
    assert result.returncode == 0, result.stderr
    assert b"Good signature" in result.stderr
    assert f"digest algorithm {hash_name.upper()}".encode() in result.stderr


def test_gpgv_knows_a_sha1_signature_as_such(signer: Signer, tmp_path: Path) -> None:
    assert b"digest algorithm SHA1" in _gpgv(signer, tmp_path, b"signed content", "sha1").stderr


def test_hash_that_no_release_has_is_refused(signer: Signer) -> None:
    with pytest.raises(ValueError, match="md5"):
        signer.detached_signature([b""], _SIGNED_AT, hash_name="md5")


def test_gpgv_refuses_altered_content(signer: Signer, tmp_path: Path) -> None:
    assert _gpgv(signer, tmp_path, b"signed contend").returncode != 0


def test_fingerprint_ends_with_the_issuer_of_the_signature(signer: Signer) -> None:
    packet = _dearmour(signer.detached_signature([b""], _SIGNED_AT))
    assert bytes.fromhex(signer.fingerprint)[-8:] in packet
    assert len(signer.fingerprint) == 40


def test_every_run_has_its_own_key(signer: Signer) -> None:
    assert Signer().fingerprint != signer.fingerprint


def test_armour_names_its_kind_and_ends_with_a_checksum(signer: Signer) -> None:
    lines = signer.public_key().decode().splitlines()
    assert lines[0] == "-----BEGIN PGP PUBLIC KEY BLOCK-----"
    assert lines[-2].startswith("=")
    assert len(lines[-2]) == 5

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


def _gpgv(signer: Signer, folder: Path, content: bytes) -> subprocess.CompletedProcess[bytes]:
    if _GPGV is None:
        pytest.skip("gpgv is absent")
    (folder / "key.gpg").write_bytes(_dearmour(signer.public_key()))
    (folder / "signed").write_bytes(content)
    signature = signer.detached_signature([b"signed ", b"content"], _SIGNED_AT)
    (folder / "signature.asc").write_bytes(signature)
    command = [_GPGV, "--homedir", str(folder), "--keyring", str(folder / "key.gpg")]
    return subprocess.run(
        [*command, str(folder / "signature.asc"), str(folder / "signed")],
        check=False,
        capture_output=True,
    )


def test_gpgv_accepts_the_signature(signer: Signer, tmp_path: Path) -> None:
    result = _gpgv(signer, tmp_path, b"signed content")
    assert result.returncode == 0, result.stderr
    assert b"Good signature" in result.stderr


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

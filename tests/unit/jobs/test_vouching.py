"""Each class's chain is compared again; a broken link is told, and whose fault it is."""

from __future__ import annotations

import hashlib

import pytest

from mirror.jobs.chain import (
    DAMAGED,
    DIGEST_ONLY,
    GONE,
    LEGACY,
    NOBODY,
    WEAK_HASH,
    Grade,
    own_fault,
)
from tests.unit.jobs.shelf_bench import (
    ARCHIVE,
    CRATE,
    DATED,
    DAY,
    HEAD,
    INDEX,
    KEY,
    SIGNED_AT,
    SIGNER,
    ShelfBench,
    index_of,
    manifest_of,
    sign,
)

BYTES = b"some content"
DIGEST = hashlib.sha256(BYTES).digest()
OTHER = hashlib.sha256(b"other").digest()
BINARY = "releases:/rustup/dist/x86_64-unknown-linux-gnu/rustup-init"
VERSION_1 = "releases:/dist/channel-rust-beta"
UNDATED = "releases:/dist/rust-1.94.0-x86_64-unknown-linux-gnu.tar.xz"


def line(digest: bytes = DIGEST) -> bytes:
    return f"{digest.hex()}  name\n".encode()


def put_crate(shelf: ShelfBench, index: bytes | None) -> None:
    if index is not None:
        shelf.put(INDEX, index)
    shelf.put(CRATE, BYTES, proof="index", voucher=f"{INDEX}@abc")


def test_crate_whose_index_line_states_its_digest_is_good(shelf: ShelfBench) -> None:
    put_crate(shelf, index_of(v1_0_0=DIGEST, v1_0_1=OTHER))
    chain = shelf.chain(CRATE)
    assert (chain.grade, chain.own) == (Grade.GOOD, (Grade.GOOD, ""))
    assert "nobody signs the index" in chain.steps[-1].text


@pytest.mark.parametrize(
    ("index", "told"),
    [
        pytest.param(index_of(v1_0_0=OTHER), f"states cksum {OTHER.hex()}", id="other-cksum"),
        pytest.param(index_of(v1_0_1=DIGEST), "does not list version 1.0.0", id="not-listed"),
    ],
)
def test_crate_that_its_index_contradicts_is_wrong(
    shelf: ShelfBench, index: bytes, told: str
) -> None:
    put_crate(shelf, index)
    fault = own_fault(shelf.chain(CRATE))
    assert fault is not None
    assert told in fault.text
    assert [found.key for found in shelf.report().wrong] == [CRATE]


def test_crate_without_its_index_file_tells_who_vouched(shelf: ShelfBench) -> None:
    put_crate(shelf, None)
    chain = shelf.chain(CRATE)
    assert chain.own == (Grade.LOST, GONE)
    assert f"{INDEX}@abc" in chain.steps[-1].text


def test_index_file_is_parsed_again_and_vouched_for_by_nobody(shelf: ShelfBench) -> None:
    shelf.put(INDEX, index_of(v1_0_0=DIGEST))
    assert shelf.chain(INDEX).own == (Grade.WEAK, NOBODY)
    shelf.put(INDEX, b"<html>")
    assert shelf.chain(INDEX).own[0] is Grade.WRONG


def test_archive_stands_on_its_manifest_and_that_on_the_pinned_key(shelf: ShelfBench) -> None:
    shelf.put_key()
    voucher = shelf.put_generation(DATED, manifest_of(archive=DIGEST))
    shelf.put(ARCHIVE, BYTES, proof="manifest", voucher=voucher)
    chain = shelf.chain(ARCHIVE)
    assert chain.grade is Grade.GOOD
    texts = " ".join(step.text for step in chain.steps)
    assert f"made by the key {SIGNER.fingerprint}" in texts
    assert "sha512 of 2023-07-22" in texts
    assert shelf.chain(KEY).grade is Grade.GOOD


@pytest.mark.parametrize("voucher_key", [HEAD, ""])
def test_manifest_that_left_its_head_is_found_below_its_date(
    shelf: ShelfBench, voucher_key: str
) -> None:
    shelf.put_key()
    manifest = manifest_of(archive=DIGEST)
    shelf.put_generation(DATED, manifest)
    name = f"{voucher_key}@{hashlib.sha256(manifest).hexdigest()}" if voucher_key else ""
    shelf.put_generation(HEAD, b'manifest-version = "2"\ndate = "2026-04-16"\n')
    shelf.put(ARCHIVE, BYTES, proof="manifest", voucher=name)
    assert shelf.chain(ARCHIVE).grade is Grade.GOOD


def test_manifest_that_is_the_former_generation_still_vouches(shelf: ShelfBench) -> None:
    shelf.put_key()
    voucher = shelf.put_generation(HEAD, manifest_of(archive=DIGEST), former=True)
    shelf.put(ARCHIVE, BYTES, proof="manifest", voucher=voucher)
    assert shelf.chain(ARCHIVE).grade is Grade.GOOD
    assert shelf.chain(HEAD + "#former").grade is Grade.GOOD


def test_archive_whose_manifest_is_gone_tells_which_it_was(shelf: ShelfBench) -> None:
    shelf.put(ARCHIVE, BYTES, proof="manifest", voucher=f"{HEAD}@{OTHER.hex()}")
    chain = shelf.chain(ARCHIVE)
    assert chain.own == (Grade.LOST, GONE)
    assert OTHER.hex() in chain.steps[-1].text


@pytest.mark.parametrize("stated", [OTHER, None], ids=["another", "nothing"])
def test_archive_that_its_manifest_contradicts_is_wrong(
    shelf: ShelfBench, stated: bytes | None
) -> None:
    manifest = (
        manifest_of(archive=stated)
        if stated
        else f'manifest-version = "2"\ndate = "{DAY}"\n'.encode()
    )
    voucher = shelf.put_generation(DATED, manifest)
    shelf.put(ARCHIVE, BYTES, proof="manifest", voucher=voucher)
    assert [found.key for found in shelf.report().wrong] == [ARCHIVE]


def test_signature_by_another_content_condemns_the_signature(shelf: ShelfBench) -> None:
    shelf.put_key()
    shelf.put_generation(DATED, manifest_of(archive=DIGEST), asc=sign(b"another"))
    assert shelf.chain(DATED).own == (Grade.LOST, DAMAGED)
    assert shelf.chain(DATED).grade is Grade.WRONG
    assert [found.key for found in shelf.report().wrong] == [DATED + ".asc"]


def test_digest_file_of_another_manifest_condemns_itself(shelf: ShelfBench) -> None:
    shelf.put_key()
    shelf.put_generation(DATED, manifest_of(archive=DIGEST), sha256=line(OTHER))
    assert [found.key for found in shelf.report().wrong] == [DATED + ".sha256"]


def test_files_of_two_generations_are_told(shelf: ShelfBench) -> None:
    shelf.put_key()
    shelf.put_generation(DATED, manifest_of(archive=DIGEST))
    shelf.put(DATED + ".asc", sign(b"x"), proof="signed-generation", voucher="other@00")
    fault = own_fault(shelf.chain(DATED + ".asc"))
    assert fault is not None
    assert "a mixed generation" in fault.text


@pytest.mark.parametrize(("policy", "why"), [("signature", LEGACY), ("digest", DIGEST_ONLY)])
def test_release_without_a_signature_is_marked(shelf: ShelfBench, policy: str, why: str) -> None:
    shelf.trust["channel_manifest"] = policy
    shelf.put_generation(DATED, manifest_of(), proof="generation", asc=b"")
    assert shelf.chain(DATED).own == (Grade.WEAK, why)
    assert shelf.chain(DATED + ".sha256").own == (Grade.WEAK, why)


def test_bad_signature_of_a_digest_only_release_is_no_damage(shelf: ShelfBench) -> None:
    shelf.put_key()
    shelf.put_generation(DATED, manifest_of(), proof="generation", asc=sign(b"x"))
    assert shelf.chain(DATED).own == (Grade.WEAK, LEGACY)
    assert shelf.report().is_good


def test_sha1_signature_is_never_called_good(shelf: ShelfBench) -> None:
    shelf.put_key()
    manifest = manifest_of()
    weak = SIGNER.detached_signature([manifest], SIGNED_AT, hash_name="sha1")
    shelf.put_generation(DATED, manifest, asc=weak)
    assert shelf.chain(DATED).own == (Grade.WEAK, WEAK_HASH)


def test_signature_that_left_the_store_is_told_as_it_was(shelf: ShelfBench) -> None:
    shelf.put_generation(DATED, manifest_of(), asc=b"")
    assert shelf.chain(DATED).own == (Grade.LOST, GONE)


def test_without_the_release_key_nothing_is_said_to_be_verified(shelf: ShelfBench) -> None:
    shelf.put_generation(DATED, manifest_of())
    chain = shelf.chain(DATED)
    assert chain.own[0] is Grade.LOST
    assert "the release key is not stored" in chain.steps[-1].text


def test_key_of_another_fingerprint_is_wrong_and_so_is_what_hangs_on_it(
    shelf: ShelfBench,
) -> None:
    shelf.trust["release_key_fingerprints"] = ("AB" * 20,)
    shelf.put_key()
    shelf.put_generation(DATED, manifest_of())
    assert shelf.chain(KEY).own[0] is Grade.WRONG
    assert shelf.chain(DATED).grade is Grade.WRONG
    assert [found.key for found in shelf.report().wrong] == [KEY]


def test_release_key_file_wins_over_what_is_stored(shelf: ShelfBench) -> None:
    file = f"{shelf.bench.root}/key.asc"
    shelf.trust["release_key_file"] = file
    shelf.put_generation(DATED, manifest_of())
    assert "release key file" in shelf.chain(DATED).steps[-1].text
    with open(file, "wb") as made:
        made.write(SIGNER.public_key())
    assert shelf.chain(DATED).grade is Grade.GOOD


@pytest.mark.parametrize("key", [BINARY, UNDATED, VERSION_1])
def test_digest_file_beside_an_object_vouches_and_nobody_signs_it(
    shelf: ShelfBench, key: str
) -> None:
    shelf.put(key + ".sha256", line())
    shelf.put(key, BYTES, proof="sha256", voucher=f"{key}.sha256@00")
    assert shelf.chain(key).own == (Grade.WEAK, DIGEST_ONLY)
    assert shelf.chain(key + ".sha256").own == (Grade.WEAK, DIGEST_ONLY)
    assert shelf.report().is_good


def test_digest_file_that_contradicts_an_object_makes_it_wrong(shelf: ShelfBench) -> None:
    shelf.put(BINARY + ".sha256", line(OTHER))
    shelf.put(BINARY, BYTES, proof="sha256", voucher="x@00")
    assert [found.key for found in shelf.report().wrong] == [BINARY]


def test_newer_digest_file_of_an_object_that_moves_is_no_error(shelf: ShelfBench) -> None:
    shelf.put(BINARY, BYTES, proof="sha256", voucher="x@00", fresh_until=1.0, confirmed_at=1.0)
    shelf.put(BINARY + ".sha256", line(OTHER), confirmed_at=2.0, fresh_until=2.0)
    assert shelf.chain(BINARY).own == (Grade.LOST, GONE)
    assert shelf.report().is_good


def test_object_without_its_digest_file_tells_who_vouched(shelf: ShelfBench) -> None:
    shelf.put(BINARY, BYTES, proof="sha256", voucher=f"{BINARY}.sha256@00")
    assert shelf.chain(BINARY).own == (Grade.LOST, GONE)


def test_page_in_the_place_of_a_digest_file_is_wrong_itself(shelf: ShelfBench) -> None:
    shelf.put(BINARY + ".sha256", b"<html>")
    shelf.put(BINARY, BYTES, proof="sha256", voucher="x@00")
    assert [found.key for found in shelf.report().wrong] == [BINARY + ".sha256"]


def test_archives_own_signature_is_verified_over_its_bytes(shelf: ShelfBench) -> None:
    shelf.put_key()
    shelf.put_generation(DATED, manifest_of(archive=DIGEST))
    shelf.put(ARCHIVE, BYTES, proof="signature", voucher=SIGNER.fingerprint)
    assert shelf.chain(ARCHIVE).own == (Grade.LOST, GONE)
    proof = {"proof": "agrees", "voucher": f"{ARCHIVE}@{DIGEST.hex()}"}
    shelf.put(ARCHIVE + ".asc", sign(BYTES), **proof)
    for key in (ARCHIVE, ARCHIVE + ".asc"):
        assert shelf.chain(key).grade is Grade.GOOD
        assert shelf.chain(key, is_whole=False).grade is Grade.GOOD
    shelf.put(ARCHIVE + ".asc", sign(b"other"), **proof)
    assert shelf.chain(ARCHIVE).grade is Grade.WRONG
    assert shelf.chain(ARCHIVE + ".asc").own[0] is Grade.WRONG


def test_version_1_channel_file_stands_on_its_own_signature(shelf: ShelfBench) -> None:
    shelf.put_key()
    shelf.put(VERSION_1, BYTES, proof="signature", voucher=SIGNER.fingerprint)
    proof = {"proof": "agrees", "voucher": f"{VERSION_1}@{DIGEST.hex()}"}
    shelf.put(VERSION_1 + ".asc", sign(BYTES), **proof)
    assert shelf.chain(VERSION_1).grade is Grade.GOOD
    assert shelf.chain(VERSION_1 + ".asc").grade is Grade.GOOD
    shelf.put(VERSION_1 + ".sha256", line(OTHER), **proof)
    assert shelf.chain(VERSION_1 + ".sha256").own[0] is Grade.WRONG
    shelf.put(VERSION_1 + ".asc", sign(b"other"), **proof)
    assert shelf.chain(VERSION_1).grade is Grade.WRONG


def test_signature_that_nobody_compared_proves_nothing(shelf: ShelfBench) -> None:
    shelf.put_key()
    shelf.put(ARCHIVE, BYTES, proof="sha256")
    shelf.put(ARCHIVE + ".asc", sign(b"other"))
    assert shelf.chain(ARCHIVE + ".asc").own == (Grade.WEAK, NOBODY)
    assert shelf.chain(ARCHIVE + ".asc", is_whole=False).own == (Grade.WEAK, NOBODY)


@pytest.mark.parametrize(
    ("proof", "own"), [("parsed", (Grade.WEAK, NOBODY)), ("agrees", (Grade.LOST, GONE))]
)
def test_proof_without_its_subject_is_told(
    shelf: ShelfBench, proof: str, own: tuple[Grade, str]
) -> None:
    shelf.put(ARCHIVE + ".sha256", line(), proof=proof, voucher=f"{ARCHIVE}@{DIGEST.hex()}")
    assert shelf.chain(ARCHIVE + ".sha256").own == own


@pytest.mark.parametrize(("proof", "grade"), [("parsed", Grade.WEAK), ("agrees", Grade.WRONG)])
def test_digest_file_that_states_another_digest(
    shelf: ShelfBench, proof: str, grade: Grade
) -> None:
    shelf.put(ARCHIVE, BYTES, proof="signature")
    key = ARCHIVE + ".sha256"
    shelf.put(key, line(OTHER), proof=proof, voucher=f"{ARCHIVE}@{DIGEST.hex()}")
    assert shelf.chain(key).own[0] is grade


@pytest.mark.parametrize(
    "key",
    [
        "releases:/manifests.txt",
        "releases:/rustup/rustup-init.sh",
        "releases:/rustup/release-stable.toml",
    ],
)
def test_what_nobody_states_a_digest_of_is_weak(shelf: ShelfBench, key: str) -> None:
    shelf.put(key, BYTES)
    assert shelf.chain(key).own == (Grade.WEAK, NOBODY)


def test_key_of_another_grammar_is_weak(shelf: ShelfBench) -> None:
    shelf.put("nobody:/knows", BYTES)
    assert shelf.chain("nobody:/knows").own == (Grade.WEAK, NOBODY)
    assert shelf.report().classes["unknown"].weak == 1

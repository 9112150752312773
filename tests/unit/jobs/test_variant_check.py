"""Gzip variants in `rust-mirror verify --all`."""

from __future__ import annotations

import gzip
import hashlib

from tests.unit.jobs.shelf_bench import INDEX, ShelfBench

LINES = b'{"name":"serde","vers":"1.0.0","cksum":"' + b"0" * 64 + b'"}\n'


def coded(shelf: ShelfBench, form: bytes) -> bytes:
    """Store a content with `form`; the form's digest."""
    entry = shelf.put(INDEX, LINES)
    shelf.store.variants.put({entry.digest: form})
    return hashlib.sha256(form).digest()


def test_right_variant_is_read_and_no_fault(shelf: ShelfBench) -> None:
    coded(shelf, gzip.compress(LINES))
    report = shelf.report()
    assert (report.files, report.wrong, report.strays) == (2, [], 0)


def test_noted_absence_of_a_variant_is_no_fault(shelf: ShelfBench) -> None:
    coded(shelf, b"")
    assert shelf.report().wrong == []


def test_variant_of_other_bytes_is_told_under_its_contents_key(shelf: ShelfBench) -> None:
    for form in (gzip.compress(LINES[:-1] + b" "), gzip.compress(LINES * 2), b"no gzip at all"):
        coded(shelf, form)
        [finding] = shelf.report().wrong
        assert finding.key == INDEX
        assert finding.reason == "its gzip variant decodes to something else"
        assert finding.path.endswith(hashlib.sha256(form).hexdigest())


def test_damaged_variant_is_told_once_under_its_contents_key(shelf: ShelfBench) -> None:
    digest = coded(shelf, gzip.compress(LINES))
    with open(shelf.store.blob_path(digest), "r+b") as file:
        file.write(b"X")
    [finding] = shelf.report().wrong
    assert finding.key == INDEX
    assert finding.reason == "the file is not what its name says"

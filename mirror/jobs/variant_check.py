"""Gzip variants checked against the contents that they are forms of.

Rules:
1. A variant is right when it decodes to bytes of its content's digest; the content's own file need
   not be read for that.
2. Files that were found wrong already are told of elsewhere, once.
3. What was replaced or evicted while it was looked at is no error.

Units: bytes.
Runs in: commands and keeper (jobs); one thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator

from mirror.fill.coding import CodingError, decode_content
from mirror.jobs.shelf import Shelf
from mirror.store.blob_reading import read_pieces
from mirror.store.inspection import VariantRow


def wrong_variants(shelf: Shelf, told: Container[bytes]) -> Iterator[tuple[VariantRow, str]]:
    """Yield each variant that is not its content, and what was got instead; `told` are the digests
    of files known to be wrong. Raises StoreError."""
    last = b""
    while page := shelf.index.variants_after(last):
        for row in page:
            got = "" if row.blob in told else _got(shelf, row)
            if got and shelf.index.has_variant(row):
                yield row, got
        last = page[-1].digest


def _got(shelf: Shelf, row: VariantRow) -> str:
    """What the variant decodes to, when that is not its content."""
    content = shelf.index.blob(row.digest)
    if content is None:
        return ""
    try:
        form = b"".join(read_pieces(shelf.path(row.blob)))
        found = decode_content(form, "gzip", content.attestation.size)
    except OSError:
        return ""
    except CodingError as exc:
        return str(exc)
    digest = hashlib.sha256(found).digest()
    return "" if digest == row.digest else digest.hex()

"""Fetching the files of a channel: what belongs to a `.sha256` that came, and whole from a date.

Runs in: keeper.
"""

from __future__ import annotations

import re

from mirror.errors import VerificationError
from mirror.fill.channel_files import Arrived, ChannelFiles, RefusedError, SkewError, TornError
from mirror.fill.flights import Flight
from mirror.fill.parts import FillParts
from mirror.fill.small_fetch import Fetched, fetch_small
from mirror.verify.digests import parse_sha256_file

# Of a manifest that nobody vouches for yet: only where to look for a whole generation.
_DATE = re.compile(rb'^date = "(\d{4}-\d\d-\d\d)"', re.MULTILINE)
_DATE_WITHIN_BYTES = 4096


async def fetch_rest(
    parts: FillParts, flight: Flight, files: ChannelFiles, digest: Fetched
) -> Arrived:
    """Fetch manifest and signature.

    Raises: SkewError when the manifest is not what `digest` states, TornError when it is not there,
    RefusedError for a `.sha256` without a digest, UpstreamError.
    """
    manifest = await fetch_small(parts, flight, files.manifest, None)
    if not isinstance(manifest, Fetched):
        raise TornError(files.manifest.key, "the manifest is not there, its .sha256 is")
    date = stated_date(manifest.content)
    try:
        stated = parse_sha256_file(digest.content, files.digest.key)
    except VerificationError as exc:
        raise RefusedError(files.digest.key, exc.message, date=date) from exc
    if manifest.digest != stated:
        raise SkewError(
            files.manifest.key, stated=stated.hex(), got=manifest.digest.hex(), date=date
        )
    signature = await fetch_small(parts, flight, files.signature, None)
    return Arrived(
        manifest=manifest,
        digest=digest,
        signature=signature if isinstance(signature, Fetched) else None,
    )


async def fetch_dated(parts: FillParts, flight: Flight, files: ChannelFiles) -> Arrived | None:
    """Fetch a whole dated generation; None: there is none. Raises as `fetch_rest`."""
    digest = await fetch_small(parts, flight, files.digest, None)
    if not isinstance(digest, Fetched):
        return None
    return await fetch_rest(parts, flight, files, digest)


def stated_date(content: bytes) -> str:
    found = _DATE.search(content, 0, _DATE_WITHIN_BYTES)
    return found[1].decode() if found else ""

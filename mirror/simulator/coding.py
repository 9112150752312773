"""Content coding: index files as a compressing CDN serves them.

Rules:
1. The coded representation has a weak entity tag, the identity's with `W/` (CloudFront, when it
   compresses, weakens what the origin sent).
2. Only index files are coded; a `.crate` with a Content-Encoding would fail cargo's checksum.

Runs in: simulator.
"""

from __future__ import annotations

from dataclasses import replace

from mirror.simulator.contents import Content, FixedContent
from mirror.simulator.published import Published, Site
from mirror.simulator.requests import SimulatedRequest
from mirror.simulator.tar_files import gzip_small


class GzipContent(FixedContent):
    """Another content, gzip-coded; its entity tag is the weak form of the other's."""

    def __init__(self, identity: Content) -> None:
        super().__init__(gzip_small(identity.read(0, identity.length)))
        self.etag = f"W/{identity.etag}"


def accepts_gzip(request: SimulatedRequest) -> bool:
    """Say whether this is a request for an index file by a client that accepts gzip."""
    if request.site is not Site.INDEX or request.path == "/config.json":
        return False
    codings = request.fields.get("accept-encoding", "").split(",")
    return any(coding.partition(";")[0].strip() == "gzip" for coding in codings)


def gzip_coded(published: Published) -> Published:
    """Return the same object, gzip-coded."""
    return replace(published, content=GzipContent(published.content), content_coding="gzip")

"""The dashboard's files: read once, told apart by digest, never from outside their folder.

Rules:
1. Only names in this table are served: no request names a file of the disk.
2. Files of `vendor/` are put in place by `make assets` from a locked package. Absent ones are
   served empty: the page finds no library and shows tables. All else is part of this package.
3. An unchanged file is confirmed with 304. Large texts are sent gzip-coded to who accepts it.
4. Pages may load scripts, styles and documents from here and from nowhere else, run no script that
   stands in the page, and turn no text into markup (`require-trusted-types-for`): keys and events
   come from hostile requests.

Runs in: keeper.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from aiohttp import web

_HTML: Final = "text/html"
_CSS: Final = "text/css"
_SCRIPT: Final = "text/javascript"
# path -> file below `pages/`, its media type
FILES: Final = {
    "/": ("index.html", _HTML),
    "/object": ("object.html", _HTML),
    "/assets/dashboard.css": ("dashboard.css", _CSS),
    "/assets/theme.js": ("theme.js", _SCRIPT),
    "/assets/format.js": ("format.js", _SCRIPT),
    "/assets/dom.js": ("dom.js", _SCRIPT),
    "/assets/stream.js": ("stream.js", _SCRIPT),
    "/assets/charts.js": ("charts.js", _SCRIPT),
    "/assets/panels.js": ("panels.js", _SCRIPT),
    "/assets/span.js": ("span.js", _SCRIPT),
    "/assets/dashboard.js": ("dashboard.js", _SCRIPT),
    "/assets/object.js": ("object.js", _SCRIPT),
    "/assets/icon.svg": ("icon.svg", "image/svg+xml"),
    "/assets/vendor/uPlot.iife.min.js": ("vendor/uPlot.iife.min.js", _SCRIPT),
    "/assets/vendor/uPlot.min.css": ("vendor/uPlot.min.css", _CSS),
}
SECURITY_FIELDS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_CODED_ABOVE_BYTES: Final = 1024  # below it the coding saves less than a packet


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    content: bytes
    coded: bytes  # gzip; b"": not worth it
    media_type: str
    etag: str


def read_pages(folder: Traversable | None = None) -> dict[str, Page]:
    """Return the files by path; see rule 2."""
    pages: dict[str, Page] = {}
    folder = folder or resources.files("mirror.control") / "pages"
    for path, (name, media_type) in FILES.items():
        try:
            content = folder.joinpath(name).read_bytes()
        except FileNotFoundError:
            if not name.startswith("vendor/"):
                raise
            content = b""
        pages[path] = _page(content, media_type)
    return pages


def _page(content: bytes, media_type: str) -> Page:
    coded = gzip.compress(content, 9, mtime=0) if len(content) > _CODED_ABOVE_BYTES else b""
    digest = hashlib.sha256(content).hexdigest()[:32]
    return Page(content=content, coded=coded, media_type=media_type, etag=digest)


def answer_page(request: web.Request, page: Page) -> web.Response:
    """Return the file, or 304; caches ask each time."""
    fields = {**SECURITY_FIELDS, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    is_coded = bool(page.coded) and "gzip" in request.headers.get("Accept-Encoding", "")
    etag = f'W/"{page.etag}"'  # weak: one tag for both codings
    fields["ETag"] = etag
    if any(known.value in (page.etag, "*") for known in request.if_none_match or ()):
        return web.Response(status=304, headers=fields)
    if is_coded:
        fields["Content-Encoding"] = "gzip"
    body = page.coded if is_coded else page.content
    return web.Response(body=body, content_type=page.media_type, charset="utf-8", headers=fields)

"""Answers that a worker makes itself: front page, health, `config.json`, redirect, robots.

Rules:
1. `/readyz` says whether this worker can serve what is stored; upstream has no part in it.
2. The entity-tag is the digest of the content, so conditional requests work here too.
3. Nothing that a client sent reaches a page unescaped; Host passed a strict grammar before.

Runs in: worker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Final

from mirror.route.match import Site
from mirror.route.route import Local
from mirror.serve.answers import Answers
from mirror.serve.front_page import FrontPage
from mirror.serve.refusals import TextAnswer
from mirror.serve.representation import describe_local
from mirror.serve.request import Request
from mirror.serve.shared import Shared
from mirror.serve.site_address import SiteAddress
from mirror.serve.stream import Stream

_SHORT: Final = b"public, max-age=60"
_NEVER_STORED: Final = b"no-store"
_TEXT: Final = b"text/plain; charset=utf-8"
_ROBOTS: Final = b"User-agent: *\nDisallow: /\n"
RUSTUP_SCRIPT: Final = "/rustup/rustup-init.sh"
# cargo learns from it where to publish and search; only the real registry has such an interface.
_CRATES_API: Final = "https://crates.io"

_Made = Callable[[Stream, Request, Site], None]


class LocalAnswers:
    """Makes and sends them."""

    def __init__(self, shared: Shared, answers: Answers) -> None:
        self._shared = shared
        self._answers = answers
        self._address = SiteAddress(shared)
        self._front_page = FrontPage()
        self._makers: dict[Local, _Made] = {
            Local.FRONT_PAGE: self._answer_front_page,
            Local.LIVEZ: self._answer_livez,
            Local.READYZ: self._answer_readyz,
            Local.INDEX_CONFIG: self._answer_index_config,
            Local.RUSTUP_SH: self._redirect_to_script,
            Local.ROBOTS: self._answer_robots,
        }

    def answer(self, stream: Stream, request: Request, local: Local, site: Site) -> None:
        self._makers[local](stream, request, site)

    def _answer_front_page(self, stream: Stream, request: Request, site: Site) -> None:
        page = self._front_page.render(self._address.base_url(stream, request))
        self._send(stream, request, page, b"text/html; charset=utf-8")

    def _answer_livez(self, stream: Stream, request: Request, site: Site) -> None:
        self._send(stream, request, b"live\n", _TEXT, cache_control=_NEVER_STORED)

    def _answer_readyz(self, stream: Stream, request: Request, site: Site) -> None:
        reason = ""
        if self._shared.is_draining:
            reason = "This worker is draining."
        elif not self._shared.reader.refresh():
            reason = "The store cannot be read."
        if reason:
            answer = TextAnswer(status=503, sentence=reason, retry_after_s=1)
            self._answers.text(stream, request, answer)
        else:
            self._send(stream, request, b"ready\n", _TEXT, cache_control=_NEVER_STORED)

    def _answer_index_config(self, stream: Stream, request: Request, site: Site) -> None:
        crates_url = self._address.crates_url(stream, request, site)
        config = {"dl": f"{crates_url}/crates/{{crate}}/{{crate}}-{{version}}.crate"}
        if site is Site.INDEX:
            config["api"] = _CRATES_API
        content = json.dumps(config).encode() + b"\n"
        self._send(stream, request, content, b"application/json")

    def _redirect_to_script(self, stream: Stream, request: Request, site: Site) -> None:
        # A relative reference (RFC 9110 section 10.2.2): right behind every proxy and name.
        answer = TextAnswer(status=301, sentence="The script moved.", location=RUSTUP_SCRIPT)
        self._answers.text(stream, request, answer)

    def _answer_robots(self, stream: Stream, request: Request, site: Site) -> None:
        self._send(stream, request, _ROBOTS, _TEXT)

    def _send(
        self,
        stream: Stream,
        request: Request,
        content: bytes,
        media_type: bytes,
        *,
        cache_control: bytes = _SHORT,
    ) -> None:
        etag = b'"%b"' % hashlib.sha256(content).hexdigest().encode()
        representation = describe_local(content, etag, media_type, cache_control)
        self._answers.local(stream, request, representation, content)

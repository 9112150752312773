"""The front page: how to point rustup and cargo at this host, ready to copy.

Rules:
1. One HTML file beside this module, `$base` and `$host` filled in, both escaped.
2. It works without scripts and loads nothing from anywhere.

Runs in: worker.
"""

from __future__ import annotations

import html
from importlib.resources import files
from string import Template
from typing import Final
from urllib.parse import urlsplit

_FILE: Final = "front_page.html"


class FrontPage:
    """The template, read once."""

    def __init__(self) -> None:
        text = files("mirror.serve").joinpath(_FILE).read_text(encoding="utf-8")
        self._template = Template(text)

    def render(self, base_url: str) -> bytes:
        return self._template.substitute(
            base=html.escape(base_url), host=html.escape(urlsplit(base_url).netloc)
        ).encode()

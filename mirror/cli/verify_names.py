"""What a user may call a stored object on the command line, and which keys that can mean.

| written as | means |
|---|---|
| `releases:/dist/channel-rust-stable.toml` | this key |
| `/dist/channel-rust-stable.toml` | this path of the mirror (its first `/` may be left out) |
| `https://static.rust-lang.org/dist/…`, `http://<mirror>/dist/…` | the path behind the host |
| `serde 1.0.0`, `serde-1.0.0`, `serde@1.0.0` | this version of this crate |
| `serde` | the crate's index file |

Rules:
1. Several keys can be meant (`a-1.0.0-1.0.0`), the likeliest first; callers take the stored one.

Runs in: commands. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import click

from mirror.config import Config
from mirror.route.crates import crate_route
from mirror.route.match import Site, match, route_of_key, site_of_host
from mirror.route.route import LocalRoute, Route
from mirror.route.sparse_index import index_route

HINT = (
    "write a key (releases:/dist/…), a path (/dist/…), a URL, a crate (`serde 1.0.0`), or a crate's"
    " name for its index file"
)


class NameMistakeError(click.ClickException):
    """The user named something that nothing can be stored under: one line and a hint, code 2."""

    exit_code = 2

    def __init__(self, name: str, reason: str, hint: str = HINT) -> None:
        super().__init__(f"{name}: {reason}")
        self._hint = hint

    def show(self, file: object = None) -> None:
        click.echo(f"error: {self.message}", err=True)
        click.echo(f"hint: {self._hint}", err=True)


def join_crates(words: Sequence[str]) -> list[str]:
    """Return the names: a crate's name followed by a version is one name."""
    names: list[str] = []
    for word in words:
        if names and crate_route(names[-1], word) is not None:
            names[-1] = f"{names[-1]} {word}"
        else:
            names.append(word)
    return names


def keys_of(name: str, config: Config) -> list[str]:
    """Return the keys that `name` can mean. Raises NameMistakeError when there are none."""
    if route_of_key(name) is not None:
        return [name]
    if "://" in name:
        return [_of_url(name, config)]
    if name.startswith("/"):
        return [_of_path(name, name, Site.ANY)]
    if "/" in name:  # no crate's name has one: a path without its first
        return [_of_path(name, f"/{name}", Site.ANY)]
    routes = list(_of_crate(name))
    if not routes:
        raise NameMistakeError(name, "nothing can be stored under that name")
    return [route.key for route in routes]


def _of_url(url: str, config: Config) -> str:
    upstream = config.upstream
    for site, urls in (
        (Site.RELEASES, upstream.releases.urls),
        (Site.CRATES, upstream.crates.urls),
        (Site.INDEX, upstream.index.urls),
    ):
        for base in urls:
            if url.startswith(base.rstrip("/") + "/"):
                return _of_path(url, url[len(base.rstrip("/")) :], site)
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise NameMistakeError(url, "not a URL") from None
    return _of_path(url, parts.path or "/", site_of_host(host))


def _of_path(name: str, path: str, site: Site) -> str:
    try:
        matched = match(path.encode("ascii"), site)
    except UnicodeEncodeError:
        raise NameMistakeError(name, "the path holds a character that no URL may hold") from None
    if isinstance(matched, Route):
        return matched.key
    if isinstance(matched, LocalRoute):
        raise NameMistakeError(name, "the mirror makes that answer itself; nothing is stored")
    raise NameMistakeError(name, matched.reason)


def _of_crate(name: str) -> list[Route]:
    for separator in (" ", "@"):
        crate, found, version = name.partition(separator)
        if found:
            route = crate_route(crate.strip(), version.strip())
            return [route] if route else []
    ends = [at for at, letter in enumerate(name) if letter == "-"]
    versions = [crate_route(name[:at], name[at + 1 :]) for at in ends]
    index = index_route(name)
    return [route for route in (*versions, index) if route is not None]

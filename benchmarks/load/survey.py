"""The catalogue of what there is, read from who publishes it.

Rules:
1. Before the mirror under test is asked, digests come from its upstream: the simulator. Of an
   operator's mirror they come from what it serves: the manifest's `.sha256`, the manifest's hashes,
   the `cksum` of index lines.
2. Of an operator's mirror archives are taken smallest first up to a limit, and no crate above one:
   what a run may ask it to fetch is bounded, and known before.
3. Its manifest is asked for by its date, which never changes; its index files may change.

Units: bytes. Does not: download an archive or a crate. Runs in: benchmark.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.load.catalogue import Catalogue, Crate, Item, Toolchain
from mirror.errors import MirrorError
from mirror.route.sparse_index import index_route
from mirror.simulator.upstream import DEFAULT_HOST
from mirror.verify.channel_manifest import RELEASE_URL_PREFIX
from mirror.verify.digests import parse_sha256_file

LARGEST_CRATE_BYTES = 4 << 20
_TIMEOUT_S = 60.0
_PROFILE = "default"


class SurveyError(Exception):
    """What is asked for cannot be had, or contradicts itself; the sentence says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Where releases, crates and index files are; URLs without a slash at the end."""

    releases: str
    crates: str
    index: str

    @classmethod
    def mirror(cls, url: str) -> Publisher:
        return cls(releases=url, crates=url, index=f"{url}/index")


def survey_toolchain(
    publisher: Publisher,
    manifest: str,
    *,
    most_bytes: int = 0,
    may_change: bool = False,
    former: tuple[str, ...] = (),
    host: str = DEFAULT_HOST,
) -> Toolchain:
    """Return what rustup asks for to install the release of the manifest at this path.

    `most_bytes` 0: all archives of the default profile. `former`: what the `.sha256` was before.
    Raises: SurveyError.
    """
    url = publisher.releases + manifest
    stated, content = _get(f"{url}.sha256"), _get(url)
    digest = hashlib.sha256(content).hexdigest()
    try:
        expected = parse_sha256_file(stated, f"{url}.sha256").hex()
    except MirrorError as exc:
        raise SurveyError(f"{url}.sha256 does not state one digest: {exc}") from exc
    if digest != expected:
        raise SurveyError(f"{url} is not what its .sha256 says; ask again in a minute")
    document = tomllib.loads(content.decode())
    return Toolchain(
        name=str(document["pkg"]["rust"]["version"]).partition(" ")[0],
        digest=replace(_item(f"{manifest}.sha256", stated, may_change=may_change), former=former),
        manifest=_item(manifest, content, may_change=may_change),
        archives=tuple(_within(most_bytes, _archives(publisher, document, host))),
    )


def dated_manifest(publisher: Publisher, channel: str) -> str:
    """Return the path, with its date, of the manifest that the channel has. Raises: SurveyError."""
    name = f"channel-rust-{channel}.toml"
    document = tomllib.loads(_get(f"{publisher.releases}/dist/{name}").decode())
    return f"/dist/{document['date']}/{name}"


def survey_crates(
    publisher: Publisher, names: Iterable[str], *, follows: bool, may_change: bool
) -> tuple[Crate, ...]:
    """Return the newest version of each crate; with `follows` also of all that it depends on.

    Crates above `LARGEST_CRATE_BYTES` are left out. Raises: SurveyError.
    """
    found: dict[str, Crate] = {}
    queue = list(dict.fromkeys(names))
    for name in queue:
        line, index = _newest(publisher, name, may_change=may_change)
        target = f"/crates/{line['name']}/{line['name']}-{line['vers']}.crate"
        length = _length(publisher.crates + target)
        if length <= LARGEST_CRATE_BYTES:
            archive = Item(target=target, sha256=line["cksum"], length_bytes=length)
            found[name] = Crate(index=index, archive=archive)
        if follows:
            needed = (item["name"] for item in line["deps"] if not item["optional"])
            queue += [item for item in dict.fromkeys(needed) if item not in queue]
    if not found:
        raise SurveyError("none of the crates is small enough: name others with --crates")
    return tuple(found.values())


def survey_config(url: str) -> Item:
    """Return the registry's config.json as the mirror makes it. Raises: SurveyError."""
    content = _get(f"{url}/index/config.json")
    if not str(json.loads(content).get("dl", "")).startswith(url):
        raise SurveyError(
            f"config.json of {url} sends cargo elsewhere for crates: {content.decode()!r}; "
            "name the mirror by its public_url"
        )
    return _item("/index/config.json", content)


def survey(url: str, crates: Iterable[str], *, channel: str, archive_bytes: int) -> Catalogue:
    """Return what an operator's mirror is asked for. Raises: SurveyError."""
    publisher = Publisher.mirror(url)
    try:
        manifest = dated_manifest(publisher, channel)
        found = Catalogue(
            toolchains=(survey_toolchain(publisher, manifest, most_bytes=archive_bytes),),
            crates=survey_crates(publisher, crates, follows=False, may_change=True),
            config=survey_config(url),
        )
    except (KeyError, AttributeError, TypeError, ValueError) as exc:
        raise SurveyError(f"what {url} serves is not what a Rust mirror serves: {exc!r}") from exc
    if not found.archives():
        raise SurveyError("no archive is that small: raise --archive-mib")
    return found


def _archives(publisher: Publisher, document: Mapping[str, Any], host: str) -> Iterable[Item]:
    renames = document.get("renames", {})
    for package in sorted(document["profiles"][_PROFILE]):
        package = renames.get(package, {}).get("to", package)
        targets = document["pkg"].get(package, {}).get("target", {})
        target = targets.get(host) or targets.get("*") or {}
        if not target.get("available"):
            continue
        path = str(target["xz_url"]).removeprefix(RELEASE_URL_PREFIX)
        length = _length(publisher.releases + path)
        yield Item(target=path, sha256=target["xz_hash"], length_bytes=length)


def _within(most_bytes: int, items: Iterable[Item]) -> Iterable[Item]:
    total = 0
    for item in sorted(items, key=lambda item: item.length_bytes):
        total += item.length_bytes
        if most_bytes and total > most_bytes:
            return
        yield item


def _newest(publisher: Publisher, name: str, *, may_change: bool) -> tuple[dict[str, Any], Item]:
    route = index_route(name)
    if route is None:
        raise SurveyError(f"{name!r} is not the name of a crate")
    content = _get(publisher.index + route.path)
    lines = [json.loads(line) for line in content.splitlines() if line]
    usable = [line for line in lines if not line["yanked"]]
    if not usable:
        raise SurveyError(f"crate {name} has no version that is not yanked")
    return usable[-1], _item(f"/index{route.path}", content, may_change=may_change)


def _item(target: str, content: bytes, *, may_change: bool = False) -> Item:
    return Item(
        target=target, sha256=hashlib.sha256(content).hexdigest(), length_bytes=len(content),
        may_change=may_change,
    )  # fmt: skip


def _length(url: str) -> int:
    with _open(url, "HEAD") as response:
        length = response.headers.get("Content-Length", "")
    if not length.isdecimal():
        raise SurveyError(f"{url} does not say how long it is")
    return int(length)


def _get(url: str) -> bytes:
    with _open(url, "GET") as response:
        content: bytes = response.read()
        return content


def _open(url: str, method: str) -> Any:
    """Ask without proxies of the environment: the load itself goes straight to the mirror."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(urllib.request.Request(url, method=method), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as exc:
        exc.close()
        raise SurveyError(f"{url} answers {exc.code}: is it a mirror, and is it ready?") from exc
    except OSError as exc:
        raise SurveyError(f"{url} cannot be asked: {exc}") from exc

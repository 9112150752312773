"""Networks of cloud providers, from the files that they publish.

    file                            names of its ranges
    Azure service tags (JSON)       "AzureCloud.eastus": the tag's name
    AWS ip-ranges.json              "EC2.us-east-1": service, region
    Google cloud.json               "us-east1": the scope; goog.json, which has none: "google"
    GitHub api.github.com/meta      "actions", "hooks", …: the key
    a network or address per line   none; "#" begins a comment

Rules:
1. The form is told by the content, not by the file's name.
2. A selector may hold `*`; one that selects nothing is an error, for it would silently count a
   whole cloud as "other".
3. Host bits in a provider's file are masked away: it is not the operator's to repair.

Does not: read files, or fetch them.
Runs in: supervisor and commands. Pure.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

import orjson

Network = IPv4Network | IPv6Network
Named = tuple[str, str]  # the range's name, one of its networks
_JSON_BEGINS: Final = (b"{", b"[")
_KNOWN: Final = "Azure service tags, AWS ip-ranges.json, Google cloud.json, or GitHub's meta"
_GITHUB_SIGNS: Final = ("hooks", "actions")


@dataclass(frozen=True, slots=True)
class Ranges:
    """The ranges of one file by name; a plain list has one, "", of lines with their numbers."""

    by_name: Mapping[str, Mapping[str, str]]  # a network: where it stands

    def select(self, selectors: Sequence[str], most: int) -> tuple[Network, ...]:
        """Return the networks of the selected ranges; no selectors: all of the file.

        Raises: ValueError with what is wrong, and where; more than `most` are looked at no closer.
        """
        if selectors and "" in self.by_name:
            raise ValueError("is a plain list, which has no named ranges: leave out `ranges`")
        names = list(self._named(selectors)) if selectors else list(self.by_name)
        chosen = {text: where for name in names for text, where in self.by_name[name].items()}
        if len(chosen) > most:
            raise ValueError(f"has {len(chosen)} networks, {most} are left: select fewer `ranges`")
        return tuple(_network(text, where) for text, where in chosen.items())

    def _named(self, selectors: Sequence[str]) -> Iterator[str]:
        for selector in selectors:
            if selector in self.by_name:
                yield selector
                continue
            names = fnmatch.filter(self.by_name, selector)
            if not names:
                near = difflib.get_close_matches(selector, self.by_name, n=1, cutoff=0.5)
                total = len(self.by_name)
                meant = f"; did you mean {near[0]}?" if near else f", of {total} that it has"
                raise ValueError(f"has no range {selector}{meant}")
            yield from names


def read_ranges(content: bytes) -> Ranges:
    """Return what a provider's file, or a plain list, has.

    Raises: ValueError with what is wrong, and where.
    """
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content.lstrip().startswith(_JSON_BEGINS):
        return Ranges({"": dict(_plain(content))})
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as exc:
        raise ValueError(f"line {exc.lineno} is not JSON ({exc.msg}): download it again") from exc
    try:
        named = list(_reader_of(document)(document))
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"is not laid out as its provider does: {exc!r}") from exc
    if not all(isinstance(text, str) for pair in named for text in pair):
        raise ValueError("is not laid out as its provider does: a name or network is no text")
    by_name: dict[str, dict[str, str]] = {}
    for name, network in named:
        by_name.setdefault(name, {})[network] = network
    return Ranges(by_name)


def _plain(content: bytes) -> Iterator[tuple[str, str]]:
    for number, raw in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        text = raw.partition("#")[0].strip()
        if text:
            yield text, f"line {number}: {text}"


def _network(text: str, where: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError as exc:
        raise ValueError(f"{where[:80]} is not a network such as 10.0.0.0/8 or fd00::/8") from exc


def _reader_of(document: object) -> Callable[[Any], Iterable[Named]]:
    if isinstance(document, Mapping):
        if isinstance(document.get("values"), list):
            return _azure
        if isinstance(document.get("prefixes"), list):
            return _aws if "ipv6_prefixes" in document else _google
        if all(isinstance(document.get(sign), list) for sign in _GITHUB_SIGNS):
            return _github
    raise ValueError(f"is none of the files that are known: {_KNOWN}, or a list of networks")


def _azure(document: Mapping[str, Any]) -> Iterator[Named]:
    for tag in document["values"]:
        for prefix in tag["properties"]["addressPrefixes"]:
            yield tag["name"], prefix


def _aws(document: Mapping[str, Any]) -> Iterator[Named]:
    for listed, key in (("prefixes", "ip_prefix"), ("ipv6_prefixes", "ipv6_prefix")):
        for item in document[listed]:
            yield f"{item['service']}.{item['region']}", item[key]


def _google(document: Mapping[str, Any]) -> Iterator[Named]:
    for item in document["prefixes"]:
        prefix = item.get("ipv4Prefix") or item["ipv6Prefix"]
        yield item.get("scope", "google"), prefix


def _github(document: Mapping[str, Any]) -> Iterator[Named]:
    """Of its lists only those of networks: there are also keys, fingerprints and domains."""
    for key, items in document.items():
        if isinstance(items, list) and all(_is_network(item) for item in items):
            for item in items:
                yield key, item


def _is_network(item: object) -> bool:
    try:
        ip_network(item if isinstance(item, str) else "", strict=False)
    except ValueError:
        return False
    return True

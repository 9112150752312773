"""What can be checked of a small object whose digest nobody states.

Rules:
1. An object that fails its check is never stored or served; upstream's error page with status 200
   is the common case.
2. What is parsed here and needed later is handed on, so that it is parsed once.

Does not: check channel manifests (`fill.channel` does, against their `.sha256`).
Runs in: keeper. Pure.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass

import msgspec

from mirror.errors import VerificationError
from mirror.route.route import Kind, Route
from mirror.verify.crate_index import parse_index
from mirror.verify.digests import parse_sha256_file, shown
from mirror.verify.manifest_list import parse_manifest_list


class _Named(msgspec.Struct):
    name: str


_LINE = msgspec.json.Decoder(_Named)
ARMOUR = b"-----BEGIN PGP "


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFacts:
    """One index file: the crate's name as published, and version -> cksum."""

    name: str
    versions: dict[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What the check learnt: one of the fields, or none."""

    index: IndexFacts | None = None
    digest: bytes = b""


NOTHING_PARSED = Parsed()


def check_content(route: Route, content: bytes) -> Parsed:
    """Return what the content says. Raises VerificationError when it is not what `route` names."""
    if route.path.endswith(".sha256"):
        return Parsed(digest=parse_sha256_file(content, route.key))
    if route.path.endswith((".asc", ".gpg.ascii")):
        _expect(route, content, content.lstrip().startswith(ARMOUR), "an armoured OpenPGP block")
        return NOTHING_PARSED
    if route.kind is Kind.INDEX_FILE:
        return Parsed(index=parse_facts(route.key, content))
    if route.kind is Kind.MANIFESTS:
        parse_manifest_list(content)
        return NOTHING_PARSED
    if route.path.endswith(".toml"):
        _expect(route, content, _is_toml(content), "TOML")
    elif route.path.endswith(".sh"):
        _expect(route, content, content.startswith(b"#!"), "a shell script")
    else:
        _expect(route, content, _is_plain_text(content), "plain text")
    return NOTHING_PARSED


def parse_facts(key: str, content: bytes) -> IndexFacts:
    """Return what an index file states. Raises VerificationError."""
    versions = parse_index(content, key.rpartition("/")[2])
    # parse_index has decoded every line and found the name in it (in whatever case).
    first = next(line for line in content.split(b"\n") if line.strip())
    return IndexFacts(name=_LINE.decode(first).name, versions=versions)


def _expect(route: Route, content: bytes, is_so: bool, expected: str) -> None:
    if not is_so:
        raise VerificationError(route.key, expected=expected, got=shown(content))


def _is_toml(content: bytes) -> bool:
    try:
        return bool(tomllib.loads(content.decode()))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError):
        return False


def _is_plain_text(content: bytes) -> bool:
    return bool(content.strip()) and not content.lstrip().startswith(b"<")

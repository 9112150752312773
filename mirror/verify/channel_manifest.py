"""Channel manifests, version 2: which digest each archive of a release must have.

Rules:
1. Every `url`/`hash`, `xz_url`/`xz_hash` and `zst_url`/`zst_hash` of a package's targets counts,
   and every `url`/`hash-sha256` of the artifacts, wherever `available` says so or not.
2. Only URLs of the release host become paths: rustup replaces that prefix by the mirror and takes
   every other URL from elsewhere.
3. One path has one digest; a manifest that states two is refused as a whole.
4. Unknown keys are ignored; the content is never rewritten.
5. The head (date and version) is read without parsing the whole: promote-release writes one form,
   in which `manifest-version` and `date` come before any table, and tables' headers stand alone.
6. A line with more dots than `LINE_DOTS_MAX` is refused: for a dotted key of n parts tomllib takes
   n² steps (3 s for 32 kB), and what only a digest vouches for may be anybody's.

Cost: tomllib takes 0.3-0.5 s for one megabyte, so callers parse off the event loop.
Does not: check the signature or the `.sha256` beside it.
Runs in: keeper. Pure.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mirror.errors import VerificationError
from mirror.verify.digests import parse_digest, shown

RELEASE_URL_PREFIX = "https://static.rust-lang.org"
MANIFEST_VERSION = "2"
# rustup prefers zst over xz over gz; upstream writes no zst today.
_TARGET_PAIRS = (("url", "hash"), ("xz_url", "xz_hash"), ("zst_url", "zst_hash"))
_ARTIFACT_PAIR = ("url", "hash-sha256")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_SOURCE = "channel manifest"
LINE_DOTS_MAX = 64  # of rule 6; a URL has seven
# What comes before the first table; 43 bytes in every manifest seen.
_PREAMBLE_BYTES = 4096
_HEAD_VERSION = re.compile(rb'^manifest-version = "2"\r?$', re.MULTILINE)
_HEAD_DATE = re.compile(rb'^date = "([^"\n]{1,32})"\r?$', re.MULTILINE)
# Begins with literal bytes: 1 ms per megabyte, 25 ms with "^".
_RUST_TABLE = re.compile(rb"\n\[pkg\.rust\]\r?(?=\n|\Z)")
_RUST_VERSION = re.compile(rb'^version = "([0-9A-Za-z.+-]{1,64})(?: [^"\n]*)?"\r?$', re.MULTILINE)
_TABLE = re.compile(rb"^\[", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelManifest:
    """`date` is "YYYY-MM-DD"; `digests` maps paths ("/dist/…") to 32 bytes."""

    date: str
    digests: Mapping[str, bytes]

    def __repr__(self) -> str:
        return f"<ChannelManifest {self.date} {len(self.digests)} paths>"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestHead:
    """Which release a manifest is of: `date` "YYYY-MM-DD"; `rust_version` ("1.95.0-beta.2"), the
    version of pkg.rust without what stands behind it, or "" when no such package is named."""

    date: str
    rust_version: str


def read_head(content: bytes) -> ManifestHead:
    """Return which release the manifest is of; 1 ms for one megabyte.

    Raises: VerificationError for what is not a manifest of version 2 with one date.
    """
    first_table = _TABLE.search(content)
    end = min(first_table.start() if first_table else len(content), _PREAMBLE_BYTES)
    dates = _HEAD_DATE.findall(content, 0, end)
    if _HEAD_VERSION.search(content, 0, end) is None or len(dates) != 1:
        raise VerificationError(
            _SOURCE, expected="version 2 and one date before any table", got=shown(content)
        )
    return ManifestHead(
        date=_date(dates[0].decode("utf-8", "replace")), rust_version=_rust_version(content)
    )


def parse_manifest(body: bytes) -> ChannelManifest:
    """Return what the manifest states.

    Raises: VerificationError for a body that is not a version-2 manifest, or contradicts itself.
    """
    document = _load(body)
    version = document.get("manifest-version")
    if version != MANIFEST_VERSION:
        raise VerificationError(
            _SOURCE, expected=f'manifest-version "{MANIFEST_VERSION}"', got=shown(repr(version))
        )
    digests: dict[str, bytes] = {}
    for url, digest_hex in _stated(document):
        path = _path_of(url)
        if path:
            _add(digests, path, digest_hex)
    return ChannelManifest(date=_date(document.get("date")), digests=digests)


def _rust_version(content: bytes) -> str:
    tables = list(_RUST_TABLE.finditer(content))
    if len(tables) > 1:  # TOML allows one; two would let each reader choose another
        raise VerificationError(_SOURCE, expected="one [pkg.rust]", got=f"{len(tables)} of them")
    if not tables:
        return ""
    start = tables[0].end()
    next_table = _TABLE.search(content, start)
    end = next_table.start() if next_table else len(content)
    versions = _RUST_VERSION.findall(content, start, end)
    return versions[0].decode() if len(versions) == 1 else ""


def _load(body: bytes) -> Mapping[str, object]:
    dots = max(line.count(b".") for line in body.split(b"\n"))
    if dots > LINE_DOTS_MAX:
        raise VerificationError(
            _SOURCE, expected=f"at most {LINE_DOTS_MAX} dots in a line", got=f"{dots}"
        )
    # RecursionError: tomllib recurses per nesting level of arrays and inline tables. ValueError, of
    # which those of bad text and bad TOML are kinds: also an integer beyond Python's 4,300 digits.
    try:
        return tomllib.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as exc:
        raise VerificationError(_SOURCE, expected="TOML", got=shown(body)) from exc


def _date(value: object) -> str:
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            datetime.date.fromisoformat(value)
        except ValueError:
            pass  # a day that no calendar has: refused below, with the value
        else:
            return value
    raise VerificationError(_SOURCE, expected="a date YYYY-MM-DD", got=shown(repr(value)))


def _stated(document: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for package in _tables(document.get("pkg")):
        for target in _tables(package.get("target")):
            yield from _pairs(target, _TARGET_PAIRS)
    for artifact in _tables(document.get("artifacts")):
        for files in _table(artifact.get("target")).values():
            for file in files if isinstance(files, list) else ():
                yield from _pairs(_table(file), (_ARTIFACT_PAIR,))


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _tables(value: object) -> Iterator[Mapping[str, object]]:
    return (member for member in _table(value).values() if isinstance(member, dict))


def _pairs(
    table: Mapping[str, object], keys: tuple[tuple[str, str], ...]
) -> Iterator[tuple[str, object]]:
    for url_key, hash_key in keys:
        url = table.get(url_key)
        # Unavailable targets carry no URL, or an empty one.
        if isinstance(url, str) and url:
            yield url, table.get(hash_key)


def _path_of(url: str) -> str:
    host, slash, path = url.partition(RELEASE_URL_PREFIX + "/")
    return "/" + path if slash and not host and path else ""


def _add(digests: dict[str, bytes], path: str, digest_hex: object) -> None:
    source = f"{_SOURCE}, {shown(path)}"
    if not isinstance(digest_hex, str):
        raise VerificationError(source, expected="a hash", got=shown(repr(digest_hex)))
    digest = parse_digest(digest_hex, source)
    # One URL is named by many entries (1,148 entries name 1,048 archives); they must agree.
    known = digests.setdefault(path, digest)
    if known != digest:
        raise VerificationError(source, expected=known.hex(), got=digest_hex)

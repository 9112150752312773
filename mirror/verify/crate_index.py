"""Index files of the sparse registry: one JSON object per line and version.

Rules:
1. Every line must name the crate of the path (compared without case: the path is lower-cased), all
   in one spelling, and state a version and a `cksum`; one bad line refuses the whole file.
2. A version is listed once. Versions are compared as strings: `1.0.0` and `1.0.0+a` are two.
3. A file without a version is refused: upstream removes the file of a crate without versions, so
   an empty one is a damaged answer, and it would withdraw every stored version of the crate.
4. Unknown members are ignored; lines are never rewritten, merged or ordered.

Does not: judge `yanked`, dependencies or features, or cap the size of the file (the caller does).
Runs in: keeper. Pure.
"""

from __future__ import annotations

import msgspec

from mirror.errors import VerificationError
from mirror.verify.digests import parse_digest, shown


class _Line(msgspec.Struct):
    """The members that this product depends on; the publisher's file has more."""

    name: str
    vers: str
    cksum: str


_decoder = msgspec.json.Decoder(_Line)


def parse_index(body: bytes, name: str) -> dict[str, bytes]:
    """Return version -> digest (32 bytes), in the order of the file.

    Raises: VerificationError for a body that is not the index file of `name` (any case).
    """
    digests: dict[str, bytes] = {}
    wanted, spelling = name.lower(), ""
    for number, text in enumerate(body.split(b"\n"), start=1):
        if not text or text == b"\r":
            continue
        source = f"index file of {name}, line {number}"
        line = _decode(text, source)
        _check_names(line, wanted, source)
        if line.name != (spelling := spelling or line.name):
            # A registry has one name for a crate, and the crate's path is spelled with it.
            raise VerificationError(source, expected=f"name {spelling}", got=shown(line.name))
        if line.vers in digests:
            raise VerificationError(
                source, expected="each version once", got=f"{shown(line.vers)} again"
            )
        digests[line.vers] = parse_digest(line.cksum, source)
    if not digests:
        raise VerificationError(f"index file of {name}", expected="a version", got=shown(body))
    return digests


def _decode(text: bytes, source: str) -> _Line:
    # RecursionError: msgspec raises it for deeply nested members, which it must skip.
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise VerificationError(source, expected="a line of the index", got=shown(text)) from exc


def _check_names(line: _Line, wanted: str, source: str) -> None:
    # ASCII first: str.lower() maps the Kelvin sign to "k", so "Kelvin" could pass for a crate.
    if not line.name.isascii() or line.name.lower() != wanted:
        raise VerificationError(source, expected=f"name {wanted}", got=shown(line.name))
    if not line.vers:
        raise VerificationError(source, expected="a version", got=shown(line.vers))

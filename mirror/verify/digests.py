"""SHA-256 digests as publishers state them.

Rules:
1. A digest is 32 raw bytes inside and 64 hex digits at the border.
2. A `.sha256` file states one digest on its first line; a file that states several is refused.
3. The file name behind the digest is not compared: rustup does not look at it either, upstream has
   written `*name`, `./name` and build paths there, and a file of another object fails by digest.

Does not: hash content, compare, or cap the size of what it is given (the caller does).
Runs in: keeper. Pure.
"""

from __future__ import annotations

import re

from mirror.errors import VerificationError

_LOWER_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
# sha256sum puts two blanks, or a blank and "*", behind the digest; some tools only the digest.
_FIRST_LINE = re.compile(rb"(?:\xef\xbb\xbf)?([0-9A-Fa-f]{64})(?:[ \t][^\r\n]*)?\r?\n?")
_SHOWN_CHARACTERS = 40  # of hostile text in an error


def parse_sha256_file(body: bytes, name: str) -> bytes:
    """Return the 32-byte digest that the `.sha256` file states; `name` is for the error.

    Raises: VerificationError when the content is anything else (an HTML page, two digests).
    """
    found = _FIRST_LINE.match(body)
    if found is None or body[found.end() :].strip():
        raise VerificationError(name, expected="one sha256 digest", got=shown(body))
    return bytes.fromhex(found[1].decode("ascii"))


def parse_digest(text: str, source: str) -> bytes:
    """Return the digest of 64 lower-case hex digits. Raises: VerificationError otherwise."""
    if _LOWER_HEX.fullmatch(text) is None:
        raise VerificationError(source, expected="64 lower-case hex digits", got=shown(text))
    return bytes.fromhex(text)


def shown(text: bytes | str) -> str:
    """Return the start of hostile text, safe for a log line."""
    return repr(text[:_SHOWN_CHARACTERS]) + ("…" if len(text) > _SHOWN_CHARACTERS else "")

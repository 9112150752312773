"""The digest fields of RFC 9530: `Repr-Digest`, `Content-Digest`, and the wishes for them.

Rules:
1. The digest is of the whole selected representation, also on a 206 and on the answer to HEAD: a
   client that joins ranges can check the result.
2. SHA-256 alone is stated: it is what the store names content by.
3. `Want-Repr-Digest` is a dictionary of algorithms with preferences from 0 to 10 (section 4). What
   is no such dictionary is ignored as a whole, as structured fields are (RFC 9651 section 4.2).
4. A preference of 0 says "not acceptable": `sha-256=0` leaves the field out. A wish for other
   algorithms alone does not: a server may answer with one that was not asked for (appendix C.2),
   and a digest that a client cannot use costs it nothing.
5. A value above `MAX_WISH_BYTES` is ignored too. Reading 16 KiB of members takes 4 ms, a hundred
   times what the rest of a request does; who knows all algorithms that there are needs 200 bytes.
6. `Content-Digest` is of the content of one message. It is stated when it is asked for with a
   preference above 0 and known without reading: the content of a 200 to GET is the representation.

Does not: state a digest of the content of 206, or of an answer made here.
Runs in: worker. Pure.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

_KEY: Final = r"[a-z*][a-z0-9_\-.*]*"
_BARE_ITEM: Final = (
    r"(?:-?[0-9]{1,15}"  # an integer
    r"|-?[0-9]{1,12}\.[0-9]{1,3}"  # a decimal
    r'|"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'  # a string
    r"|[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*"  # a token
    r"|:[A-Za-z0-9+/=]*:"  # a byte sequence
    r"|\?[01]"  # a boolean
    r"|@-?[0-9]{1,15})"  # a date
)
# Anything may have parameters (RFC 9651 section 3.1.2); these mean nothing here.
_PARAMETERS: Final = rf"(?:; *{_KEY}(?:={_BARE_ITEM})?)*"
_MEMBER: Final = re.compile(rf"({_KEY})=(-?[0-9]{{1,15}}){_PARAMETERS}(?:[ \t]*,[ \t]*|\Z)")
MAX_WISH_BYTES: Final = 512
_PREFERENCES: Final = range(11)
_SHA_256: Final = "sha-256"


def repr_digest_line(sha256: bytes) -> bytes:
    """Return the field line of a SHA-256 digest; nothing when there is no digest."""
    if not sha256:
        return b""
    return b"Repr-Digest: sha-256=:%b:\r\n" % binascii.b2a_base64(sha256, newline=False)


def content_digest_line(repr_digest: bytes) -> bytes:
    """Return the field line of content that is the whole representation of `repr_digest`."""
    return repr_digest.replace(b"Repr-Digest", b"Content-Digest", 1)


def wants_sha256(value: bytes | None) -> bool:
    """Whether `Repr-Digest` is welcome to who sent this `Want-Repr-Digest` (None: no such field).

    Several field lines come joined by ", " (RFC 9110 section 5.3).
    """
    if value is None or len(value) > MAX_WISH_BYTES:
        return True
    wanted = _preferences(value.strip(b" ").decode("latin-1"))
    return wanted is None or wanted.get(_SHA_256) != 0


def asks_for_sha256(value: bytes | None) -> bool:
    """Whether who sent this `Want-Content-Digest` wants a SHA-256; what is malformed is ignored."""
    if value is None or len(value) > MAX_WISH_BYTES:
        return False
    wanted = _preferences(value.strip(b" ").decode("latin-1"))
    return wanted is not None and wanted.get(_SHA_256, 0) > 0


def _preferences(text: str) -> dict[str, int] | None:
    """Preferences by algorithm; None for what is no such dictionary."""
    wanted: dict[str, int] = {}
    at = 0
    while at < len(text):
        member = _MEMBER.match(text, at)
        if member is None or int(member[2]) not in _PREFERENCES:
            return None
        wanted[member[1]] = int(member[2])  # of two members with one key the last counts
        at = member.end()
    return None if text.endswith((",", "\t", " ")) else wanted

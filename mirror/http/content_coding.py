"""Which content coding a client wants: `Accept-Encoding`, RFC 9110 section 12.5.3.

Rules:
1. Two representations exist here: the identity and its gzip variant. gzip is wanted when it is
   acceptable and the identity is not stated to be better: `gzip;q=0.5` alone wants it, since a
   client that names a coding gains by it; `gzip;q=0.5, identity` does not.
2. `*` stands for what is not named. `x-gzip` is gzip (section 8.4.1.3); of one coding named twice
   the lower weight counts, so that no refusal is overruled.
3. No field, an empty one and a malformed one want the identity: every client can read that.
4. The identity is sent also to who refuses it (`identity;q=0`, `*;q=0`) where no gzip variant may
   take its place: section 12.5.3 leaves the choice, and bytes serve a client better than 406.
5. A value above `MAX_WISH_BYTES` is malformed: who names all codings that there are needs 100.

Several field lines come joined by ", " (RFC 9110 section 5.3).

Runs in: worker. Pure.
"""

from __future__ import annotations

import re
from typing import Final

GZIP: Final = b"gzip"
MAX_WISH_BYTES: Final = 512
# codings = content-coding / "identity" / "*"; a coding is a token, as "*" is.
_MEMBER: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)"
    rb"(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
)
_ALIASES: Final = {b"x-gzip": GZIP}


def wants_gzip(value: bytes | None) -> bool:
    """Whether who sent this `Accept-Encoding` (None: no such field) is to get the gzip variant."""
    if not value or len(value) > MAX_WISH_BYTES:
        return False
    weights = _weights(value)
    if weights is None:
        return False
    other = weights.get(b"*", 0)
    gzip = weights.get(GZIP, other)
    return gzip > 0 and gzip >= weights.get(b"identity", other)


def _weights(value: bytes) -> dict[bytes, int] | None:
    """Weights in thousandths by lower-case coding; None for what is no such list."""
    weights: dict[bytes, int] = {}
    for element in value.split(b","):
        element = element.strip(b" \t")
        if not element:
            continue  # empty elements of a list: section 5.6.1.2
        member = _MEMBER.fullmatch(element)
        if member is None:
            return None
        name = member[1].lower()
        name = _ALIASES.get(name, name)
        weight = 1000 if member[2] is None else _thousandths(member[2])
        weights[name] = min(weight, weights.get(name, weight))
    return weights


def _thousandths(weight: bytes) -> int:
    whole, _, fraction = weight.partition(b".")
    return int(whole) * 1000 + int(fraction.ljust(3, b"0"))

"""What a client asks of a cache: Cache-Control in requests (RFC 9111 section 5.2.1), and Pragma.

Rules:
1. Names are compared without case; unknown directives and whatever is no directive are ignored.
2. An argument is read as a token or as a quoted string, whichever came.
3. Of several values of one directive the strictest counts. A `max-age` that is no number of seconds
   is 0 (section 4.2.1: what cannot be read is best taken for stale); any other such value is as if
   it were not there.
4. `Pragma: no-cache` counts only where there is no Cache-Control at all (section 5.4).
5. Seconds beyond 2**31 are 2**31 (section 1.2.2).

Units: seconds.
Does not: decide; what is honoured, and within which bounds, is `fill.plan`'s.
Runs in: worker. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

LONGEST_S: Final = 2**31
_LONGEST_DIGITS: Final = 10  # int() refuses thousands of them, and 2**31 has ten
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED: Final = rb'"(?:[^"\\]|\\.)*"'
_DIRECTIVE: Final = re.compile(
    rb"[ \t]*(?P<name>" + _TOKEN + rb")"
    rb"(?:=(?:(?P<token>" + _TOKEN + rb")|(?P<quoted>" + _QUOTED + rb")))?[ \t]*",
    re.DOTALL,
)
# One list element: a comma inside a quoted string does not end it.
_ELEMENT: Final = re.compile(rb'[^",]*(?:' + _QUOTED + rb'[^",]*)*', re.DOTALL)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDirectives:
    """`max_age_s` and `max_stale_s` None: not said; `max_stale_s` infinite: any staleness will do.

    `no_store` and `no_transform` are not kept: nothing of a request is stored here, and no content
    is transformed, whoever asks.
    """

    no_cache: bool = False
    only_if_cached: bool = False
    max_age_s: int | None = None
    min_fresh_s: int = 0
    max_stale_s: float | None = None


NO_DIRECTIVES: Final = RequestDirectives()


def parse_request_directives(
    cache_control: bytes | None, pragma: bytes | None
) -> RequestDirectives:
    """Return what the two field values ask for; `NO_DIRECTIVES` itself when that is nothing."""
    if cache_control is None:
        if pragma is None or not any(name == b"no-cache" for name, _ in _directives(pragma)):
            return NO_DIRECTIVES
        return RequestDirectives(no_cache=True)
    said: dict[bytes, list[bytes | None]] = {}
    for name, argument in _directives(cache_control):
        said.setdefault(name, []).append(argument)
    ages = [0 if age is None else age for age in map(_seconds, said.get(b"max-age", ()))]
    fresh = [age for age in map(_seconds, said.get(b"min-fresh", ())) if age is not None]
    found = RequestDirectives(
        no_cache=b"no-cache" in said,
        only_if_cached=b"only-if-cached" in said,
        max_age_s=min(ages, default=None),
        min_fresh_s=max(fresh, default=0),
        max_stale_s=_max_stale_s(said.get(b"max-stale", [])),
    )
    return NO_DIRECTIVES if found == NO_DIRECTIVES else found


def _directives(value: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield names in lower case and arguments; ends at a quote that is never closed."""
    at = 0
    while at <= len(value):
        element = _ELEMENT.match(value, at)
        end = len(value) if element is None else element.end()
        if end < len(value) and value[end : end + 1] != b",":
            return
        found = _DIRECTIVE.fullmatch(value, at, end)
        if found is not None:
            quoted = found["quoted"]
            argument = found["token"] if quoted is None else _ESCAPED.sub(rb"\1", quoted[1:-1])
            yield found["name"].lower(), argument
        at = end + 1


def _seconds(argument: bytes | None) -> int | None:
    # isdigit() of bytes knows ASCII digits only; int() alone would take signs, "_" and spaces.
    if argument is None or not argument.isdigit():
        return None
    digits = argument.lstrip(b"0") or b"0"
    if len(digits) > _LONGEST_DIGITS:
        return LONGEST_S
    return min(int(digits), LONGEST_S)


def _max_stale_s(arguments: list[bytes | None]) -> float | None:
    values: list[float] = []
    for argument in arguments:
        seconds = math.inf if argument is None else _seconds(argument)
        if seconds is not None:
            values.append(seconds)
    return min(values, default=None)

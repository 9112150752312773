"""A strict parser of structured fields (RFC 9651 section 4.2): lists of items with parameters.

Rules:
1. Whatever the grammar does not allow is a ValueError, also what parsers often forgive: spaces in
   the wrong place, upper-case keys, empty members, characters after the end.
2. A parameter that stands twice is a ValueError here: the RFC lets the last one win, and nobody
   should have to know that.

Does not: know inner lists, decimals, dates, byte sequences: no field of this product has them.
Runs in: tests. Written apart from the product.
"""

from __future__ import annotations

import re

Item = bool | int | str
Parameters = dict[str, Item]

_INTEGER = re.compile(r"-?[0-9]{1,15}(?![0-9.])")
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
_KEY = re.compile(r"[a-z*][a-z0-9_\-.*]*")


class Token(str):
    """A token; a quoted string is a plain `str`."""

    __slots__ = ()


def parse_list(value: str) -> list[tuple[Item, Parameters]]:
    """Return the members. Raises ValueError."""
    members = []
    rest = value.strip(" ")
    while True:
        member, rest = _item(rest)
        parameters, rest = _parameters(rest)
        members.append((member, parameters))
        rest = rest.lstrip(" \t")
        if not rest:
            return members
        if not rest.startswith(","):
            raise ValueError(f"{rest!r} behind a member")
        rest = rest[1:].lstrip(" \t")


def parse_single(value: str) -> Parameters:
    """Return the parameters of the one member, whose name must be this mirror's token."""
    members = parse_list(value)
    if [name for name, _ in members] != [Token("rust-mirror")]:
        raise ValueError(value)
    return members[0][1]


def _item(text: str) -> tuple[Item, str]:
    if found := _INTEGER.match(text):
        return int(found[0]), text[found.end() :]
    if found := _STRING.match(text):
        return re.sub(r"\\(.)", r"\1", found[1]), text[found.end() :]
    if found := _TOKEN.match(text):
        return Token(found[0]), text[found.end() :]
    if text[:2] in ("?0", "?1"):
        return text[1] == "1", text[2:]
    raise ValueError(f"no item: {text!r}")


def _parameters(text: str) -> tuple[Parameters, str]:
    parameters: Parameters = {}
    while text.startswith(";"):
        text = text[1:].lstrip(" ")
        found = _KEY.match(text)
        if found is None or found[0] in parameters:
            raise ValueError(f"no key, or one that was there: {text!r}")
        text = text[found.end() :]
        value: Item = True
        if text.startswith("="):
            value, text = _item(text[1:])
        parameters[found[0]] = value
    return parameters, text

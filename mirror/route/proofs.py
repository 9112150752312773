"""Which object states the digest or carries the signature of which other object.

Rules:
1. A proof stands beside its subject: the subject's path and `.sha256` or `.asc`.
2. Nothing has a proof of a proof.
3. A dated archive is stated by the manifest of its date and channel; its name tells the channel:
   "-nightly" and "-beta" stand in the names of theirs, all else is stable's.

Runs in: both. Pure.
"""

from __future__ import annotations

import re
from typing import Final

from mirror.route.dist import dated
from mirror.route.match import route_of_key
from mirror.route.route import Kind, Route

_VERSION: Final = re.compile(r"-([0-9]{1,3}\.[0-9]{1,4}\.[0-9]{1,4})(?![0-9])")


def sibling(route: Route, suffix: str) -> Route:
    """The proof beside `route`; `suffix` is ".sha256" or ".asc".

    Raises: ValueError, for misuse only: this kind has no such proof (`may_have_sibling`).
    """
    found = route_of_key(route.key + suffix)
    if found is None:
        raise ValueError(f"{route.key} has no {suffix} beside it")
    return found


def may_have_sibling(route: Route, suffix: str) -> bool:
    """Whether the grammar knows `suffix` beside `route`."""
    return route_of_key(route.key + suffix) is not None


def subject(route: Route) -> Route | None:
    """What `route` is a proof of; None when it is no proof."""
    for suffix in (".sha256", ".asc"):
        if route.key.endswith(suffix):
            return route_of_key(route.key.removesuffix(suffix))
    return None


def channel_named(route: Route) -> str:
    """The channel that the name of an archive or version 1 file belongs to: "nightly", "beta", or
    the version that it names, else "stable"."""
    name = route.path.rpartition("/")[2]
    for channel in ("nightly", "beta"):
        if f"-{channel}" in name:
            return channel
    found = _VERSION.search(name)
    return "stable" if found is None else found[1]


def dated_manifest(route: Route) -> Route | None:
    """The manifest that states the digest of a dated archive; None for everything else."""
    date = dated(route)
    if date is None or route.kind is not Kind.ARCHIVE:
        return None
    named = channel_named(route)
    channel = named if named in ("nightly", "beta") else "stable"
    return route_of_key(f"releases:/dist/{date}/channel-rust-{channel}.toml")

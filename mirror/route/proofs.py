"""Which object states the digest or carries the signature of which other object.

Rules:
1. A proof stands beside its subject: the subject's path and `.sha256` or `.asc`.
2. Nothing has a proof of a proof.

Runs in: both. Pure.
"""

from __future__ import annotations

from mirror.route.match import route_of_key
from mirror.route.route import Route


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
